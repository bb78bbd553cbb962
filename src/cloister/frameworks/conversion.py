"""A configuration in another format, and what was lost, changed or added on the way.

What is lost is not what a writer says it left out: the text is read again and compared, item by item, with what it was
made of. So nothing can be dropped in silence.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

from cloister._toml import Path
from cloister.errors import PolicyError
from cloister.frameworks.danger_paths import ENTRY, findings_of_paths
from cloister.frameworks.formats import FORMATS, Format, read_configuration
from cloister.frameworks.model import NO_ITEMS, Configuration, Item, MeasuredFile, Variable, refers, shown
from cloister.frameworks.table import dotted

__all__ = ["Conversion", "Difference", "Outcome", "convert", "merge", "name_of"]


class Outcome(StrEnum):
    """What became of one item."""

    LOST = "lost"
    CHANGED = "changed"
    ADDED = "added"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One item that is not the same on both sides. `place` is in the source; for what was added it is empty."""

    outcome: Outcome
    item: str
    place: str
    before: str
    after: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What was written, and how it differs from what it was made of."""

    text: str
    differences: tuple[Difference, ...]

    @property
    def losses(self) -> tuple[Difference, ...]:
        """What is not said any more, or not as it was."""
        return tuple(one for one in self.differences if one.outcome in {Outcome.LOST, Outcome.CHANGED})


def convert(configuration: Configuration, to: str) -> Conversion:
    """Write a configuration in the format called `to`."""
    target = FORMATS[to]
    text = target.write(configuration)
    service = configuration.service if target.read_service is not None else None
    again = read_configuration(text, f"the {to} file that was made", to, service)
    return Conversion(text=text, differences=tuple(_differences(configuration, again, target)))


def _differences(before: Configuration, after: Configuration, target: Format) -> Iterator[Difference]:
    old, new = dict(before.items()), dict(after.items())
    for item, value in old.items():
        if item in new and new[item] == value:
            continue
        outcome = Outcome.CHANGED if item in new else Outcome.LOST
        yield Difference(
            outcome=outcome, item=name_of(item), place=before.place(item), before=shown(item, value),
            after=shown(item, new[item]) if item in new else "", reason=_reason(item, value, target, outcome),
        )  # fmt: skip
    yield from _kept(before, target)
    for item, value in new.items():
        if item not in old:
            yield Difference(
                outcome=Outcome.ADDED, item=name_of(item), place="", before="", after=shown(item, value),
                reason=f"{target.title} needs it, or says the same in another way",
            )  # fmt: skip
    for one in findings_of_paths(after):
        if one.key == ENTRY and before.format != after.format:
            reason = f"{one.reason}; {one.advice}"
            yield Difference(outcome=Outcome.MISSING, item=one.key, place="", before="", after="", reason=reason)
    present = {item[0] for item in new}
    for name, reason in target.needs.items():
        if name not in present:
            yield Difference(outcome=Outcome.MISSING, item=name, place="", before="", after="", reason=reason)


def name_of(item: Item) -> str:
    """An item for people: `environment.PATH`."""
    return f"{item[0]}.{item[1]}" if item[1] else item[0]


def _reason(item: Item, value: object, target: Format, outcome: Outcome) -> str:
    if outcome is Outcome.CHANGED and isinstance(value, int):
        return f"{target.title} has only some sizes: the next larger one was taken"
    if isinstance(value, Variable) and refers(value.value):
        return f"a key service fills it in, and {target.title} has none: the program must fetch it by attestation"
    if outcome is Outcome.CHANGED and isinstance(value, MeasuredFile) and not value.targets:
        return "nothing said where the program sees it; now it is there"
    said = target.cannot.get(item[0]) or target.otherwise
    kind = "cannot say all of it" if outcome is Outcome.CHANGED else "has no such setting"
    return said or f"{target.title} {kind}"


def _kept(before: Configuration, target: Format) -> Iterator[Difference]:
    """What only the other format has, a list's item as one."""
    named: set[str] = set()
    for number, one in enumerate(before.kept):
        name = dotted(_whole(one.path, before))
        if name in named or one.format == target.name:
            continue
        named.add(name)
        source = FORMATS[one.format].title
        known = f"only {source} has it" if one.known else f"it is not documented of {source}: a misspelling, or newer"
        yield Difference(
            outcome=Outcome.LOST, item=name, place=before.place(("kept", str(number))), before="", after="",
            reason=f"{known}; {target.title} has no such setting",
        )  # fmt: skip


def _whole(path: Path, before: Configuration) -> Path:
    """Up to the first item of a list of which nothing was understood."""
    for length, part in enumerate(path):
        if isinstance(part, int) and part not in before.orders.get(path[:length], ()):
            return path[: length + 1]
    return path


def merge(first: Configuration, second: Configuration) -> Configuration:
    """Two files of one program, such as a session and SCONE's variables. PolicyError where they disagree."""
    old = dict(first.items())
    for item, value in second.items():
        if item in old and old[item] != value:
            raise PolicyError(
                f"{second.place(item)}: {name_of(item)} is not what {first.place(item)} says; keep one of them"
            )
    changes: dict[str, Any] = {}
    for one in fields(Configuration):
        mine, other = getattr(first, one.name), getattr(second, one.name)
        if one.name in NO_ITEMS:
            continue
        changes[one.name] = {**mine, **other} if isinstance(mine, dict) else other if mine is None else mine
    kept = (*first.kept, *second.kept)
    moved = {("kept", str(len(first.kept) + n)): second.place(("kept", str(n))) for n in range(len(second.kept))}
    others = {item: place for item, place in second.places.items() if item[0] != "kept"}
    return replace(first, **changes, kept=kept, places={**others, **first.places, **moved})
