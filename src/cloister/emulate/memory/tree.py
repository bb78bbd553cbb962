"""The SGX memory encryption engine: AES-CTR, Carter-Wegman tags, and a counter tree whose root never leaves the die.

Gueron, IACR eprint 2016/204. Each page has a version of 56 bits (counters.py). Encryption is AES-128 in counter mode
over address and version, so the same plaintext is never the same ciphertext twice. The tag is 56 bits of GMAC (NIST SP
800-38D), a Carter-Wegman MAC, under a key of its own over the ciphertext, bound to address and version. After a
mismatch the engine drops the access and locks: every access is refused until the machine is started again.

Model: the granule is a page of 4,096 bytes where the engine has lines of 64; the engine's own hash is another
polynomial than GHASH.
"""

import hmac
import os
from typing import Final, NoReturn

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CTR

from cloister.emulate.memory.cipher import PageData
from cloister.emulate.memory.counters import TAG, CounterTree, Mismatch
from cloister.emulate.memory.dram_unsafe import Dram
from cloister.emulate.paging import IntegrityFault
from cloister.measure.image import PAGE

__all__ = ["TreeCipher"]

ZEROS: Final = bytes(PAGE)


class TreeCipher:
    """The engine over all of a machine's DRAM. One for a machine: the counter tree has the room for nodes to itself.

    A page never written opens as zeros: its version on die says so, whatever DRAM holds. `on_die` is how many nodes
    of 64 bytes are kept on die.
    """

    name: Final = "AES-128-CTR + 56-bit GMAC + counter tree"
    integrity: Final = True
    replay_protected: Final = True

    def __init__(self, dram: Dram, *, on_die: int = 1024) -> None:
        self._dram = dram
        self._on_die = on_die
        self._incoming = memoryview(bytearray(PAGE))
        self.locked = ""
        self.reset()

    def reset(self) -> None:
        """What starting the machine again does: new keys, all counters zero, unlocked; every content is lost."""
        # Eight zeros stand for the nonce until the first page sets it.
        self._stream = Cipher(AES128(os.urandom(16)), CTR(bytes(16))).encryptor()
        self._mac = AESGCM(os.urandom(16))
        self._tree = CounterTree(self._dram.nodes, self._dram.pages, self._tag, on_die=self._on_die)
        self.locked = ""

    def seal(self, page: int, data: PageData) -> None:
        """Encrypt a page under its next version. Raises IntegrityFault when the engine is locked, or locks now."""
        if self.locked:
            self._refuse(page)
        ciphertext = self._dram.page(page)
        try:
            version = self._tree.advance(page)
        except Mismatch as mismatch:
            self._lock(page, mismatch)
        self._stream.reset_nonce(_counter_block(page, version))
        self._stream.update_into(data, ciphertext)
        self._dram.metadata(page)[:TAG] = self._tag(0, page, version, ciphertext)

    def open(self, page: int, into: memoryview) -> None:
        """Decrypt a page. Raises IntegrityFault, and locks, when DRAM does not hold what was written last."""
        if self.locked:
            self._refuse(page)
        ciphertext = self._incoming
        ciphertext[:] = self._dram.page(page)  # fetched once: what is checked is what is decrypted
        try:
            version = self._tree.version(page)
        except Mismatch as mismatch:
            self._lock(page, mismatch)
        if version == 0:
            into[:] = ZEROS
            return
        if not hmac.compare_digest(self._tag(0, page, version, ciphertext), self._dram.metadata(page)[:TAG]):
            self._lock(page, Mismatch(f"the tag does not fit the content and version {version}"))
        self._stream.reset_nonce(_counter_block(page, version))
        self._stream.update_into(ciphertext, into)

    def settle(self) -> None:
        """Write all counter nodes to DRAM and empty the cache of checked ones. Raises IntegrityFault, and locks."""
        if self.locked:
            self._refuse(0)
        try:
            self._tree.settle()
        except Mismatch as mismatch:
            self._lock(0, mismatch)

    def describe(self) -> str:
        """One line for people."""
        return f"{self.name}, root on die: changed, moved or old DRAM contents are noticed, and the machine locks"

    def wipe(self) -> None:
        """Forget the keys."""
        del self._stream, self._mac
        self.locked = "the keys were wiped"

    def _tag(self, level: int, index: int, counter: int, content: bytes | memoryview) -> bytes:
        # No nonce comes twice: place and counter are in it, and no counter has a value twice under one key.
        nonce = (level << 88 | index << 56 | counter).to_bytes(12, "big")
        return self._mac.encrypt(nonce, b"", content)[:TAG]

    def _lock(self, page: int, mismatch: Mismatch) -> NoReturn:
        self.locked = f"integrity was lost at physical page {page:#x}"
        raise IntegrityFault(page, f"drop-and-lock: {mismatch}") from mismatch

    def _refuse(self, page: int) -> NoReturn:
        raise IntegrityFault(page, f"memory is locked until the machine is started again: {self.locked}")


def _counter_block(page: int, version: int) -> bytes:
    """Address, version, and a byte that counts the page's 256 blocks: each block of each version has its own."""
    return (page << 64 | version << 8).to_bytes(16, "big")
