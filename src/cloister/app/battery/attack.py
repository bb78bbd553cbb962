"""The nouns of the battery: an attack, what came of one attempt, and why one was not made."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cloister.app.battery.target import Arena

__all__ = ["Attack", "Attempt", "NotTried", "Reader", "Run", "deception", "failed", "succeeded"]

Reader = Literal["user", "root", "kernel", "physical"]
"""Whose means an attack uses: a key of `cloister.adversaries.ADVERSARIES`."""


class NotTried(Exception):
    """An attack cannot be made here; the text says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """What came of an attack in one arm. `worked` is None where it was not tried or broke; `broken` tells which."""

    worked: bool | None
    detail: str
    broken: bool = False


def succeeded(detail: str) -> Attempt:
    """The attacker got what he wanted."""
    return Attempt(worked=True, detail=detail)


def failed(detail: str) -> Attempt:
    """The attacker got nothing."""
    return Attempt(worked=False, detail=detail)


Run = Callable[[Arena], Attempt]


@dataclass(frozen=True, kw_only=True, slots=True)
class Attack:
    """One attack.

    `source`: the manual page or kernel document that describes the means. `reader`: the row of the table of readers
    that it belongs to. `declared`: where LIMITATIONS.md says that this one works; empty where it must be stopped.
    `deceives`: it gives the program something else, and reads nothing.
    `control`: what is run natively instead of `run`, where the target itself natively holds nothing of the kind.
    """

    name: str
    what: str
    source: str
    run: Run
    reader: Reader = "root"
    declared: str = ""
    deceives: bool = False
    control: Run | None = None


def deception(name: str, what: str, source: str, run: Run, declared: str = "") -> Attack:
    """An attack that reads nothing: whoever is attacked gets something else."""
    return Attack(name=name, what=what, source=source, run=run, declared=declared, deceives=True)
