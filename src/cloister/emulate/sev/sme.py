"""The emulated SME machine: all of memory under one key that nobody knows, not even the operating system.

AMD APM volume 2, section 7.10: the memory controller encrypts each page whose C-bit is set in the page tables. The key
is made at reset and never leaves the processor. It protects DRAM: the chips and the bus. Whoever runs on the processor
reads through the same controller, and a device does if the operating system gives it addresses with the C-bit.
"""

import secrets
from typing import Final

from cloister.emulate.machine import Shape
from cloister.emulate.memory.cipher import MemoryCipher
from cloister.emulate.memory.plain import PlainCipher
from cloister.emulate.native import NativeMachine
from cloister.emulate.paging import Access
from cloister.emulate.ports import require_memory
from cloister.emulate.sev.generations import GenerationName, generation_of
from cloister.emulate.terminal import Terminal
from cloister.emulate.vendors.keystore import Keystore
from cloister.errors import UsageError
from cloister.measure.image import PAGE

__all__ = ["CLEAR_KEY", "SmeMachine"]

CLEAR_KEY: Final = 1
"""The key id of pages whose C-bit is clear: not encrypted."""


class SmeMachine(NativeMachine):
    """A machine with SME, its operating system encrypting all of memory (Linux, mem_encrypt=on).

    There is no debug mode and no attestation: `debug` is for the other machines' sake, UsageError if it is asked for.
    """

    def __init__(
        self,
        shape: Shape,
        console: Terminal,
        keystore: Keystore | None = None,
        *,
        debug: bool = False,
        generation: GenerationName | str = "milan",
    ) -> None:
        del keystore
        if debug:
            raise UsageError("SME has no debug mode: the operating system reads everything as it is")
        self.generation = generation_of(generation)
        self._clear: set[int] = set()
        super().__init__(shape, console)
        self.controller.install(CLEAR_KEY, PlainCipher(self.dram))

    def memory_cipher(self) -> MemoryCipher:
        """The key of this reset."""
        return self.generation.cipher(self.dram, secrets.token_bytes(self.generation.key_bits // 8))

    def key_of(self, page: int, address: int, access: Access) -> int:
        """By the C-bit of the page."""
        return CLEAR_KEY if page in self._clear else super().key_of(page, address, access)

    def set_encrypted(self, address: int, *, encrypted: bool) -> None:
        """Set or clear the C-bit of a page, and convert what stands in it (Linux, set_memory_encrypted). KeyError."""
        page = self.physical_page(address)
        content = self.host_read(page)
        (self._clear.discard if encrypted else self._clear.add)(page)
        self.cache.put(page, self.key_of(page, address, Access.WRITE), content)
        self.forget_translations()

    def host_read(self, page: int) -> bytes:
        """The content of any page, with the C-bit that the operating system has for it."""
        require_memory(page, self.dram.pages)
        return self._read(page, self.key_of(page, page * PAGE, Access.READ))

    def host_write(self, page: int, data: bytes) -> None:
        """Write to any page, in the same way."""
        require_memory(page, self.dram.pages)
        self.cache.put(page, self.key_of(page, page * PAGE, Access.WRITE), data)

    def device_read(self, page: int, *, c_bit: bool = True) -> bytes:
        """By DMA: in plain if the operating system gave the device an address with the C-bit, else ciphertext."""
        return self.host_read(page) if c_bit else self._read(page, CLEAR_KEY)

    def drop_page(self, page: int) -> None:
        """Free for anybody, encrypted again."""
        self._clear.discard(page)
        super().drop_page(page)

    def _read(self, page: int, key: int) -> bytes:
        return bytes(self.frames.views[self.cache.frame(page, key, write=False, fetch=False)])
