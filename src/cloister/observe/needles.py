"""Every form in which a secret may lie in memory, as byte patterns.

A derived form of a secret shorter than 4 bytes would be found everywhere by chance, so such a secret is
searched as it is and nothing else. A form equal to an earlier one (`reversed` of a palindrome,
`percent` of a name) is searched once under the earlier name.
"""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote_from_bytes

from cloister.errors import UsageError

__all__ = ["MINIMUM_DERIVED", "Needle", "Needles"]

MINIMUM_DERIVED = 4
MINIMUM_EDGE = 8


@dataclass(frozen=True, kw_only=True)
class Needle:
    """One encoded form of one secret. `secret_length` is that of the plain secret, in bytes."""

    label: str
    encoding: str
    pattern: bytes = field(repr=False)
    secret_length: int

    @property
    def minimum_part(self) -> int:
        """Bytes of `pattern` that count as a partial find at the edge of unreadable memory.

        8 bytes of the secret, or half of a shorter one, but never under 4: an edge is a single place, so
        chance hits stay rare.
        """
        wanted = max(MINIMUM_DERIVED, min(MINIMUM_EDGE, -(-self.secret_length // 2)))
        return -(-wanted * len(self.pattern) // self.secret_length)

    @property
    def chance(self) -> float:
        """Probability that random bytes, already in this encoding's alphabet, match at one position."""
        if self.encoding.startswith("base64"):
            return float(64.0 ** -len(self.pattern))
        return float(256.0**-self.secret_length)


@dataclass(frozen=True, kw_only=True)
class Needles:
    """The patterns to search for, with warnings about secrets that are poor markers."""

    needles: tuple[Needle, ...]
    warnings: tuple[str, ...] = ()

    @staticmethod
    def of(secrets: Mapping[str, bytes]) -> "Needles":
        """Every form of every labelled secret. Raises UsageError for an empty one, or a single repeated byte."""
        needles: list[Needle] = []
        warnings: list[str] = []
        for label, secret in secrets.items():
            if len(set(secret)) <= 1:
                raise UsageError(f"secret {label!r} is empty or one byte repeated; give one with different bytes")
            if len(secret) < MINIMUM_DERIVED:
                warnings.append(
                    f"secret {label!r} is under {MINIMUM_DERIVED} bytes: no encodings of it, and chance finds"
                )
            needles.extend(forms(label, secret))
        return Needles(needles=tuple(needles), warnings=tuple(warnings))

    @property
    def longest(self) -> int:
        """Length of the longest pattern in bytes; 0 when there is none."""
        return max((len(needle.pattern) for needle in self.needles), default=0)

    def expected_chance_hits(self, read_bytes: int) -> float:
        """Upper estimate of hits by chance in `read_bytes`, for secrets of random bytes.

        As if all memory were text in each encoding's own alphabet; a secret that is a common word has more.
        """
        return read_bytes * sum(needle.chance for needle in self.needles)


def forms(label: str, secret: bytes) -> Iterator[Needle]:
    """The distinct forms of one secret, plainest first."""
    seen: set[bytes] = set()
    for encoding, pattern in encodings(secret) if len(secret) >= MINIMUM_DERIVED else [("raw", secret)]:
        if pattern not in seen:
            seen.add(pattern)
            yield Needle(label=label, encoding=encoding, pattern=pattern, secret_length=len(secret))


def encodings(secret: bytes) -> Iterator[tuple[str, bytes]]:
    """Every encoding by name. Bytes that are not UTF-8 are widened one by one for the UTF-16 and UTF-32 forms."""
    try:
        text = secret.decode("utf-8")
    except UnicodeDecodeError:
        text = secret.decode("latin-1")
    yield "raw", secret
    yield "utf-16le", text.encode("utf-16-le")
    yield "utf-16be", text.encode("utf-16-be")
    yield "utf-32le", text.encode("utf-32-le")
    for alignment in range(3):
        yield f"base64@{alignment}", base64_middle(secret, alignment)
    for alignment in range(3):
        yield f"base64url@{alignment}", base64_middle(secret, alignment).translate(bytes.maketrans(b"+/", b"-_"))
    yield "hex", secret.hex().encode()
    yield "HEX", secret.hex().upper().encode()
    for name, digits in (("percent-all", "%02X"), ("percent-all-lower", "%02x")):
        yield name, b"".join(b"%" + (digits % byte).encode() for byte in secret)
    yield "percent", quote_from_bytes(secret, safe="").encode()
    yield "percent-lower", b"".join(one_percent_lower(byte) for byte in secret)
    yield "reversed", secret[::-1]


def one_percent_lower(byte: int) -> bytes:
    """One byte, percent-encoded in lower case if it is reserved."""
    quoted = quote_from_bytes(bytes([byte]), safe="")
    return quoted.lower().encode() if quoted.startswith("%") else quoted.encode()


def base64_middle(secret: bytes, alignment: int) -> bytes:
    """The base64 characters that depend on `secret` alone when it starts `alignment` bytes after a multiple of 3.

    RFC 4648 section 4: each character carries 6 bits; those that also carry bits of a neighbour are left out.
    """
    first = -(-alignment * 8 // 6)
    after = (alignment + len(secret)) * 8 // 6
    return base64.b64encode(bytes(alignment) + secret)[first:after]
