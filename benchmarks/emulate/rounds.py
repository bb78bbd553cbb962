"""Rounds: a program natively, then in each machine, again and again, so that what slows one slows the other."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.benchmark import NotMeasured
from benchmarks.emulate.runs import EmulatedRun, emulated, native
from benchmarks.emulate.subjects import Subject

from cloister.errors import CloisterError

__all__ = ["Row", "measured"]


@dataclass(kw_only=True)
class Row:
    """One program on one machine: seconds of each round, natively and there; or why there are none."""

    subject: str
    machine: str
    goal: float
    obstacle: str = ""
    native: list[float] = field(default_factory=list)
    runs: list[EmulatedRun] = field(default_factory=list)

    @property
    def slowdowns(self) -> list[float]:
        """Round by round."""
        return [run.seconds / bare for run, bare in zip(self.runs, self.native, strict=True)]

    @property
    def slowdown(self) -> float:
        """The median."""
        return statistics.median(self.slowdowns)

    @property
    def cipher_share(self) -> float:
        """The median share of the time in memory encryption."""
        return statistics.median(run.ciphers / run.seconds for run in self.runs)


def measured(
    subject: Subject, program: Path, machines: Sequence[str], rounds: int, frames: int, keys: Path
) -> Iterator[Row]:
    """All rounds of one program. A machine that fails once is left out from then on, with the reason."""
    rows = {name: Row(subject=subject.name, machine=name, goal=subject.goal) for name in machines}
    for _ in range(rounds):
        bare, expected = native(program, subject.size)
        for row in rows.values():
            if not row.obstacle:
                one_run(row, program, subject.size, bare, expected, frames, keys)
    yield from rows.values()


def one_run(row: Row, program: Path, size: int, bare: float, expected: str, frames: int, keys: Path) -> None:
    """Add one run to its row. A wrong output is a failure, however quick it was."""
    try:
        run = emulated(row.machine, program, size, frames, keys)
    except (CloisterError, NotMeasured) as error:
        row.obstacle = str(error)
        return
    if run.output != expected:
        row.obstacle = f"printed {run.output!r}, natively {expected!r}"
        return
    row.native.append(bare)
    row.runs.append(run)
