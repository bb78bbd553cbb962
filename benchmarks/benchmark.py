"""The nouns of a benchmark: what is measured, in which two ways, and by which function."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from benchmarks.goals import Goal

from cloister.launch.command import enclave_command

__all__ = [
    "Arm",
    "Benchmark",
    "Better",
    "Group",
    "Need",
    "NotMeasured",
    "PackageMissing",
    "Quantity",
    "Run",
    "Start",
    "enclaved",
    "native",
]


class NotMeasured(Exception):
    """A number could not be had; the message says why and names the program."""


class PackageMissing(NotMeasured):
    """A program that the benchmark stands on is not installed: a fact about the machine, not a failure."""


class Better(Enum):
    """Which direction of a quantity is the faster one."""

    MORE = "more"
    LESS = "less"


class Group(Enum):
    """What a row is about: readers look for servers, or for what starting costs, not for a benchmark's name."""

    SERVERS = "servers, warmed up"
    PROGRAMS = "whole programs, start-up included"
    STEADY = "the same programs, once warm"
    STARTING = "starting a program"
    FORKING = "fork and exec"
    MEMORY = "memory"
    CALLS = "system calls and threads"
    NOISE = "control"
    TOOLS = "tools"
    SHIELDS = "shields"


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One row of the table. `key` names it in what a run returns; `what` and `unit` are for people.

    `goal` is None where nothing is aimed at: the row explains another, or is the control.
    """

    key: str
    what: str
    unit: str
    better: Better
    group: Group
    goal: Goal | None = None


@dataclass(frozen=True, kw_only=True)
class Need:
    """A program that must be installed, and the Debian package that brings it."""

    program: str
    package: str


Start = Callable[[Sequence[str]], list[str]]
"""From a command (absolute path first) to the command that starts it in one of the two ways."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One of the two ways that are compared."""

    name: str
    start: Start


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a measuring function is given: its way, a directory to work in, and how long a load lasts, in seconds."""

    arm: Arm
    scratch: Path
    load_seconds: float


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A subject: `measure` gives a number for each quantity by key, or raises NotMeasured."""

    name: str
    quantities: tuple[Quantity, ...]
    needs: tuple[Need, ...]
    measure: Callable[[Run], Mapping[str, float]]
    baseline: Arm
    candidate: Arm


def start_enclaved(command: Sequence[str]) -> list[str]:
    """The command that runs `command` under the runtime, guarded."""
    return enclave_command(command[0], command[1:])


native = Arm(name="native", start=list)
enclaved = Arm(name="enclaved", start=start_enclaved)
