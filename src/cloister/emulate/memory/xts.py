"""AES-XTS with the physical address as tweak: Intel TME-MK (scalable SGX, TDX), AMD from Genoa on, Arm CCA.

The cipher is IEEE 1619-2018. Deterministic: the same plaintext at the same address is the same ciphertext (WireTap,
CCS 2025; TEE.fail, S&P 2026), and old ciphertext put back opens as old plaintext (BadRAM, S&P 2025). A changed bit
scrambles one 16-byte block.

With `mac` a tag of 28 bits is kept: SHA3-256 over a MAC key, the address, the TD-owner bit and the ciphertext,
truncated (TDX cryptographic integrity; SGX from Sapphire Rapids on). Nothing in it counts, so replay stays possible.

Model: the data unit and the tag are for a page of 4,096 bytes where the processor has lines of 64. Each block still has
a tweak of its own; but one tag of 28 bits covers a page, where a processor has 64 of them.
"""

import hmac
import os
from hashlib import sha3_256
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import XTS

from cloister.emulate.memory.cipher import PageData
from cloister.emulate.memory.dram_unsafe import Dram
from cloister.emulate.paging import IntegrityFault
from cloister.measure.image import PAGE

__all__ = ["XtsCipher"]

TAG: Final = 8
"""Bytes of metadata that the tag takes: 28 bits, little-endian, the rest zero."""

TAG_MASK: Final = (1 << 28) - 1


class XtsCipher:
    """AES-XTS under a key of its own, of `bits` 128 or 256. Raises ValueError for another size.

    `owner` is the TD-owner bit that goes into the tag. `key`, both halves, is made at random unless given.
    A page never written opens as garbage; with `mac` it raises IntegrityFault.
    """

    replay_protected: Final = False

    def __init__(
        self, dram: Dram, *, bits: int = 128, mac: bool = False, owner: bool = False, key: bytes | None = None
    ) -> None:
        if bits not in {128, 256} or (key is not None and len(key) != bits // 4):
            raise ValueError(f"AES-{bits}-XTS: 128 or 256 bits, and a key of {bits // 4} bytes")
        self.name = f"AES-{bits}-XTS" + (" + SHA3-256/28" if mac else "")
        self.integrity = mac
        self._dram = dram
        self._key = bytearray(os.urandom(bits // 4) if key is None else key)
        self._mac_key = bytearray(os.urandom(16))  # 128 bits (TDX)
        self._aes = AES(self._key)
        self._owner = bytes([owner])
        self._incoming = bytearray(PAGE)

    def seal(self, page: int, data: PageData) -> None:
        """Encrypt a page into DRAM, with its tag if there is one."""
        ciphertext = self._dram.page(page)
        tweak = (page * PAGE).to_bytes(16, "little")
        Cipher(self._aes, XTS(tweak)).encryptor().update_into(data, ciphertext)
        if self.integrity:
            self._dram.metadata(page)[:TAG] = self._tag(tweak, ciphertext)

    def open(self, page: int, into: memoryview) -> None:
        """Decrypt a page; raises IntegrityFault when the tag does not fit."""
        ciphertext = self._dram.page(page)
        tweak = (page * PAGE).to_bytes(16, "little")
        if self.integrity:
            # Fetched once: who changes DRAM between check and use changes nothing.
            self._incoming[:] = ciphertext
            ciphertext = memoryview(self._incoming)
            if not hmac.compare_digest(self._tag(tweak, ciphertext), self._dram.metadata(page)[:TAG]):
                raise IntegrityFault(page, "#MC: the 28-bit MAC does not fit what DRAM holds")
        Cipher(self._aes, XTS(tweak)).decryptor().update_into(ciphertext, into)

    def describe(self) -> str:
        """One line for people."""
        change = "a change is noticed (28-bit MAC)" if self.integrity else "a change scrambles one block of 16 bytes"
        return f"{self.name}, tweak is the physical address: {change}; old ciphertext put back opens as old plaintext"

    def wipe(self) -> None:
        """Forget the keys."""
        for key in (self._key, self._mac_key):
            key[:] = bytes(len(key))
        del self._aes

    def _tag(self, tweak: bytes, ciphertext: memoryview) -> bytes:
        # A key in front is a MAC with SHA-3: a sponge cannot be extended (FIPS 202, section A.2).
        digest = sha3_256(self._mac_key + tweak + self._owner)
        digest.update(ciphertext)
        return (int.from_bytes(digest.digest()[:4], "little") & TAG_MASK).to_bytes(TAG, "little")
