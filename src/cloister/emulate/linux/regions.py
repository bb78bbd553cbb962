"""The books of a program's address space: which addresses are taken, with which permissions, and what is free."""

from bisect import bisect_right, insort
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Final

from cloister.measure.image import PAGE, Permission

from .outcome import Failed

__all__ = ["Region", "Regions", "whole_pages"]

ENOMEM: Final = 12
START: Final = attrgetter("start")


def whole_pages(size: int) -> int:
    """`size` bytes rounded up to pages."""
    return -(-size // PAGE) * PAGE


@dataclass(frozen=True, slots=True)
class Region:
    """Pages from `start` to `end` that are alike.

    `backed` is False while a reservation without permissions has no memory behind it; `anonymous` pages may be zeroed
    by madvise, the others hold bytes of a file.
    """

    start: int
    end: int
    permission: Permission
    backed: bool = True
    anonymous: bool = True

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start


class Regions:
    """All regions between the addresses `low` and `high`, ascending, never overlapping."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high
        self._regions: list[Region] = []

    def over(self, start: int, end: int) -> list[Region]:
        """The parts of regions that lie within a range."""
        first = max(bisect_right(self._regions, start, key=START) - 1, 0)
        found: list[Region] = []
        for region in self._regions[first:]:
            if region.start >= end:
                break
            if region.end > start:
                found.append(replace(region, start=max(region.start, start), end=min(region.end, end)))
        return found

    def is_free(self, start: int, end: int) -> bool:
        """Whether a range lies within the address space and nothing is there."""
        return self.low <= start and end <= self.high and not self.over(start, end)

    def is_covered(self, start: int, end: int) -> bool:
        """Whether there is no hole in a range."""
        return sum(region.size for region in self.over(start, end)) == end - start

    def permits(self, address: int, permission: Permission) -> bool:
        """Whether the program may use the byte at an address in this way."""
        return any(permission in region.permission for region in self.over(address, address + 1))

    def add(self, region: Region) -> None:
        """Take a free range, joined with its neighbours where they are alike."""
        at = bisect_right(self._regions, region.start, key=START)
        for index in (at, at - 1):
            other = self._regions[index] if 0 <= index < len(self._regions) else None
            if other and _alike(other, region) and region.start in {other.end, other.start - region.size}:
                region = replace(other, start=min(other.start, region.start), end=max(other.end, region.end))
                del self._regions[index]
        insort(self._regions, region, key=START)

    def cut(self, start: int, end: int) -> list[Region]:
        """Free a range: the parts that were there."""
        removed = self.over(start, end)
        if removed:
            kept: list[Region] = []
            for region in self._regions:
                if region.start < start < region.end or region.start < end < region.end:
                    kept += [replace(region, end=start)] if region.start < start else []
                    kept += [replace(region, start=end)] if region.end > end else []
                elif not (start <= region.start and region.end <= end):
                    kept.append(region)
            self._regions = kept
        return removed

    def place(self, size: int, below: int) -> int:
        """The highest free address for `size` bytes below an address. Failed with ENOMEM if there is none."""
        top = below
        for region in reversed(self._regions):
            if region.start >= below:
                continue
            if top - region.end >= size:
                break
            top = min(top, region.start)
        if top - size < self.low:
            raise Failed(ENOMEM)
        return top - size


def _alike(one: Region, other: Region) -> bool:
    return (one.permission, one.backed, one.anonymous) == (other.permission, other.backed, other.anonymous)
