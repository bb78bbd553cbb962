"""A page table: virtual page number -> what it is mapped to, and what for.

Held as a mapping instead of as entries in DRAM: who may change a table is modelled by who owns it, not by its place.
"""

from typing import NamedTuple

from cloister.emulate.paging import NEEDED, Access, MemoryFault, Stage, allows
from cloister.measure.image import PAGE, Permission

__all__ = ["Entry", "PageTable", "pages_of"]


class Entry(NamedTuple):
    """One mapping: the number of the page it leads to, and its permissions."""

    target: int
    permission: Permission


class PageTable:
    """One level of translation; `stage` says whose it is."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.entries: dict[int, Entry] = {}

    def walk(self, address: int, access: Access) -> Entry:
        """The mapping of an address. MemoryFault if there is none, or none for this access."""
        entry = self.entries.get(address >> 12)
        if entry is None:
            raise MemoryFault(address, access, self.stage, "not mapped")
        if not allows(entry.permission, access):
            raise MemoryFault(address, access, self.stage, f"mapped without {NEEDED[access].name} permission")
        return entry

    def set(self, address: int, target: int, permission: Permission) -> None:
        """Map one page."""
        self.entries[address >> 12] = Entry(target, permission)

    def take(self, address: int) -> Entry | None:
        """Unmap one page and return what it was mapped to."""
        return self.entries.pop(address >> 12, None)

    def allow(self, address: int, permission: Permission) -> None:
        """Change the permissions of one page, if it is mapped."""
        entry = self.entries.get(address >> 12)
        if entry is not None:
            self.entries[address >> 12] = Entry(entry.target, permission)


def pages_of(address: int, size: int) -> range:
    """The addresses of the pages that a range of bytes touches."""
    return range(address & ~(PAGE - 1), address + size, PAGE)
