"""The security monitor's books of PMP regions: which range of memory stands in which registers, on every hart.

Keystone, sm/src/pmp.c. The monitor's own region has the highest priority, register 0. The lowest, the last register,
is shared: it holds all of memory while the host runs, and the untrusted buffer (UTM) while an enclave does. A region
that is a power of two and aligned to it takes one register (NAPOT), any other takes two (TOR).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from cloister.emulate.keystone.pmp import AddressMode, Config, Pmp
from cloister.emulate.keystone.sbi import Code
from cloister.measure.image import PAGE

__all__ = ["ALL_MEMORY", "ALL_PERMISSIONS", "NO_PERMISSION", "Priority", "Region", "RegionRefused", "Regions"]

MOST: Final = 16
"""PMP_MAX_N_REGION."""

ALL_MEMORY: Final = (1 << 64) - 1
"""The size that stands for everything."""

NO_PERMISSION: Final = Config(0)
ALL_PERMISSIONS: Final = Config.READ | Config.WRITE | Config.EXECUTE


class Priority(Enum):
    """Where a region is wanted."""

    ANY = auto()
    TOP = auto()
    BOTTOM = auto()


class RegionRefused(Exception):
    """No such region: `code` says why."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.name)
        self.code = code


@dataclass(frozen=True, slots=True)
class Region:
    """Bytes from `start`; `register` is the one with the upper end, or the only one."""

    start: int
    size: int
    mode: AddressMode
    register: int
    overlapped: bool

    @property
    def registers(self) -> tuple[int, ...]:
        """The registers that it takes."""
        return (self.register - 1, self.register) if self.mode is AddressMode.TOR else (self.register,)

    @property
    def top(self) -> int:
        """What stands in its address register."""
        if self.size == ALL_MEMORY:
            return ALL_MEMORY
        if self.mode is AddressMode.NAPOT:
            return (self.start | (self.size // 2 - 1)) >> 2
        return (self.start + self.size) >> 2

    def overlaps(self, start: int, size: int) -> bool:
        """Whether bytes are in it."""
        return self.start < start + size and start < self.start + self.size


class Regions:
    """`units` are the PMPs of all harts, and an IOPMP if there is one."""

    def __init__(self, units: Sequence[Pmp]) -> None:
        self._units = units
        self._count = min(unit.entries for unit in units)
        self.defined: list[Region] = []

    def define(self, start: int, size: int, priority: Priority, *, overlapped: bool = False) -> Region:
        """Reserve registers for a region; nothing is set yet. RegionRefused."""
        if not size:
            raise RegionRefused(Code.PMP_REGION_SIZE_INVALID)
        if not overlapped and (start + size > ALL_MEMORY or any(self._taken(start, size))):
            raise RegionRefused(Code.PMP_REGION_OVERLAP)
        if start % PAGE or (size % PAGE and size != ALL_MEMORY):
            raise RegionRefused(Code.PMP_REGION_NOT_PAGE_GRANULARITY)
        if len(self.defined) == MOST:
            raise RegionRefused(Code.PMP_REGION_MAX_REACHED)
        power = size == ALL_MEMORY or not (size & (size - 1) or start & (size - 1))
        if not power and priority is not Priority.ANY:
            raise RegionRefused(Code.PMP_REGION_IMPOSSIBLE_TOR)
        mode = AddressMode.NAPOT if power else AddressMode.TOR
        region = Region(start, size, mode, self._register(priority, 1 if power else 2), overlapped)
        self.defined.append(region)
        return region

    def free(self, region: Region) -> None:
        """Give its registers back."""
        self.defined.remove(region)

    def set(self, unit: Pmp, region: Region, permission: Config) -> None:
        """Write a region's registers on one hart."""
        if region.mode is AddressMode.TOR:
            unit.write_address(region.register - 1, region.start >> 2)
            unit.write_config(region.register - 1, 0)
        unit.write_address(region.register, region.top)
        unit.write_config(region.register, int(region.mode) << 3 | int(permission))

    def set_everywhere(self, region: Region, permission: Config) -> None:
        """The same on all harts, which an interprocessor interrupt asks for."""
        for unit in self._units:
            self.set(unit, region, permission)

    def unset_everywhere(self, region: Region) -> None:
        """Clear a region's registers on all harts."""
        for unit in self._units:
            for register in region.registers:
                unit.write_config(register, 0)
                unit.write_address(register, 0)

    def _taken(self, start: int, size: int) -> list[bool]:
        return [region.overlaps(start, size) for region in self.defined if not region.overlapped]

    def _register(self, priority: Priority, count: int) -> int:
        """The register for a region: the upper one of two."""
        taken = {register for region in self.defined for register in region.registers}
        if priority is Priority.BOTTOM:
            return self._count - 1  # shared, whoever has it
        if priority is Priority.TOP:
            if 0 in taken:
                raise RegionRefused(Code.PMP_REGION_MAX_REACHED)
            return 0
        for first in range(1, self._count - count):
            if not taken & set(range(first, first + count)):
                return first + count - 1
        raise RegionRefused(Code.PMP_REGION_MAX_REACHED)
