"""Memory as the four worlds of a CCA machine reach it: through the caches, under the key of a physical address space.

Secure, Root and Realm memory is encrypted, each under a key of its own, with the address as tweak (Arm DEN0129, RME
system architecture, memory protection engine). FEAT_MEC gives every realm a key of its own within the Realm physical
address space, picked by a MECID. Non-secure memory stands in DRAM as it is. Nothing detects changes: cryptographic
integrity is optional in RME, and this machine has none.
"""

import struct
from typing import Final

from cloister.emulate.memory.cache import FrameCache
from cloister.emulate.memory.controller import MemoryController
from cloister.emulate.memory.plain import PlainCipher
from cloister.emulate.memory.xts import XtsCipher
from cloister.emulate.paging import HOST_KEY
from cloister.measure.image import PAGE

__all__ = ["MONITOR_MECID", "REALM_KEY", "ROOT_KEY", "SCRUB_MECID", "SECURE_KEY", "PasMemory", "key_of"]

SECURE_KEY: Final = 1
ROOT_KEY: Final = 2
REALM_KEY: Final = 3
"""Key ids of the memory controller; the non-secure address space has HOST_KEY."""

MONITOR_MECID: Final = 0
"""What the monitor itself uses: for realm descriptors and translation tables."""

SCRUB_MECID: Final = 1
"""What it wipes granules under."""

MECID_WIDTH: Final = 16
"""Bits of a MECID (MECIDR_EL2)."""

WORD: Final = struct.Struct("<Q")
ZEROS: Final = bytes(PAGE)


def key_of(mecid: int) -> int:
    """The key id of Realm memory under a MECID."""
    return REALM_KEY + mecid


class PasMemory:
    """Physical memory by page and key id. Whether an access is allowed is for the granule protection table to say."""

    def __init__(self, controller: MemoryController, cache: FrameCache) -> None:
        self._controller, self._cache = controller, cache
        controller.slots = key_of(1 << MECID_WIDTH)
        controller.install(HOST_KEY, PlainCipher(controller.dram))
        for key in (SECURE_KEY, ROOT_KEY, key_of(MONITOR_MECID), key_of(SCRUB_MECID)):
            self.install(key)

    def install(self, key: int) -> None:
        """A fresh key for a key id."""
        self._controller.install(key, XtsCipher(self._controller.dram))

    def remove(self, key: int) -> None:
        """A key is gone, and with it everything under it."""
        self._cache.drop_key(key)
        self._controller.remove(key)

    def frame(self, page: int, key: int, *, write: bool = False) -> memoryview:
        """The 4,096 bytes of a page, decrypted, until the next access to memory."""
        return self._cache.frames[self._cache.frame(page, key, write=write, fetch=False)]

    def read(self, page: int, key: int, offset: int = 0, size: int = PAGE) -> bytes:
        """Bytes within one page."""
        return bytes(self.frame(page, key)[offset : offset + size])

    def write(self, page: int, key: int, offset: int, data: bytes) -> None:
        """Change bytes within one page."""
        self.frame(page, key, write=True)[offset : offset + len(data)] = data

    def put(self, page: int, key: int, content: bytes = ZEROS) -> None:
        """Write a whole page, whatever stood there."""
        self._cache.put(page, key, content)

    def word(self, page: int, key: int, number: int) -> int:
        """One word of 64 bits by its number in the page."""
        found: int = WORD.unpack_from(self.frame(page, key), number * WORD.size)[0]
        return found

    def set_word(self, page: int, key: int, number: int, value: int) -> None:
        """Change one word of 64 bits."""
        WORD.pack_into(self.frame(page, key, write=True), number * WORD.size, value)
