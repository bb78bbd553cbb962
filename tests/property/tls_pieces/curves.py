"""P-256 and P-384 in Python's own numbers: slow, short, and nobody's code that is tested with it."""

from dataclasses import dataclass
from typing import Final

__all__ = ["P256", "P384", "Curve", "Point"]

Point = tuple[int, int] | None
"""None is the point at infinity."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """y^2 = x^3 - 3 x + b modulo p, with a generator of order n (SEC 2)."""

    p: int
    n: int
    b: int
    generator: Point
    size: int

    def add(self, one: Point, other: Point) -> Point:
        """The sum, by the textbook's rules and all of their exceptions."""
        if one is None or other is None:
            return other if one is None else one
        if one[0] == other[0]:
            if (one[1] + other[1]) % self.p == 0:
                return None
            slope = (3 * one[0] ** 2 - 3) * pow(2 * one[1], -1, self.p)
        else:
            slope = (other[1] - one[1]) * pow(other[0] - one[0], -1, self.p)
        x = (slope * slope - one[0] - other[0]) % self.p
        return x, (slope * (one[0] - x) - one[1]) % self.p

    def multiply(self, scalar: int, point: Point) -> Point:
        """Double and add."""
        total: Point = None
        for bit in f"{scalar:b}":
            total = self.add(total, total)
            if bit == "1":
                total = self.add(total, point)
        return total

    def lift(self, x: int) -> Point:
        """A point with this first coordinate; None if there is none. Both primes are 3 modulo 4."""
        square = (x**3 - 3 * x + self.b) % self.p
        y = pow(square, (self.p + 1) // 4, self.p)
        return (x % self.p, y) if y * y % self.p == square else None

    def encode(self, point: Point) -> bytes:
        """The uncompressed form; zeros behind its 4 for the point at infinity."""
        x, y = point or (0, 0)
        return b"\4" + x.to_bytes(self.size, "big") + y.to_bytes(self.size, "big")

    def bytes_of(self, scalar: int) -> bytes:
        """Big-endian."""
        return scalar.to_bytes(self.size, "big")


P256: Final = Curve(
    p=2**256 - 2**224 + 2**192 + 2**96 - 1,
    n=0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    b=0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
    generator=(
        0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
        0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
    ),
    size=32,
)
P384: Final = Curve(
    p=2**384 - 2**128 - 2**96 + 2**32 - 1,
    n=0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
    b=0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
    generator=(
        0xAA87CA22BE8B05378EB1C71EF320AD746E1D3B628BA79B9859F741E082542A385502F25DBF55296C3A545E3872760AB7,
        0x3617DE4A96262C6F5D9E98BF9292DC29F8F41DBD289A147CE9DA3113B5F0B8C00A60B1CE1D7E819D7A431D7C90EA0E5F,
    ),
    size=48,
)
