"""How the module reaches memory: under a key id, through the processor's caches, as a TD itself does."""

from typing import Final, Literal

from cloister.emulate.memory.cache import FrameCache
from cloister.emulate.memory.controller import MemoryController
from cloister.emulate.memory.owned import OwnedCipher
from cloister.emulate.memory.xts import XtsCipher
from cloister.emulate.paging import HOST_KEY
from cloister.measure.image import PAGE

__all__ = ["GLOBAL_HKID", "PRIVATE_HKIDS", "Integrity", "KeyedMemory"]

Integrity = Literal["ci", "li"]
"""Cryptographic integrity: a MAC of 28 bits and the TD-owner bit. Logical integrity: the TD-owner bit alone."""

PRIVATE_HKIDS: Final = range(16, 64)
"""Key ids that only the module may use; those below are the host's. How many each has is set at boot."""

GLOBAL_HKID: Final = PRIVATE_HKIDS.start
"""The module's own, for TDRs."""

ZEROS: Final = bytes(PAGE)


class KeyedMemory:
    """Physical memory by key id. With `ci` a MAC covers what is under private key ids.

    Under the host's key id, memory is encrypted by TME, without a MAC.
    """

    def __init__(self, controller: MemoryController, cache: FrameCache, integrity: Integrity = "ci") -> None:
        self._controller, self._cache, self._integrity = controller, cache, integrity
        controller.slots = len(PRIVATE_HKIDS)
        dram = controller.dram
        controller.install(HOST_KEY, OwnedCipher(XtsCipher(dram), dram, td=False))
        self.install(GLOBAL_HKID)

    def install(self, hkid: int) -> None:
        """PCONFIG: a fresh ephemeral key for a private key id."""
        dram = self._controller.dram
        inner = XtsCipher(dram, mac=self._integrity == "ci", owner=True)
        self._controller.install(hkid, OwnedCipher(inner, dram, td=True))

    def write_back(self) -> None:
        """What caches hold goes to DRAM as ciphertext (WBINVD)."""
        self._cache.write_back()

    def remove(self, hkid: int) -> None:
        """The key is gone, and with it everything under it."""
        self._cache.drop_key(hkid)
        self._controller.remove(hkid)

    def evict(self, page: int) -> None:
        """One page goes to DRAM and is cached no more (TDH.PHYMEM.PAGE.WBINVD)."""
        self._cache.write_back()
        self._cache.drop(page)

    def read(self, page: int, hkid: int, offset: int = 0, size: int = PAGE) -> bytes:
        """Bytes within one page. IntegrityFault."""
        frame = self._cache.frame(page, hkid, write=False, fetch=False)
        return bytes(self._cache.frames[frame][offset : offset + size])

    def write(self, page: int, hkid: int, offset: int, data: bytes) -> None:
        """Change bytes within one page. IntegrityFault."""
        frame = self._cache.frame(page, hkid, write=True, fetch=False)
        self._cache.frames[frame][offset : offset + len(data)] = data

    def put(self, page: int, hkid: int, content: bytes = ZEROS) -> None:
        """Write a whole page whatever stood there (MOVDIR64B for each line)."""
        self._cache.put(page, hkid, content)
