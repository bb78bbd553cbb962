"""The JSON document: every round as it was measured, beside what the table says."""

import dataclasses
from collections.abc import Sequence

from benchmarks.machine import Machine
from benchmarks.verify.many import ManyOutcome
from benchmarks.verify.rounds import Outcome

__all__ = ["as_document"]

VERSION = 1


def as_document(
    before: Machine, after: Machine, outcomes: Sequence[Outcome], many: Sequence[ManyOutcome]
) -> dict[str, object]:
    """One object: the machine before and after, every subject with its contenders, the passes over many records."""
    return {
        "version": VERSION,
        "machine": dataclasses.asdict(before),
        "load_after": list(after.load),
        "subjects": [
            {
                "subject": one.subject, "limit": one.limit, "goal": one.goal, "missing": dict(one.missing),
                "per_second": {name: list(rates) for name, rates in one.rates.items()},
                "of_the_limit": {name: dataclasses.asdict(one.compared(name)) for name in one.rates},
            }
            for one in outcomes
        ],
        "many": [
            {
                "subject": one.subject, "records": one.records, "cores": one.cores,
                "per_second": [[pair.baseline, pair.candidate] for pair in one.pairs],
                "summary": dataclasses.asdict(one.summary),
            }
            for one in many
        ],
    }  # fmt: skip
