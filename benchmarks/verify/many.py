"""`cloister.verify_many` over many records: in one process, and on all cores, alternating."""

import itertools
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.benchmark import Better, NotMeasured
from benchmarks.ratios import Pair, Summary, summarise
from benchmarks.verify.subject import Item, Subject

import cloister
from cloister.model import Unchecked
from cloister.verifier.many import Record

__all__ = ["ManyOutcome", "measure_many"]


@dataclass(frozen=True, kw_only=True)
class ManyOutcome:
    """Records per second of one subject: in one process (baseline) and on all cores, starting them included."""

    subject: str
    records: int
    cores: int
    pairs: Sequence[Pair]

    @property
    def summary(self) -> Summary:
        """All cores beside one process."""
        return summarise(self.pairs, Better.MORE)


def measure_many(subject: Subject, *, records: int, passes: int) -> ManyOutcome:
    """Verify so many records, in alternating order. Evidence repeats when there is less than that."""
    given = [
        Record(name=str(number), evidence=one.data, nonce=nonce_of(one))
        for number, one in zip(range(records), itertools.cycle(subject.items), strict=False)
    ]
    cores = len(os.sched_getaffinity(0))
    one_pass(subject, given[:1], processes=1)
    pairs = []
    for number in range(passes):
        ways = (cores, 1) if number % 2 else (1, cores)
        rates = {way: one_pass(subject, given, processes=way) for way in ways}
        pairs.append(Pair(baseline=rates[1], candidate=rates[cores]))
    return ManyOutcome(subject=subject.name, records=records, cores=cores, pairs=pairs)


def nonce_of(item: Item) -> bytes | Unchecked:
    """What a record has in place of a challenge."""
    return item.challenge if isinstance(item.challenge, Unchecked) else item.challenge.nonce


def one_pass(subject: Subject, records: Sequence[Record], *, processes: int) -> float:
    """Records per second. NotMeasured if one of them is refused: that would be quicker."""
    begun = time.perf_counter()
    answers = cloister.verify_many(
        records, policy=subject.policy, at=subject.at, anchors=subject.anchors, endorsements=subject.endorsements,
        allow=subject.allow, processes=processes,
    )  # fmt: skip
    refused = [one for one in answers if one.document["status"] not in {"affirming", "warning"}]
    took = time.perf_counter() - begun
    if refused:
        raise NotMeasured(f"{subject.name}: {len(refused)} records were refused: {refused[0].document}")
    return len(records) / took
