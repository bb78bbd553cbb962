"""TZC-400, the address space controller: which bus master may reach which range of DRAM, in which world.

CoreLink TZC-400 TRM (Arm DDI 0504), chapters 2 and 3; register offsets and bits as TF-A has them (tzc400.h). It stands
between the interconnect and the memory controller. It filters and never encrypts.

    region 0        all of memory, lower in rank than any other; always on
    regions 1 to 8  base and top, for the filters in their attributes; regions that overlap on a filter are an error
    secure access   by bits 30 (read) and 31 (write) of the region's attributes
    normal access   by the master's NSAID, 0 to 15: bits 15:0 of the region's id access say read, bits 31:16 write

What is denied reads as zeros or is dropped. ACTION decides whether the master is told (DECERR), and whether the secure
world is (interrupt). The first failure stands in the FAIL registers of its filter until it is cleared.
"""

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final, NamedTuple

from cloister.emulate.memory.cipher import PageData
from cloister.emulate.memory.dram_unsafe import Dram
from cloister.emulate.paging import HOST_KEY, Refused
from cloister.measure.image import PAGE

__all__ = ["SECURE_KEY", "Action", "Attribute", "Failure", "FilteredMemory", "Master", "Region", "Register", "Tzc400"]

SECURE_KEY: Final = 1
"""The key id of lines whose NS bit is clear."""

REGIONS: Final = 9
"""Region 0 and eight that are programmed (BUILD_CONFIG says one less than there are)."""
MOST_FILTERS: Final = 4
REGION_STRIDE, FAIL_STRIDE = 0x20, 0x10
ZEROS: Final = bytes(PAGE)


class Register(IntEnum):
    """Offsets. FAIL registers are those of filter 0, region registers those of region 0; strides are above."""

    BUILD_CONFIG = 0x000
    ACTION = 0x004
    GATE_KEEPER = 0x008
    INT_STATUS = 0x010
    INT_CLEAR = 0x014
    FAIL_ADDRESS_LOW = 0x020
    FAIL_ADDRESS_HIGH = 0x024
    FAIL_CONTROL = 0x028
    FAIL_ID = 0x02C
    REGION_BASE_LOW = 0x100
    REGION_BASE_HIGH = 0x104
    REGION_TOP_LOW = 0x108
    REGION_TOP_HIGH = 0x10C
    REGION_ATTRIBUTES = 0x110
    REGION_ID_ACCESS = 0x114


class Action(IntFlag):
    """What happens on a denied access besides zeros: the register's two bits."""

    NONE = 0
    ERROR = 1  # the master gets DECERR: a synchronous external abort
    INTERRUPT = 2  # the secure world is told


class Attribute(IntFlag):
    """A region's attributes: filters 0 to 3 that it is for, and what secure masters may do."""

    FILTER_0 = 1
    FILTERS = 0xF
    SECURE_READ = 1 << 30
    SECURE_WRITE = 1 << 31


class Master(NamedTuple):
    """Who stands behind an access: the NS bit of the bus, its NSAID (0 to 15), and whether it is privileged."""

    secure: bool
    nsaid: int = 0
    privileged: bool = True

    @property
    def key_id(self) -> int:
        """The NS bit, which caches keep with each line, as a key id of the memory controller."""
        return SECURE_KEY if self.secure else HOST_KEY


class Failure(NamedTuple):
    """The FAIL registers of a filter: byte address, direction, world, and the master's NSAID."""

    address: int
    write: bool
    normal: bool
    privileged: bool
    nsaid: int


NOBODY: Final = Attribute(0)


@dataclass(slots=True)
class Region:
    """Bytes `base` to `top`, both included; in the registers, multiples of 4 KiB and one less."""

    base: int = 0
    top: int = 0
    attributes: Attribute = NOBODY
    id_access: int = 0

    def allows(self, master: Master, *, write: bool) -> bool:
        """Whether a master may."""
        if master.secure:
            return bool(self.attributes & (Attribute.SECURE_WRITE if write else Attribute.SECURE_READ))
        return bool(self.id_access >> (master.nsaid + 16 * write) & 1)


