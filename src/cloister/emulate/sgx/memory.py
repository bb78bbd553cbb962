"""Physical memory as the processor's microcode reaches it, through the caches of the emulated machine."""

from typing import Final

from cloister.emulate.memory.cache import FrameCache
from cloister.emulate.paging import HOST_KEY

__all__ = ["EPC_KEY", "CachedMemory"]

EPC_KEY: Final = 1
"""The memory controller's key id of the EPC."""


class CachedMemory:
    """`ProcessorMemory` over a machine's cache. Views hold until the next call."""

    def __init__(self, cache: FrameCache) -> None:
        self._cache = cache

    def epc(self, page: int, *, write: bool) -> memoryview:
        """An EPC page, decrypted on die. IntegrityFault."""
        return self._cache.frames[self._cache.frame(page, EPC_KEY, write=write, fetch=False)]

    def fill(self, page: int, content: bytes | memoryview) -> None:
        """Set all of an EPC page without reading what DRAM holds there."""
        self._cache.put(page, EPC_KEY, content)

    def forget(self, page: int) -> None:
        """The page's content need not reach DRAM."""
        self._cache.drop(page)

    def ordinary(self, page: int, *, write: bool) -> memoryview:
        """A page of the host's."""
        return self._cache.frames[self._cache.frame(page, HOST_KEY, write=write, fetch=False)]
