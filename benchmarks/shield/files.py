"""Files themselves: written, read again, at random places."""

from benchmarks.benchmark import Better, Group, NotMeasured, Quantity, Run
from benchmarks.goals import speed
from benchmarks.needs import C_COMPILER, compiled
from benchmarks.processes import numbers_of
from benchmarks.shield.sites import at

__all__ = ["NEEDS", "QUANTITIES", "measure"]

MEBIBYTES = 64
NEEDS = (C_COMPILER,)


def rate(key: str, what: str, unit: str, goal: float | None) -> Quantity:
    """A row."""
    aimed = None if goal is None else speed(goal)
    return Quantity(key=key, what=what, unit=unit, better=Better.MORE, group=Group.SHIELDS, goal=aimed)


QUANTITIES = (
    rate("write", f"write {MEBIBYTES} MiB and fsync", "MiB/s", 0.6),
    rate("random_write", "4 KiB at random, and fsync", "/s", 0.6),
    rate("cached_read", "read again, 64 KiB at once", "MiB/s", 0.9),
    rate("random_read", "4 KiB at random, read before", "/s", 0.9),
    rate("cold_read", "read from the disk", "MiB/s", None),
)


def measure(this: Run) -> dict[str, float]:
    """MiB and blocks a second."""
    program = compiled("files", this.scratch)
    with at(this.arm.name, this.scratch) as site:
        words = [program, str(site.directory), str(MEBIBYTES)]
        found = numbers_of(site.start([*words, str(this.load_seconds)]))
        site.forget()
        found |= numbers_of(site.start([*words, "0"]))
    missing = {one.key for one in QUANTITIES} - found.keys()
    if missing:
        raise NotMeasured(f"no number for {', '.join(sorted(missing))}")
    return found
