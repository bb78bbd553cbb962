"""The JSON document: every pair as it was measured, beside what the table says."""

import dataclasses

from benchmarks.machine import Machine
from benchmarks.pairs import Outcome
from benchmarks.ratios import summarise

__all__ = ["as_document"]

VERSION = 1


def as_document(before: Machine, after: Machine, mode: str, outcomes: list[Outcome]) -> dict[str, object]:
    """One object: the machine before and after, and a row for each quantity."""
    return {
        "version": VERSION,
        "mode": mode,
        "machine": dataclasses.asdict(before),
        "load_after": list(after.load),
        "rows": [row for outcome in outcomes for row in rows_of(outcome)],
    }


def rows_of(outcome: Outcome) -> list[dict[str, object]]:
    """The rows of one benchmark. `trouble` says what ended it early; empty if nothing did."""
    benchmark = outcome.benchmark
    ways = {"baseline": benchmark.baseline.name, "candidate": benchmark.candidate.name}
    rows: list[dict[str, object]] = []
    for quantity in benchmark.quantities:
        pairs = outcome.of(quantity.key)
        rows.append(
            {
                "benchmark": benchmark.name,
                "what": quantity.what,
                "unit": quantity.unit,
                "faster_is": quantity.better.value,
                "ways": ways,
                "pairs": [[pair.baseline, pair.candidate] for pair in pairs],
                "summary": dataclasses.asdict(summarise(pairs, quantity.better)) if pairs else None,
                "trouble": outcome.trouble,
            }
        )
    return rows
