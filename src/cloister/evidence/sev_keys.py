"""How AMD's firmware lays out keys and signatures (AMD 55766, appendix C.3 and C.4; AMD 56860, chapter 10).

All numbers have the lowest byte first. Elliptic curve coordinates and signature halves have 72 bytes, RSA numbers 512,
whatever their size; what is not needed is zero.
"""

import hashlib
from typing import Final

from cloister._wire import Record, raw, reserved, u32

__all__ = ["CURVES", "KEY_SIZE", "EcKey", "EcSignature", "RsaKey"]

KEY_SIZE: Final = 0x404
"""Bytes of a public key of any kind."""

CURVES: Final = {1: "P-256", 2: "P-384"}
"""The curves' numbers."""

WIDTHS: Final = {1: 32, 2: 48}


class EcSignature(Record, size=512):
    """An ECDSA signature."""

    r: bytes = raw(72)
    s: bytes = raw(72)
    reserved_90: bytes = reserved(368)

    @property
    def halves(self) -> bytes:
        """The two numbers r and s, each 72 bytes, big-endian."""
        return self.r[::-1] + self.s[::-1]


class EcKey(Record, size=KEY_SIZE):
    """An ECDSA or ECDH public key. A curve of 0 stands for no key."""

    curve: int = u32()
    qx: bytes = raw(72)
    qy: bytes = raw(72)
    reserved_94: bytes = reserved(KEY_SIZE - 0x94)

    @classmethod
    def of(cls, point: bytes) -> "EcKey":
        """The key of a P-384 point, given as its coordinates, 48 bytes each, big-endian."""
        x, y = (half[::-1].ljust(72, b"\0") for half in (point[:48], point[48:]))
        return cls(curve=2, qx=x, qy=y)

    @property
    def usable(self) -> bool:
        """Whether the curve is known and the coordinates have no more bytes than it has."""
        width = WIDTHS.get(self.curve, 0)
        return bool(width) and not any(self.qx[width:]) and not any(self.qy[width:])

    @property
    def point(self) -> bytes:
        """The coordinates one after the other, big-endian, as wide as the curve; only of a usable key."""
        last = WIDTHS[self.curve] - 1
        return self.qx[last::-1] + self.qy[last::-1]

    @property
    def digest(self) -> bytes:
        """What an SNP report has as ID_KEY_DIGEST or AUTHOR_KEY_DIGEST: SHA-384 of the key as it is laid out."""
        return hashlib.sha384(self.serialize()).digest()


class RsaKey(Record, size=KEY_SIZE):
    """An RSA public key of up to 4096 bits."""

    modulus_size: int = u32()
    pubexp: bytes = raw(512)
    modulus: bytes = raw(512)

    @property
    def usable(self) -> bool:
        """Whether the modulus has one of the two sizes that are defined, and no more bytes than that."""
        return self.modulus_size in {2048, 4096} and not any(self.modulus[self.modulus_size // 8 :])

    @property
    def numbers(self) -> tuple[int, int]:
        """Modulus and exponent."""
        return int.from_bytes(self.modulus, "little"), int.from_bytes(self.pubexp, "little")
