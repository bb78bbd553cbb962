"""The tables for people."""

from collections.abc import Mapping, Sequence
from typing import Final

from benchmarks.emulate.costs import Costs
from benchmarks.emulate.rounds import Row

__all__ = ["costs_as_text", "rows_as_text"]

HEAD: Final = "program   machine        slowdown     min-max      goal  ciphers   misses    exits   launch"
COSTS_HEAD: Final = "machine         exit and entry   miss, clean   miss, dirty   launch, per page   (microseconds)"


def rows_as_text(rows: Sequence[Row]) -> str:
    """One line for each program on each machine."""
    return "\n".join([HEAD, *(line(row) for row in rows)])


def line(row: Row) -> str:
    """One program on one machine."""
    start = f"{row.subject:<9} {row.machine:<13}"
    if row.obstacle:
        return f"{start} not measured: {row.obstacle}"
    spread = f"{min(row.slowdowns):.1f}-{max(row.slowdowns):.1f}"
    goal = f"{'<=' if row.slowdown <= row.goal else '>'} {row.goal:g}" if row.goal else ""
    last = row.runs[-1]
    return (
        f"{start} {row.slowdown:8.1f}x {spread:>11} {goal:>9} {row.cipher_share:7.1%}"
        f" {last.misses:8,} {last.exits:8,} {last.launch * 1000:6.0f} ms"
    )


def costs_as_text(costs: Mapping[str, Costs]) -> str:
    """One line for each machine."""
    lines = [
        f"{name:<14} {one.exit:15.1f} {one.miss:13.1f} {one.dirty_miss:13.1f} {one.launch_page:18.0f}"
        for name, one in costs.items()
    ]
    return "\n".join([COSTS_HEAD, *lines]) if lines else "costs: not measured"
