"""Short rounds, alternating: everybody verifies the same evidence right after each other, again and again.

What slows the machine for a while then slows all of one round alike, and the ratios within a round hardly see it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.benchmark import Better
from benchmarks.ratios import Pair, Summary, summarise
from benchmarks.verify.contenders import contenders
from benchmarks.verify.subject import Contender, Item, Subject

__all__ = ["FULL", "QUICK", "Effort", "Outcome", "measure", "order"]


Clock = Callable[[], float]
"""Seconds since some moment."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much to measure.

    `evidence`: different pieces of each kind. `batch`: how many of them a round verifies. `records`: for all cores,
    `passes` times over.
    """

    evidence: int
    batch: int
    rounds: int
    records: int
    passes: int


QUICK = Effort(evidence=200, batch=25, rounds=12, records=500, passes=1)
FULL = Effort(evidence=200, batch=50, rounds=40, records=2000, passes=3)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was measured of one subject: verifications per second by contender, one number a round.

    `baseline` is whom the others are compared with; `missing` says who did not run, and why.
    """

    subject: str
    limit: str
    goal: float | None
    baseline: str
    rates: Mapping[str, Sequence[float]]
    missing: Mapping[str, str]

    def compared(self, name: str) -> Summary:
        """A contender beside the baseline, round by round."""
        rounds = zip(self.rates[self.baseline], self.rates[name], strict=True)
        return summarise([Pair(baseline=one, candidate=other) for one, other in rounds], Better.MORE)


def measure(subject: Subject, effort: Effort, *, clock: Clock = time.process_time) -> Outcome:
    """Alternate everybody over the subject's evidence, after an unmeasured turn in which caches fill.

    A peer that cannot verify it is left out, with its reason. Raises what Cloister raises, should it refuse.
    """
    everybody = contenders(subject)
    missing = {one.name: one.missing or refusal(one, subject.items[:1]) for one in everybody}
    present = [one for one in everybody if not missing[one.name]]
    size = min(effort.batch, len(subject.items))
    rates: dict[str, list[float]] = {one.name: [] for one in present}
    for number in range(effort.rounds):
        batch = [subject.items[(number * size + index) % len(subject.items)] for index in range(size)]
        for name, seconds in one_round(order(present, number), batch, clock).items():
            rates[name].append(size / seconds)
    return Outcome(
        subject=subject.name, limit=subject.limit, goal=subject.goal, baseline=present[0].name, rates=rates,
        missing={name: why for name, why in missing.items() if why},
    )  # fmt: skip


def refusal(one: Contender, items: Sequence[Item]) -> str:
    """Why a peer does not take this evidence; empty if it does."""
    try:
        one.start(items)()
    except ValueError as error:
        return f"refuses this evidence: {' '.join(str(error).split())}"
    return ""


def order(present: Sequence[Contender], number: int) -> list[Contender]:
    """Who goes when in a round: forwards, then backwards, so that nobody always runs after the same one."""
    return list(reversed(present)) if number % 2 else list(present)


def one_round(present: Sequence[Contender], batch: Sequence[Item], clock: Clock) -> dict[str, float]:
    """Seconds of each for the whole batch, by name. Getting ready is not timed."""
    took = {}
    for one in present:
        work = one.start(batch)
        begun = clock()
        work()
        took[one.name] = clock() - begun
    return took
