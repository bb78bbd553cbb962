"""Physical memory protection: the registers of one hart, and what they let through.

RISC-V Privileged Architecture 1.12, section 3.7. An entry is one byte of `pmpcfg` (R, W, X, address mode, L) and one
`pmpaddr`, which holds bits 55 to 2 of an address. The lowest entry that matches any byte of an access decides; it must
match all of them. Without a match machine mode may do everything, the others nothing.
"""

from enum import IntEnum, IntFlag
from typing import Final, NamedTuple

from cloister.emulate.paging import NEEDED, Access
from cloister.measure.image import Permission

__all__ = ["ENTRIES", "AddressMode", "Config", "Mode", "Pmp", "Verdict"]

ENTRIES: Final = 16
"""A hart has 0, 16 or 64; 16 is what Keystone's monitor is built for."""

ADDRESS_BITS: Final = (1 << 54) - 1
KNOWN_BITS: Final = 0x9F
"""Bits 5 and 6 of a configuration are zero."""


class Mode(IntEnum):
    """Privilege of an access."""

    USER = 0
    SUPERVISOR = 1
    MACHINE = 3


class AddressMode(IntEnum):
    """Bits 3 and 4 of a configuration."""

    OFF = 0
    TOR = 1  # from the address of the entry before to this one's
    NA4 = 2  # four bytes
    NAPOT = 3  # a power of two, aligned to its size, which is written as trailing ones


class Config(IntFlag):
    """One byte of `pmpcfg`."""

    READ = 1
    WRITE = 2
    EXECUTE = 4
    TOR = 1 << 3
    NA4 = 2 << 3
    NAPOT = 3 << 3
    LOCK = 0x80


CAUSES: Final = {Access.FETCH: ("instruction", 1), Access.READ: ("load", 5), Access.WRITE: ("store", 7)}
"""Names and numbers of the access faults (Privileged Architecture, table 3.6)."""


class Verdict(NamedTuple):
    """Whether an access passes, and which entry said so; None if none matched."""

    allowed: bool
    entry: int | None

    def fault(self, access: Access) -> str:
        """In the architecture's words."""
        name, cause = CAUSES[access]
        if self.entry is None:
            return f"{name} access fault (cause {cause}): no PMP entry matches"
        return f"{name} access fault (cause {cause}): PMP entry {self.entry} denies"


Range = tuple[int, int, int, int]
"""What one entry covers: bytes from the first number up to the second; its configuration and its own number."""

BITS: Final = {access: int(needed) for access, needed in NEEDED.items()}
PERMISSIONS: Final = tuple(Permission(bits) for bits in range(8))
"""Both as plain numbers: every translation of the enclave passes here."""
MODE, TOR, NA4, LOCK = 3 << 3, int(Config.TOR), int(Config.NA4), int(Config.LOCK)


class Pmp:
    """The PMP registers of one hart. All are zero after reset: no entry matches."""

    def __init__(self, entries: int = ENTRIES) -> None:
        self.entries = entries
        self._config = [0] * entries
        self._address = [0] * entries
        self._ranges: list[Range] | None = None

    # ---- registers

    def config(self, entry: int) -> int:
        """Read one byte of pmpcfg. IndexError."""
        return self._config[entry]

    def address(self, entry: int) -> int:
        """Read a pmpaddr. IndexError."""
        return self._address[entry]

    def write_config(self, entry: int, value: int) -> None:
        """Write one byte of pmpcfg. A locked entry ignores it; any ignores write without read, which is reserved."""
        if self._config[entry] & LOCK or value & 3 == Config.WRITE:
            return
        self._config[entry] = int(value) & KNOWN_BITS
        self._ranges = None

    def write_address(self, entry: int, value: int) -> None:
        """Write a pmpaddr. Ignored if the entry is locked, or the next one is and has its lower end here (TOR)."""
        following = self._config[entry + 1] if entry + 1 < self.entries else 0
        if self._config[entry] & LOCK or (following & LOCK and following & MODE == TOR):
            return
        self._address[entry] = value & ADDRESS_BITS
        self._ranges = None

    def reset(self) -> None:
        """Only this unlocks."""
        self._config, self._address = [0] * self.entries, [0] * self.entries
        self._ranges = None

    def _decoded(self) -> list[Range]:
        self._ranges = [
            (*self._covered(entry, config & MODE), config, entry)
            for entry, config in enumerate(self._config)
            if config & MODE
        ]
        return self._ranges

    def _covered(self, entry: int, mode: int) -> tuple[int, int]:
        """Table 3.11: the range of an entry that is on."""
        value = self._address[entry]
        if mode == TOR:
            return (self._address[entry - 1] << 2 if entry else 0), value << 2
        if mode == NA4:
            return value << 2, (value << 2) + 4
        ones = value ^ (value + 1)  # the trailing ones and the zero before them
        return (value & ~ones) << 2, ((value & ~ones) + ones + 1) << 2

    # ---- checks

    def check(self, start: int, size: int, access: Access, mode: Mode = Mode.SUPERVISOR) -> Verdict:
        """Judge an access of `size` bytes from a physical address."""
        end = start + size
        for first, last, config, entry in self._ranges or self._decoded():
            if first < end and start < last:
                unchecked = mode is Mode.MACHINE and not config & LOCK
                whole = first <= start and end <= last
                return Verdict(whole and (unchecked or bool(config & BITS[access])), entry)
        return Verdict(mode is Mode.MACHINE, None)

    def allowed(self, start: int, size: int) -> Permission:
        """What user and supervisor mode may do with bytes from a physical address."""
        end = start + size
        for first, last, config, _ in self._ranges or self._decoded():
            if first < end and start < last:
                return PERMISSIONS[config & 7 if first <= start and end <= last else 0]
        return Permission.NONE
