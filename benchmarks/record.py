"""The JSON document: every pair as it was measured, beside what the table says."""

import dataclasses
import json
from typing import Any

from benchmarks.benchmark import Quantity
from benchmarks.judgement import judge
from benchmarks.machine import Machine
from benchmarks.pairs import Outcome
from benchmarks.ratios import Summary, summarise

__all__ = ["as_document", "as_text"]

VERSION = 2
DIGITS = 5
"""Significant digits of a stored figure: more than any of these clocks is worth."""


def as_document(before: Machine, after: Machine, mode: str, outcomes: list[Outcome]) -> dict[str, Any]:
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
        summary = summarise(pairs, quantity.better) if pairs else None
        rows.append(
            {
                "benchmark": benchmark.name,
                "group": quantity.group.value,
                "what": quantity.what,
                "unit": quantity.unit,
                "faster_is": quantity.better.value,
                "ways": ways,
                "summary": {name: short(value) for name, value in dataclasses.asdict(summary).items()}
                if summary
                else None,
                "goal": goal_of(quantity, summary),
                "pairs": [[short(pair.baseline), short(pair.candidate)] for pair in pairs],
                "trouble": outcome.trouble,
            }
        )
    return rows


def goal_of(quantity: Quantity, summary: Summary | None) -> dict[str, object] | None:
    """What the row is aimed at, and whether it got there; `measured` is null where nothing was."""
    if quantity.goal is None:
        return None
    found = judge(quantity.goal, summary, quantity.unit) if summary else None
    return {
        "aim": quantity.goal.aim.value,
        "limit": quantity.goal.limit,
        "measured": short(found.measured) if found else None,
        "reached": found is not None and found.reached,
        "text": found.text if found else "not measured",
    }


def short(value: float) -> float:
    """The same, to five significant digits; whole numbers stay whole."""
    return value if isinstance(value, int) else float(f"{value:.{DIGITS}g}")


def as_text(document: dict[str, Any]) -> str:
    """The document as JSON with a line for each row, so that two of them can be compared line by line."""
    head = {name: value for name, value in document.items() if name != "rows"}
    lines = ",\n".join(f"  {json.dumps(row)}" for row in document["rows"])
    return f'{json.dumps(head, indent=1)[:-2]},\n "rows": [\n{lines}\n ]\n}}\n'
