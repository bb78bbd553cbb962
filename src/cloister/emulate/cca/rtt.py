"""Realm translation tables (RTT): the realm's stage 2, from its intermediate physical addresses (IPA) to granules.

RMM specification 1.0, "Realm translation tables"; the words are those of TF-RMM 1.0, lib/s2tt. They lie in granules of
the Realm address space, which the host gave and cannot reach. An entry has a state of the host's making (HIPAS: whether
a granule stands there) and one of the realm's (RIPAS: whether the realm means it to be memory).

    unassigned   HIPAS 0 in bits 4 to 2, RIPAS in bits 6 to 5        an invalid descriptor
    assigned     address, HIPAS 1, RIPAS EMPTY or DESTROYED          an invalid descriptor
    assigned     address, type 3 at level 3                          RIPAS RAM: a valid page
    table        address, type 3 at levels 0 to 2
    unprotected  the same with bit 55 (NS), and no RIPAS
"""

from enum import IntEnum
from typing import Final, NamedTuple

from cloister.emulate.cca.memory import PasMemory
from cloister.emulate.cca.rmi import MonitorPanic
from cloister.measure.image import PAGE

__all__ = ["ENTRIES", "PAGE_LEVEL", "Hipas", "Ripas", "RttEntry", "TableWalk", "Tables", "map_size"]


class Hipas(IntEnum):
    """The host's part of an entry's state."""

    UNASSIGNED = 0
    ASSIGNED = 1
    TABLE = 2


class Ripas(IntEnum):
    """The realm's part."""

    EMPTY = 0
    RAM = 1
    DESTROYED = 2


ENTRIES: Final = 512
PAGE_LEVEL: Final = 3
HIPAS_SHIFT, HIPAS_MASK, RIPAS_SHIFT, RIPAS_MASK = 2, 7, 5, 3
VALID, PAGE_TYPE, TYPE_MASK = 1, 3, 3
ACCESSED: Final = 1 << 10
NS: Final = 1 << 55
ADDRESS: Final = (1 << 48) - PAGE


def map_size(level: int) -> int:
    """Bytes that an entry of a level stands for."""
    return PAGE << 9 * (PAGE_LEVEL - level)


class RttEntry(NamedTuple):
    """One entry. `page` is a physical page, of memory or of a table.

    `unprotected` says that it is outside the realm's own half of addresses.
    """

    hipas: Hipas
    ripas: Ripas = Ripas.EMPTY
    page: int = 0
    unprotected: bool = False

    @property
    def valid(self) -> bool:
        """Whether the processor translates with it."""
        return self.hipas is Hipas.ASSIGNED and (self.unprotected or self.ripas is Ripas.RAM)

    def word(self) -> int:
        """As it stands in a table. The NS bit is set outside the realm's half, as TF-RMM does."""
        address, side = self.page * PAGE, NS if self.unprotected else 0
        if self.hipas is Hipas.TABLE:
            return address | PAGE_TYPE
        if self.valid:
            return address | side | ACCESSED | PAGE_TYPE
        ripas = 0 if self.unprotected else self.ripas << RIPAS_SHIFT
        return address | side | self.hipas << HIPAS_SHIFT | ripas

    @classmethod
    def read(cls, word: int, level: int) -> "RttEntry":
        """From a table of a level. MonitorPanic if it is none that a monitor writes."""
        page, unprotected = (word & ADDRESS) // PAGE, bool(word & NS)
        if word & VALID:
            if word & TYPE_MASK != PAGE_TYPE:
                raise MonitorPanic(f"a translation table entry of level {level} is {word:#018x}, a block: none is made")
            if level < PAGE_LEVEL:
                return cls(Hipas.TABLE, Ripas.EMPTY, page)
            return cls(Hipas.ASSIGNED, Ripas.EMPTY if unprotected else Ripas.RAM, page, unprotected)
        hipas, ripas = word >> HIPAS_SHIFT & HIPAS_MASK, word >> RIPAS_SHIFT & RIPAS_MASK
        valid = hipas == Hipas.ASSIGNED and (unprotected or ripas == Ripas.RAM)  # would be a valid descriptor
        if hipas > Hipas.ASSIGNED or ripas > Ripas.DESTROYED or valid:
            raise MonitorPanic(f"a translation table entry of level {level} is {word:#018x}, which is no state")
        return cls(Hipas(hipas), Ripas.EMPTY if unprotected else Ripas(ripas), page, unprotected)


class TableWalk(NamedTuple):
    """Where a walk ended: the table, the number of the entry in it, its level, and the entry."""

    table: int
    number: int
    level: int
    entry: RttEntry


class Tables:
    """The tables of one realm from their root, which is at level `start`. `key` is what they are encrypted under."""

    def __init__(self, memory: PasMemory, root: int, start: int, key: int) -> None:
        self._memory, self.root, self.start, self._key = memory, root, start, key

    def walk(self, ipa: int, level: int = PAGE_LEVEL) -> TableWalk:
        """As deep as tables go, but not below `level`. MonitorPanic."""
        table, at = self.root, self.start
        while True:
            index = ipa // map_size(at) % ENTRIES
            entry = self.entry(table, index, at)
            if at == level or entry.hipas is not Hipas.TABLE:
                return TableWalk(table, index, at, entry)
            table, at = entry.page, at + 1

    def entry(self, table: int, index: int, level: int) -> RttEntry:
        """One entry of a table."""
        try:
            word = self._memory.word(table, self._key, index)
        except IndexError as error:
            raise MonitorPanic(f"a translation table at page {table:#x}: {error}") from error
        return RttEntry.read(word, level)

    def set(self, table: int, index: int, entry: RttEntry) -> None:
        """Change one entry."""
        self._memory.set_word(table, self._key, index, entry.word())

    def make(self, table: int, entry: RttEntry) -> None:
        """A granule becomes a table, all of whose entries are the same."""
        self._memory.put(table, self._key, entry.word().to_bytes(8, "little") * ENTRIES)
