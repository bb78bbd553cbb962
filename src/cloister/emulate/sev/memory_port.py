"""How the security processor of a running machine reaches memory: coherently, through the processor's caches."""

from typing import Final

from cloister.emulate.memory.cache import FrameCache
from cloister.emulate.memory.controller import MemoryController
from cloister.emulate.sev.generations import Generation
from cloister.measure.image import PAGE

__all__ = ["CoherentMemory"]

WHOLE: Final = (0, PAGE)


class CoherentMemory:
    """A MemoryPort over one machine's cache and memory controller."""

    def __init__(self, generation: Generation, controller: MemoryController, cache: FrameCache) -> None:
        self._generation, self._controller, self._cache = generation, controller, cache

    def read(self, address: int, size: int, key_id: int) -> bytes:
        """What stands there under a key."""
        parts = bytearray()
        while len(parts) < size:
            page, offset = divmod(address + len(parts), PAGE)
            frame = self._cache.frame(page, key_id, write=False, fetch=False)
            parts += self._cache.frames[frame][offset : offset + size - len(parts)]
        return bytes(parts)

    def write(self, address: int, data: bytes, key_id: int) -> None:
        """Write under a key. A whole page is not loaded first: what stood there is not wanted."""
        done = 0
        while done < len(data):
            page, offset = divmod(address + done, PAGE)
            part = data[done : done + PAGE - offset]
            if (offset, len(part)) == WHOLE:
                self._controller.dram.page(page)  # IndexError where there is no memory
                self._cache.put(page, key_id, part)
            else:
                frame = self._cache.frame(page, key_id, write=True, fetch=False)
                self._cache.frames[frame][offset : offset + len(part)] = part
            done += len(part)

    def install(self, asid: int, key: bytes) -> None:
        """The memory controller has a key for the ASID."""
        self._controller.install(asid, self._generation.cipher(self._controller.dram, key))

    def remove(self, asid: int) -> None:
        """What caches hold under the key goes to DRAM as ciphertext; then the key is wiped."""
        self._cache.write_back()
        self._cache.drop_key(asid)
        self._controller.remove(asid)
