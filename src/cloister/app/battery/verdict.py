"""From what was seen in both arms to a verdict, an exit code, and who can still read."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cloister.adversaries import ADVERSARIES, Adversary
from cloister.app.battery.attack import Attack, Attempt

__all__ = ["DECLARED_READERS", "Finding", "Outcome", "Row", "exit_code", "judge", "readers", "row_of"]

LEAKED_CODE, INCONCLUSIVE_CODE = 10, 16
DECLARED_READERS: Final = frozenset({"kernel", "physical"})
"""Rows of the table of readers against which the software enclave claims nothing."""

HARMS: Final = (("reads", False), ("deceives", True))
"""What it does to a program when an attack works, and whether that is to deceive it."""


class Outcome(StrEnum):
    """What is to be said of an attack."""

    STOPPED = "stopped"
    LEAKED = "leaked"
    DECLARED = "leaked (declared)"
    NOT_SEEN = "not seen (declared)"
    INCONCLUSIVE = "inconclusive"
    NOT_TRIED = "not tried"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """An attack with what came of it. `enclaved` is None where the native arm already decided."""

    attack: Attack
    native: Attempt
    enclaved: Attempt | None
    outcome: Outcome


def judge(attack: Attack, native: Attempt, enclaved: Attempt | None) -> Finding:
    """A verdict. Without a success natively nothing is said of the enclave, unless the secret got out there."""
    return Finding(attack=attack, native=native, enclaved=enclaved, outcome=outcome_of(attack, native, enclaved))


def outcome_of(attack: Attack, native: Attempt, enclaved: Attempt | None) -> Outcome:
    """The order matters: a leak counts whatever else happened."""
    if enclaved is not None and enclaved.worked:
        return Outcome.DECLARED if is_declared(attack) else Outcome.LEAKED
    if native.broken or (enclaved is not None and enclaved.broken):
        return Outcome.INCONCLUSIVE
    if native.worked is None:
        return Outcome.NOT_TRIED
    if not native.worked:
        return Outcome.INCONCLUSIVE
    if enclaved is None or enclaved.worked is None:
        return Outcome.NOT_TRIED
    return Outcome.NOT_SEEN if is_declared(attack) else Outcome.STOPPED


def is_declared(attack: Attack) -> bool:
    """Whether LIMITATIONS.md says that this works."""
    return bool(attack.declared) or attack.reader in DECLARED_READERS


def exit_code(findings: Sequence[Finding]) -> int:
    """10: something leaked that is not declared. 16: nothing did, and something could not be decided. 0."""
    outcomes = {finding.outcome for finding in findings}
    if Outcome.LEAKED in outcomes:
        return LEAKED_CODE
    if Outcome.INCONCLUSIVE in outcomes or not outcomes & {Outcome.STOPPED, Outcome.DECLARED, Outcome.NOT_SEEN}:
        return INCONCLUSIVE_CODE
    return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A row of the table of readers: what is declared of native and enclaved, and what was observed."""

    adversary: Adversary
    native: str
    enclaved: str


def readers(findings: Sequence[Finding], user: str = "root") -> tuple[Row, ...]:
    """The table, computed. `user`: the row that attacks of `root` belong to, when the battery did not run as root."""
    return tuple(
        Row(adversary=adversary, native=native_cell(mine), enclaved=enclaved_cell(mine))
        for adversary in ADVERSARIES
        for mine in [[one for one in findings if row_of(one, user) == adversary.key]]
    )


def row_of(finding: Finding, user: str) -> str:
    """The key of the row."""
    return user if finding.attack.reader == "root" else finding.attack.reader


def native_cell(findings: Sequence[Finding]) -> str:
    """Whether anything worked natively."""
    parts = [
        f"{word} ({worked} attack{'s' if worked > 1 else ''})"
        for word, mine in by_harm(findings)
        if (worked := sum(bool(finding.native.worked) for finding in mine))
    ]
    return "; ".join(parts) or "not tried"


def by_harm(findings: Sequence[Finding]) -> tuple[tuple[str, list[Finding]], ...]:
    """What an attack that works does."""
    return tuple((word, [one for one in findings if one.attack.deceives is deceives]) for word, deceives in HARMS)


def enclaved_cell(findings: Sequence[Finding]) -> str:
    """What leaked, by name, worst first; then how much was stopped."""
    parts: list[str] = []
    for word, mine in by_harm(findings):
        parts += named_with(f"{word.upper()}: ", mine, Outcome.LEAKED)
        parts += named_with(f"{word}, as declared: ", mine, Outcome.DECLARED)
    parts += named_with("declared, not seen now: ", findings, Outcome.NOT_SEEN)
    stopped = sum(one.outcome is Outcome.STOPPED for one in findings)
    parts += [f"{stopped} stopped"] if stopped else []
    return "; ".join(parts) or "not tried"


def named_with(words: str, findings: Sequence[Finding], outcome: Outcome) -> list[str]:
    """Those that ended so, by name; nothing if none did."""
    names = [one.attack.name for one in findings if one.outcome is outcome]
    return [words + ", ".join(names)] if names else []
