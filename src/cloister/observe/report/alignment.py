"""Two traces side by side: the same calls face each other, long one-sided runs fold.

The enclave's start-up makes many calls that the program does not make natively (and the other way round:
the native loader's). A reader wants to see that, then look past it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from cloister.observe.report.record import CallRecord

__all__ = ["Pair", "Stretch", "align", "is_telling"]

STANDARD = re.compile(r"(?:read|write|readv|writev)\(([012])\b")
FOLD_FROM = 4
NAMES_LISTED = 6


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One row: the native call and its enclaved counterpart; None where only the other side made a call."""

    native: CallRecord | None
    enclaved: CallRecord | None


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Consecutive rows, folded away if `folded`; `summary` is what stands in their place."""

    rows: tuple[Pair, ...]
    folded: bool
    summary: str


def align(native: Sequence[CallRecord], enclaved: Sequence[CallRecord]) -> list[Stretch]:
    """Align two traces so that as many calls as possible face each other (longest common subsequence), in order.

    Of equally good alignments the one with the latest matches is taken: the runtime's own calls come first, and
    must not be taken for the program's. The work grows with the product of the lengths.
    """
    stretches: list[Stretch] = []
    for (facing, telling), run in groupby(_rows(native, enclaved), key=lambda row: (_is_facing(row), is_telling(row))):
        # Within a one-sided run the native calls come first: there is no common order to show.
        rows = sorted(run, key=lambda row: row.native is None)
        folded = not facing and not telling and len(rows) >= FOLD_FROM
        stretches.append(Stretch(rows=tuple(rows), folded=folded, summary=_summary(rows)))
    return stretches


def _rows(native: Sequence[CallRecord], enclaved: Sequence[CallRecord]) -> list[Pair]:
    left, right = [_key(call) for call in native], [_key(call) for call in enclaved]
    best = _common_lengths(left, right)
    rows: list[Pair] = []
    n, e = len(native), len(enclaved)
    while n or e:
        if n and e and left[n - 1] == right[e - 1]:
            n, e = n - 1, e - 1
            rows.append(Pair(native=native[n], enclaved=enclaved[e]))
        elif e and (not n or best[n][e - 1] >= best[n - 1][e]):
            e -= 1
            rows.append(Pair(native=None, enclaved=enclaved[e]))
        else:
            n -= 1
            rows.append(Pair(native=native[n], enclaved=None))
    return rows[::-1]


def _common_lengths(left: Sequence[str], right: Sequence[str]) -> list[list[int]]:
    """best[i][j] is the length of the longest common subsequence of the first i and the first j keys."""
    best = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, one in enumerate(left):
        for j, other in enumerate(right):
            best[i + 1][j + 1] = best[i][j] + 1 if one == other else max(best[i][j + 1], best[i + 1][j])
    return best


def _key(call: CallRecord) -> str:
    """The call's name, and its descriptor if that is standard input, output or error: those are the program's talk."""
    found = STANDARD.match(call.text)
    return f"{call.name} {found[1]}" if found else call.name


def _is_facing(row: Pair) -> bool:
    return row.native is not None and row.enclaved is not None


def is_telling(row: Pair) -> bool:
    """A call that carried the secret stays in plain sight."""
    return any(call is not None and call.secret for call in (row.native, row.enclaved))


def _summary(rows: Sequence[Pair]) -> str:
    native = [row.native.name for row in rows if row.native is not None]
    enclaved = [row.enclaved.name for row in rows if row.enclaved is not None]
    sides = [
        f"{len(names)} calls only {side}: {_listed(names)}"
        for side, names in (("natively", native), ("in the enclave", enclaved))
        if names
    ]
    return "; ".join(sides)


def _listed(names: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(names))
    return ", ".join(distinct[:NAMES_LISTED]) + (", …" if len(distinct) > NAMES_LISTED else "")
