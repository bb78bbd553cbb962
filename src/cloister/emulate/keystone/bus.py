"""Physical memory as everything on the bus reaches it, without a check: DRAM, and what the caches hold of it.

Addresses are physical, in bytes, and DRAM begins at 0x80000000 as on the boards that Keystone runs on. The page tables
and the monitor's own memory are read and written here without bringing them into the cache; DRAM is not encrypted.
"""

from typing import Final

from cloister.emulate.memory.cache import FrameCache
from cloister.emulate.memory.dram_unsafe import Dram
from cloister.emulate.paging import HOST_KEY
from cloister.emulate.tables import pages_of
from cloister.measure.image import PAGE

__all__ = ["BASE", "Bus", "address_of", "page_of"]

BASE: Final = 0x8000_0000


def address_of(page: int) -> int:
    """The physical address of a page of DRAM."""
    return BASE + page * PAGE


def page_of(address: int) -> int:
    """The page of DRAM at a physical address; what is not DRAM has a number that no page has."""
    return (address - BASE) // PAGE


class Bus:
    """`cache` and `dram` are the machine's."""

    def __init__(self, dram: Dram, cache: FrameCache) -> None:
        self._dram, self._cache = dram, cache

    def page(self, number: int, *, write: bool) -> memoryview:
        """The 4,096 bytes of a page, in the cache if they are there. IndexError where there is no memory."""
        if self._cache.cached(number) is None:
            return self._dram.page(number)
        return self._cache.frames[self._cache.frame(number, HOST_KEY, write=write, fetch=False)]

    def read(self, address: int, size: int) -> bytes:
        """Bytes. IndexError where there is no memory."""
        parts = bytearray()
        while size:
            page, offset = divmod(address - BASE, PAGE)
            part = self.page(page, write=False)[offset : offset + size]
            parts += part
            address, size = address + len(part), size - len(part)
        return bytes(parts)

    def write(self, address: int, data: bytes) -> None:
        """Put bytes. IndexError where there is no memory."""
        done = 0
        while done < len(data):
            page, offset = divmod(address + done - BASE, PAGE)
            part = data[done : done + PAGE - offset]
            self.page(page, write=True)[offset : offset + len(part)] = part
            done += len(part)

    def zero(self, address: int, size: int) -> None:
        """Zero whole pages, and keep none of them in the cache."""
        for place in pages_of(address, size):
            self._cache.drop(page_of(place))
            self._dram.page(page_of(place))[:] = bytes(PAGE)
