"""The memory controller: a key for each key id, and every page that goes to DRAM or comes from it."""

from collections.abc import Callable
from time import perf_counter

from cloister.emulate.memory.cipher import MemoryCipher, PageData
from cloister.emulate.memory.dram_unsafe import Dram
from cloister.emulate.paging import HOST_KEY
from cloister.measure.image import PAGE

__all__ = ["KeySlotError", "MemoryController"]


class KeySlotError(Exception):
    """A key id has no key, has one already, or no slot is left for another."""


class MemoryController:
    """The keys of one machine over its `dram`. It keeps no plaintext.

    `slots` is how many keys there may be besides the host's: ASIDs of an AMD generation (15 to 1006), private key ids
    of TDX. With `profile`, `seconds` adds up the time spent in ciphers, at about 0.2 us a page.
    """

    def __init__(self, dram: Dram, *, slots: int = 15, profile: bool = False) -> None:
        self.dram = dram
        self.slots = slots
        self.loads = 0
        self.stores = 0
        self.seconds = 0.0
        self._profile = profile
        self._ciphers: dict[int, MemoryCipher] = {}
        self._open: dict[int, Callable[[int, memoryview], None]] = {}
        self._seal: dict[int, Callable[[int, PageData], None]] = {}

    def install(self, key_id: int, cipher: MemoryCipher) -> None:
        """Put a key into a slot. Raises KeySlotError when the key id is in use or no slot is left."""
        if key_id in self._ciphers:
            raise KeySlotError(f"key id {key_id} is in use: remove its key first")
        if key_id != HOST_KEY and len(self._ciphers.keys() - {HOST_KEY}) >= self.slots:
            raise KeySlotError(f"no key slot left for key id {key_id}: this machine has {self.slots}, all in use")
        self._ciphers[key_id] = cipher
        self._open[key_id] = self._timed_open(cipher) if self._profile else cipher.open
        self._seal[key_id] = self._timed_seal(cipher) if self._profile else cipher.seal

    def remove(self, key_id: int) -> None:
        """Wipe a key. What was sealed under it is lost: caches must have given its pages up. Raises KeySlotError."""
        cipher = self.cipher(key_id)
        del self._ciphers[key_id], self._open[key_id], self._seal[key_id]
        cipher.wipe()

    def cipher(self, key_id: int) -> MemoryCipher:
        """The cipher of a key id. Raises KeySlotError when there is none."""
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise self._empty(key_id)
        return cipher

    def key_ids(self) -> list[int]:
        """The key ids in use, ascending."""
        return sorted(self._ciphers)

    def load(self, page: int, key_id: int, into: memoryview) -> None:
        """Decrypt a physical page into 4,096 writable bytes.

        Raises IntegrityFault, KeySlotError, IndexError where there is no memory, ValueError for another size.
        """
        decrypt = self._open.get(key_id)
        if decrypt is None:
            raise self._empty(key_id)
        if len(into) != PAGE:
            raise ValueError(f"a page is loaded into {PAGE} bytes, not {len(into)}")
        self.loads += 1
        decrypt(page, into)

    def store(self, page: int, key_id: int, data: PageData) -> None:
        """Encrypt 4,096 bytes into a physical page. Raises as `load` does.

        Nothing is told to a cache: what it holds of this page must be given up by `FrameCache.drop`.
        """
        encrypt = self._seal.get(key_id)
        if encrypt is None:
            raise self._empty(key_id)
        if len(data) != PAGE:
            raise ValueError(f"a page is stored from {PAGE} bytes, not {len(data)}")
        self.stores += 1
        encrypt(page, data)

    def _timed_open(self, cipher: MemoryCipher) -> Callable[[int, memoryview], None]:
        def timed(page: int, into: memoryview) -> None:
            start = perf_counter()
            try:
                cipher.open(page, into)
            finally:
                self.seconds += perf_counter() - start

        return timed

    def _timed_seal(self, cipher: MemoryCipher) -> Callable[[int, PageData], None]:
        def timed(page: int, data: PageData) -> None:
            start = perf_counter()
            try:
                cipher.seal(page, data)
            finally:
                self.seconds += perf_counter() - start

        return timed

    def _empty(self, key_id: int) -> KeySlotError:
        return KeySlotError(f"key id {key_id} has no key: install one before memory is used under it")
