"""AES-128-XEX with the tweak of the first SEV parts: ct = E(pt ^ T(pa)) ^ T(pa) for each block of 16 bytes.

T(pa) is the exclusive or of a constant for each bit that is set in the address (Du et al., "Secure Encrypted
Virtualization is Unsecure", 2017). It is linear: T(a) ^ T(b) = T(a ^ b), and the constants are the same in every part.
So who writes ciphertext from a to b, exclusive-ored with T(a) ^ T(b), moves a block so that it opens as the plaintext
exclusive-ored with the same value: code and data can be placed. There is no integrity and no replay protection.

The constants here are our own, made from a hash: real parts have others, which does not change the algebra.

Python has no exclusive or of buffers, and its integers leave what they held in freed memory. So wherever plaintext is
one side of it, the integers see the plaintext under a blinding stream, which is taken off again afterwards.
"""

import os
from hashlib import shake_128
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB

from cloister.emulate.memory.cipher import PageData
from cloister.emulate.memory.dram_unsafe import Dram
from cloister.measure.image import PAGE

__all__ = ["XexCipher", "tweak_of"]

BLOCK: Final = 16
FIRST_BIT: Final = 4  # the bits below are inside a block
LAST_BIT: Final = 48  # physical addresses of the first parts, C-bit 47 left out
BLOCKS: Final = PAGE // BLOCK


def _constant(bit: int) -> int:
    return int.from_bytes(shake_128(b"cloister emulated SEV tweak, address bit %d" % bit).digest(BLOCK), "little")


CONSTANTS: Final = {1 << bit: _constant(bit) for bit in range(FIRST_BIT, LAST_BIT)}

ZEROS: Final = bytes(PAGE + BLOCK)

ADDRESS_BITS: Final = sum(CONSTANTS)


def tweak_of(address: int) -> int:
    """T(pa): the 128-bit tweak of the block at a physical address in bytes, as a little-endian number."""
    tweak = 0
    rest = address & ADDRESS_BITS
    while rest:
        lowest = rest & -rest
        tweak ^= CONSTANTS[lowest]
        rest ^= lowest
    return tweak


IN_PAGE: Final = sum(tweak_of(block * BLOCK) << (128 * block) for block in range(BLOCKS))
"""The tweaks of all blocks of page 0, side by side."""


def _tweaks_of(page: int) -> int:
    """The tweaks of all blocks of a page, side by side: those of page 0 with the page's own in each."""
    return IN_PAGE ^ int.from_bytes(tweak_of(page * PAGE).to_bytes(BLOCK, "little") * BLOCKS, "little")


class XexCipher:
    """AES-128-XEX under a key of its own, random unless given (16 bytes). A page never written opens as garbage."""

    name: Final = "AES-128-XEX, linear tweak"
    integrity: Final = False
    replay_protected: Final = False

    def __init__(self, dram: Dram, *, key: bytes | None = None) -> None:
        self._dram = dram
        self._key = bytearray(os.urandom(16) if key is None else key)
        # ECB is the bare block cipher here; the exclusive ors around it make it XEX.
        blocks = Cipher(AES128(self._key), ECB())  # noqa: S305
        self._encrypt = blocks.encryptor().update_into
        self._decrypt = blocks.decryptor().update_into
        self._blinding = Cipher(AES128(os.urandom(16)), CTR(bytes(16))).encryptor()
        self._blinded = 0
        # The library asks for room for a block more than a page.
        self._one, self._other = memoryview(bytearray(PAGE + BLOCK)), memoryview(bytearray(PAGE + BLOCK))

    def seal(self, page: int, data: PageData) -> None:
        """Encrypt a page into DRAM."""
        tweaks = _tweaks_of(page)
        self._mask(data, tweaks, self._one)
        self._encrypt(self._one[:PAGE], self._other)
        self._one[:] = ZEROS
        self._dram.page(page)[:] = (int.from_bytes(self._other[:PAGE], "little") ^ tweaks).to_bytes(PAGE, "little")

    def open(self, page: int, into: memoryview) -> None:
        """Decrypt a page."""
        tweaks = _tweaks_of(page)
        ciphertext = int.from_bytes(self._dram.page(page), "little") ^ tweaks
        self._decrypt(ciphertext.to_bytes(PAGE, "little"), self._one)
        self._mask(self._one[:PAGE], tweaks, into)
        self._one[:] = ZEROS

    def _mask(self, data: PageData, tweaks: int, into: memoryview) -> None:
        """Plaintext, exclusive-ored with the tweaks. No part of a blinding stream is used for two pages."""
        self._blinded += 1
        start = (self._blinded << 64).to_bytes(16, "big")
        self._blinding.reset_nonce(start)
        self._blinding.update_into(data, self._other)
        masked = int.from_bytes(self._other[:PAGE], "little") ^ tweaks
        self._blinding.reset_nonce(start)
        self._blinding.update_into(masked.to_bytes(PAGE, "little"), into)

    def describe(self) -> str:
        """One line for people."""
        return f"{self.name}: blocks can be moved by exclusive-or algebra and put back later, unnoticed"

    def wipe(self) -> None:
        """Forget the key."""
        self._key[:] = bytes(len(self._key))
        del self._encrypt, self._decrypt
