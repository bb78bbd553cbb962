"""Alternating runs: the two ways of a benchmark, one right after the other, again and again.

On a machine that others use too, a slow minute would otherwise fall on one way alone. Which way goes first changes from
pair to pair (ABBA), so that a steady drift, or what one run leaves behind for the next, does not favour either.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.benchmark import Arm, Benchmark, NotMeasured, PackageMissing, Run
from benchmarks.needs import require
from benchmarks.ratios import Pair

from cloister.errors import LaunchError

__all__ = ["FULL", "QUICK", "Effort", "Outcome", "alternate"]

Numbers = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much to measure: at most `pairs` pairs of each benchmark, and no new pair after `seconds`."""

    pairs: int
    seconds: float
    load_seconds: float


QUICK = Effort(pairs=3, seconds=9.0, load_seconds=0.25)
FULL = Effort(pairs=15, seconds=30.0, load_seconds=0.5)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was measured: for each pair, the numbers of the baseline and of the candidate.

    `trouble` says what ended it before its time, and is empty if nothing did; `failed` is false if that was only a
    missing package.
    """

    benchmark: Benchmark
    pairs: tuple[tuple[Numbers, Numbers], ...]
    trouble: str
    failed: bool

    def of(self, key: str) -> list[Pair]:
        """The pairs of one quantity."""
        return [Pair(baseline=base[key], candidate=candidate[key]) for base, candidate in self.pairs]


def alternate(benchmark: Benchmark, effort: Effort, scratch: Path) -> Outcome:
    """Measure one benchmark in `scratch`, a directory of its own. Never raises for what a program does wrong."""
    pairs: list[tuple[Numbers, Numbers]] = []
    trouble, failed = "", False
    try:
        require(benchmark.needs)
        one_pair(benchmark, effort, scratch, candidate_first=False)  # caches warm up, programs show that they work
        deadline = time.monotonic() + effort.seconds
        while len(pairs) < effort.pairs and (not pairs or time.monotonic() < deadline):
            pairs.append(one_pair(benchmark, effort, scratch, candidate_first=len(pairs) % 2 == 1))
    except (NotMeasured, LaunchError) as error:
        trouble, failed = str(error), not isinstance(error, PackageMissing)
    return Outcome(benchmark=benchmark, pairs=tuple(pairs), trouble=trouble, failed=failed)


def one_pair(benchmark: Benchmark, effort: Effort, scratch: Path, *, candidate_first: bool) -> tuple[Numbers, Numbers]:
    """One run of each way: the baseline's numbers, then the candidate's, whichever ran first."""
    arms = (benchmark.candidate, benchmark.baseline) if candidate_first else (benchmark.baseline, benchmark.candidate)
    first, second = (one_run(benchmark, arm, effort, scratch) for arm in arms)
    return (second, first) if candidate_first else (first, second)


def one_run(benchmark: Benchmark, arm: Arm, effort: Effort, scratch: Path) -> Numbers:
    """One run of one way; NotMeasured says which way it was."""
    try:
        return benchmark.measure(Run(arm=arm, scratch=scratch, load_seconds=effort.load_seconds))
    except NotMeasured as error:
        raise NotMeasured(f"{arm.name}: {error}") from error
