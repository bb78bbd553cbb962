"""Speeds as bars: where each ends, where half of the measurements lie, and where the goal is. Units of the drawing."""

from dataclasses import dataclass
from itertools import groupby

from cloister.observe.report.record import CostRow

__all__ = ["NATIVE", "WIDTH", "CostBar", "bars_by_group"]

WIDTH = 300
NATIVE = 240
"""Where a bar of native speed ends. What is faster by more than a quarter ends at the edge; its number says more."""


@dataclass(frozen=True, kw_only=True)
class CostBar:
    """One row and its bar; `goal` is 0 where the goal is no speed."""

    row: CostRow
    end: float
    lower: float
    upper: float
    goal: float


def bars_by_group(rows: tuple[CostRow, ...]) -> list[tuple[str, list[CostBar]]]:
    """The bars of each group, groups in the order in which they first appear."""
    order = list(dict.fromkeys(row.group for row in rows))
    together = sorted(rows, key=lambda row: order.index(row.group))
    return [(group, [bar(row) for row in found]) for group, found in groupby(together, key=lambda row: row.group)]


def bar(row: CostRow) -> CostBar:
    """At least a sliver is drawn, so that very slow things do not look like things without a bar."""
    end, lower, upper, goal = (
        round(min(speed * NATIVE, WIDTH), 1) for speed in (row.speed, row.lower, row.upper, row.least_speed)
    )
    return CostBar(row=row, end=max(end, 1.5), lower=lower, upper=upper, goal=goal)
