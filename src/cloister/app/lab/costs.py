"""What protection costs, for the report: from the record that comes with the package.

The lab does not measure: it would take ten minutes, and a busy machine would show its own noise. The repository's
benchmarks write the record, and make the figures of its README from it.
"""

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from cloister.observe.report.record import CostRecord, CostRow

__all__ = ["costs"]

WAYS = {"baseline": "native", "candidate": "enclaved"}
"""Rows that compare anything else are the control, and measurements of Cloister's own tools."""


def costs() -> CostRecord:
    """The record's rows that compare native with enclaved, and what it says of its machine."""
    document = json.loads(files("cloister.app.lab").joinpath("costs.json").read_text())
    machine = document["machine"]
    kind = "virtual machine" if machine["virtual"] else "no hypervisor seen"
    return CostRecord(
        machine=f"{machine['processor']}, {machine['cores']} cores, {kind}, Linux {machine['kernel']}",
        measured=machine["date"],
        rows=tuple(rows_of(document["rows"])),
    )


def rows_of(rows: list[dict[str, Any]]) -> Iterator[CostRow]:
    """The rows that were measured."""
    for row in rows:
        found, goal = row["summary"], row["goal"]
        if row["ways"] == WAYS and found:
            yield CostRow(
                group=row["group"], what=row["what"], unit=row["unit"],
                native=found["baseline"], enclaved=found["candidate"],
                speed=found["ratio"], lower=found["lower_quartile"], upper=found["upper_quartile"],
                goal=goal["text"] if goal else "",
                reached=bool(goal) and goal["reached"],
                least_speed=goal["limit"] if goal and goal["aim"] == "speed" else 0.0,
            )  # fmt: skip