class Tzc400:
    """One controller with 1 to 4 filters in front of `pages` pages. At reset, region 0 allows nothing, gates are shut.

    Its registers belong to the secure world: anybody else's access raises Refused.
    """

    def __init__(self, pages: int, filters: int = 1) -> None:
        if not 1 <= filters <= MOST_FILTERS:
            raise ValueError(f"a TZC-400 has 1 to {MOST_FILTERS} filters, not {filters}")
        self.filters = filters
        self.regions = [Region(0, pages * PAGE - 1, Attribute.FILTERS), *(Region() for _ in range(REGIONS - 1))]
        self.action = Action.NONE
        self.gates = 0
        self.status = self.overrun = self.overlap = 0
        self.failures: list[Failure | None] = [None] * filters
        self._verdicts: dict[tuple[int, Master, bool, int], bool] = {}

    # ---- the bus

    def permits(self, page: int, master: Master, *, write: bool, filter_unit: int = 0) -> bool:
        """Whether an access to a page is let through. Changes nothing but the overlap flag."""
        asked = (page, master, write, filter_unit)
        verdict = self._verdicts.get(asked)
        if verdict is None:
            verdict = self._verdicts[asked] = self._judge(page * PAGE, master, write=write, unit=filter_unit)
        return verdict

    def _judge(self, address: int, master: Master, *, write: bool, unit: int) -> bool:
        if not self.gates >> unit & 1:
            return False
        covering = [
            one for one in self.regions[1:] if one.attributes >> unit & 1 and one.base <= address <= one.top
        ]  # fmt: skip
        if len(covering) > 1:
            # The TRM leaves the outcome open and asks that it be flagged: this model denies.
            self.overlap |= 1 << unit
            return False
        return (covering[0] if covering else self.regions[0]).allows(master, write=write)

    def access(self, page: int, master: Master, *, write: bool, filter_unit: int = 0) -> bool:
        """One access: whether it reaches memory. What is denied is recorded; Refused if ACTION says DECERR."""
        if self.permits(page, master, write=write, filter_unit=filter_unit):
            return True
        self._record(Failure(page * PAGE, write, not master.secure, master.privileged, master.nsaid), filter_unit)
        if self.action & Action.ERROR:
            raise Refused(f"DECERR: the TZC-400 denies {'writing' if write else 'reading'} at {page * PAGE:#x}")
        return False

    def _record(self, failure: Failure, unit: int) -> None:
        bit = 1 << unit
        if self.status & bit:
            self.overrun |= bit
            return
        self.status |= bit
        self.failures[unit] = failure

    @property
    def interrupt(self) -> bool:
        """The line to the secure world's interrupt controller."""
        return bool(self.status | self.overlap) and bool(self.action & Action.INTERRUPT)

    # ---- registers

    def configure(self, number: int, base: int, top: int, attributes: Attribute, id_access: int = 0) -> None:
        """Program a region by its registers, as TF-A's tzc400_configure_region does. `base`, `top` in bytes."""
        start = number * REGION_STRIDE
        halves = ((Register.REGION_BASE_LOW, base), (Register.REGION_TOP_LOW, top))
        for low, value in halves if number else ():
            self.write(start + low, value & 0xFFFF_FFFF, secure=True)
            self.write(start + low + 4, value >> 32, secure=True)
        self.write(start + Register.REGION_ATTRIBUTES, int(attributes), secure=True)
        self.write(start + Register.REGION_ID_ACCESS, id_access, secure=True)

    def read(self, offset: int, *, secure: bool) -> int:
        """A register. Refused for the normal world; what is not there reads as zero."""
        self._only_secure(offset, secure=secure)
        match offset:
            case Register.BUILD_CONFIG:
                return (self.filters - 1) << 24 | 31 << 8 | (REGIONS - 1)
            case Register.ACTION:
                return int(self.action)
            case Register.GATE_KEEPER:
                return self.gates << 16 | self.gates
            case Register.INT_STATUS:
                return self.overlap << 16 | self.overrun << 8 | self.status
        if offset >= Register.REGION_BASE_LOW:
            return self._read_region(offset)
        return self._read_failure(offset)

    def _read_failure(self, offset: int) -> int:
        unit, place = divmod(offset - Register.FAIL_ADDRESS_LOW, FAIL_STRIDE)
        failure = self.failures[unit] if 0 <= unit < self.filters else None
        if failure is None:
            return 0
        control = failure.write << 24 | failure.normal << 21 | failure.privileged << 20
        words = (failure.address & 0xFFFF_FFFF, failure.address >> 32, control, failure.nsaid)
        return words[place // 4]

    def _read_region(self, offset: int) -> int:
        number, place = divmod(offset - Register.REGION_BASE_LOW, REGION_STRIDE)
        if number >= REGIONS or place > Register.REGION_ID_ACCESS - Register.REGION_BASE_LOW:
            return 0
        one = self.regions[number]
        low = 0xFFFF_FFFF
        words = (one.base & low, one.base >> 32, one.top & low, one.top >> 32, int(one.attributes), one.id_access)
        return words[place // 4]

    def write(self, offset: int, value: int, *, secure: bool) -> None:
        """Write a register of 32 bits. Refused for the normal world; read-only ones stay as they are."""
        self._only_secure(offset, secure=secure)
        self._verdicts.clear()
        match offset:
            case Register.ACTION:
                self.action = Action(value & 3)
            case Register.GATE_KEEPER:
                self.gates = value & ((1 << self.filters) - 1)
            case Register.INT_CLEAR:
                self._clear(value)
            case _ if offset >= Register.REGION_BASE_LOW:
                self._write_region(offset, value)

    def _clear(self, value: int) -> None:
        self.status &= ~value
        self.overrun &= ~value
        self.overlap &= ~value
        self.failures = [None if value >> unit & 1 else one for unit, one in enumerate(self.failures)]

    def _write_region(self, offset: int, value: int) -> None:
        number, place = divmod(offset - Register.REGION_BASE_LOW, REGION_STRIDE)
        if number >= REGIONS:
            return
        one, register = self.regions[number], Register.REGION_BASE_LOW + place
        if register == Register.REGION_ATTRIBUTES:
            mask = Attribute.SECURE_READ | Attribute.SECURE_WRITE | (Attribute.FILTERS if number else 0)
            fixed = 0 if number else Attribute.FILTERS
            one.attributes = Attribute(value & mask | fixed)
        elif register == Register.REGION_ID_ACCESS:
            one.id_access = value
        elif number:  # region 0's range is fixed
            self._write_bound(one, register, value)

    @staticmethod
    def _write_bound(one: Region, register: int, value: int) -> None:
        """Bits 11:0 of a base read as zeros, of a top as ones."""
        match register:
            case Register.REGION_BASE_LOW:
                one.base = one.base >> 32 << 32 | value & ~(PAGE - 1)
            case Register.REGION_BASE_HIGH:
                one.base = value << 32 | one.base & 0xFFFF_FFFF
            case Register.REGION_TOP_LOW:
                one.top = one.top >> 32 << 32 | value | (PAGE - 1)
            case Register.REGION_TOP_HIGH:
                one.top = value << 32 | one.top & 0xFFFF_FFFF

    @staticmethod
    def _only_secure(offset: int, *, secure: bool) -> None:
        if not secure:
            raise Refused(f"the TZC-400's register at {offset:#x} answers secure accesses only")


class FilteredMemory:
    """DRAM as one master's accesses reach it through the controller: in the clear, if they reach it at all."""

    name: Final = "none"
    integrity: Final = False
    replay_protected: Final = False

    def __init__(self, dram: Dram, controller: Tzc400, master: Master) -> None:
        self._dram, self._controller, self._master = dram, controller, master

    def seal(self, page: int, data: PageData) -> None:
        """A cache line's way out: written, or dropped."""
        if self._controller.access(page, self._master, write=True):
            self._dram.page(page)[:] = data

    def open(self, page: int, into: memoryview) -> None:
        """A cache line's way in: what is there, or zeros."""
        into[:] = self._dram.page(page) if self._controller.access(page, self._master, write=False) else ZEROS

    def describe(self) -> str:
        """One line for people."""
        world = "secure" if self._master.secure else "normal"
        return f"DRAM is not encrypted; the {world} world's accesses are filtered by the TZC-400"

    def wipe(self) -> None:
        """There is no key."""
