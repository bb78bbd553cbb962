"""Sv39 page tables, in the enclave's own memory (RISC-V Privileged Architecture 1.12, section 4.4).

Three levels of 512 entries of 8 bytes: bits 10 to 53 are the physical page number, bits 0 to 4 V, R, W, X, U. They are
where the architecture has them, in DRAM: whoever can write there owns the mappings.
"""

import struct
from collections.abc import Callable
from typing import Final

from cloister.emulate.keystone.bus import Bus, address_of, page_of
from cloister.emulate.keystone.pmp import Pmp
from cloister.emulate.paging import NEEDED, Access, MemoryFault, Stage
from cloister.measure.image import PAGE, Permission

__all__ = ["Sv39", "entry_for"]

VALID, USER, ACCESSED, DIRTY = 1, 16, 64, 128
LEAF: Final = 14
"""Any of R, W, X: the entry is a mapping and not a pointer to the next level."""
QWORD: Final = struct.Struct("<Q")
PAGE_NUMBER: Final = (1 << 44) - 1
LEVELS: Final = (30, 21, 12)
LIMIT: Final = 1 << 38
"""Above half of 39 bits, addresses must be sign-extended; programs have the lower half."""
CAUSES: Final = {Access.FETCH: 12, Access.READ: 13, Access.WRITE: 15}


def entry_for(page: int, permission: Permission) -> int:
    """The entry that maps a page of DRAM for user mode. Accessed and dirty are set at once, as Eyrie does."""
    return (address_of(page) >> 12) << 10 | DIRTY | ACCESSED | USER | int(permission) << 1 | VALID


class Sv39:
    """The tables under one root page. `take_page` gives zeroed pages for further levels; MemoryError if there is none.

    `pmp` is the hart's that walks: its reads of the tables are checked like any other.
    """

    def __init__(self, bus: Bus, pmp: Pmp, root: int, take_page: Callable[[], int]) -> None:
        self._bus, self._pmp, self.root, self._take_page = bus, pmp, root, take_page

    def walk(self, address: int, access: Access) -> tuple[int, Permission]:
        """Page of DRAM and permissions of a user-mode mapping. MemoryFault."""
        place = self._place(address, access, checked=True)
        entry = self._read(place) if place else 0
        if not entry & VALID or not entry & USER:
            raise _fault(address, access, "not mapped")
        permission = Permission(entry >> 1 & 7)
        if not permission & NEEDED[access]:
            raise _fault(address, access, f"mapped without {NEEDED[access].name} permission")
        return page_of((entry >> 10 & PAGE_NUMBER) << 12), permission

    def set(self, address: int, page: int, permission: Permission) -> None:
        """Map a page, or change what it is mapped for. MemoryError if there is no page for a table."""
        QWORD.pack_into(*self._writable(self._place(address, Access.WRITE, make=True)), entry_for(page, permission))

    def take(self, address: int) -> int | None:
        """Unmap a page: which page of DRAM it was, or None."""
        place = self.place_of(address)
        if place is None:
            return None
        entry = self._read(place)
        QWORD.pack_into(*self._writable(place), 0)
        return page_of((entry >> 10 & PAGE_NUMBER) << 12)

    def place_of(self, address: int) -> int | None:
        """The physical address of the entry that maps an address, or None if nothing does."""
        place = self._place(address, Access.READ)
        return place if place and self._read(place) & VALID else None

    def last_place(self, address: int) -> int:
        """The physical address of the last level's entry for an address, whatever is in it; 0 if there is none."""
        return self._place(address, Access.READ)

    def page_at(self, address: int) -> int | None:
        """The page of DRAM that an address is mapped to, or None."""
        place = self.place_of(address)
        return None if place is None else page_of((self._read(place) >> 10 & PAGE_NUMBER) << 12)

    def _place(self, address: int, access: Access, *, checked: bool = False, make: bool = False) -> int:
        """Where the last level's entry is; 0 if a level before it is missing. `checked`: as hardware walks."""
        if not 0 <= address < LIMIT:
            raise _fault(address, access, "not an address of user mode")
        table = self.root
        for shift in LEVELS[:-1]:
            place = address_of(table) + (address >> shift & 511) * 8
            if checked:
                self._check(place, address, access)
            entry = self._read(place)
            if not entry & VALID:
                if not make:
                    return 0
                entry = (address_of(self._take_page()) >> 12) << 10 | VALID
                QWORD.pack_into(*self._writable(place), entry)
            elif entry & LEAF:
                raise _fault(address, access, "a large page, which this runtime does not use")
            table = page_of((entry >> 10 & PAGE_NUMBER) << 12)
        place = address_of(table) + (address >> 12 & 511) * 8
        if checked:
            self._check(place, address, access)
        return place

    def _check(self, place: int, address: int, access: Access) -> None:
        verdict = self._pmp.check(place, 8, Access.READ)
        if not verdict.allowed:
            raise MemoryFault(address, access, Stage.TEE, f"page table at {place:#x}: {verdict.fault(access)}")

    def _read(self, place: int) -> int:
        number: int = QWORD.unpack_from(self._bus.page(page_of(place), write=False), place % PAGE)[0]
        return number

    def _writable(self, place: int) -> tuple[memoryview, int]:
        return self._bus.page(page_of(place), write=True), place % PAGE


def _fault(address: int, access: Access, reason: str) -> MemoryFault:
    return MemoryFault(address, access, Stage.PROGRAM, f"page fault (cause {CAUSES[access]}): {reason}")
