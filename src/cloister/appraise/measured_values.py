"""The measurement-values-map of a CoMID (draft-ietf-rats-corim-11, section 5.1.4.1.4), as comparisons of claims."""

from collections.abc import Iterator, Mapping
from typing import Final

from cloister._cbor import Tag
from cloister.appraise.rules import Operator
from cloister.errors import ParseError

__all__ = ["Wanted", "compared", "described", "digests", "raw_value"]

Wanted = tuple[str, Operator, object]
"""What to add to the element's name (or `=` and a name of its own), how to compare, and with what."""

VERSION, SVN, DIGESTS, RAW, RAW_MASK, NAME, REGISTERS = 0, 1, 2, 4, 5, 11, 14
UNDERSTOOD: Final = frozenset({VERSION, SVN, DIGESTS, RAW, RAW_MASK, NAME, REGISTERS})
SVN_EXACT, SVN_LEAST, BYTES, MASKED = 552, 553, 560, 563
SIZES: Final[Mapping[object, int]] = {
    1: 32, 7: 48, 8: 64, 10: 32, 11: 48, 12: 64, "sha-256": 32, "sha-384": 48, "sha-512": 64,
    "sha3-256": 32, "sha3-384": 48, "sha3-512": 64,
}  # fmt: skip
"""Bytes of a digest, by the number or name of its algorithm in IANA's Named Information registry. Truncated ones
(sha-256-128 and the like) are not taken: what is easier to collide is no reference."""


def compared(values: Mapping[object, object]) -> Iterator[Wanted]:
    """Every comparison that the values ask for, none if they only describe; ParseError for what has no meaning here."""
    unknown = [key for key in values if key not in UNDERSTOOD]
    if unknown:
        raise _refusal("measurement-values", f"hold {unknown[0]!r}, which no claim here can be compared with")
    if SVN in values:
        yield _svn(values[SVN])
    for digest in digests(values[DIGESTS]) if DIGESTS in values else ():
        yield "", Operator.EQUAL, digest
    if RAW in values:
        yield "", *raw_value(values)
    registers = values.get(REGISTERS, {})
    if not isinstance(registers, Mapping):
        raise _refusal("integrity-registers", "are not a map")
    for register, held in registers.items():
        for digest in digests(held):
            yield f"={register}" if isinstance(register, str) else f".{register}", Operator.EQUAL, digest


def described(values: Mapping[object, object]) -> str:
    """The name and version that the values give the element, for people."""
    version = values.get(VERSION)
    parts = (values.get(NAME), version.get(0) if isinstance(version, Mapping) else None)
    return " ".join(part for part in parts if isinstance(part, str))


def _svn(value: object) -> Wanted:
    least = isinstance(value, Tag) and value.tag == SVN_LEAST
    number = value.value if isinstance(value, Tag) and value.tag in {SVN_EXACT, SVN_LEAST} else value
    if type(number) is not int or number < 0:
        raise _refusal("svn", "is not a number, exact (tag 552) or least (tag 553)")
    return ".svn", Operator.MINIMUM if least else Operator.EQUAL, number


def digests(value: object) -> Iterator[str]:
    """The digests in hexadecimal; each algorithm at most once, each value of its length."""
    entries = value if isinstance(value, list) else []
    seen: set[object] = set()
    if not entries:
        raise _refusal("digests", "are missing, or not an array")
    for entry in entries:
        algorithm, digest = entry if isinstance(entry, list) and len(entry) == 2 else (None, None)
        if not isinstance(algorithm, str | int) or not isinstance(digest, bytes) or SIZES.get(algorithm) != len(digest):
            raise _refusal("digests", f"hold one of algorithm {algorithm!r} that is unknown or of the wrong length")
        if algorithm in seen:
            raise _refusal("digests", f"hold algorithm {algorithm!r} twice")
        seen.add(algorithm)
        yield digest.hex()


def raw_value(values: Mapping[object, object]) -> tuple[Operator, object]:
    """The raw value, whole or under its mask."""
    value, mask = values[RAW], values.get(RAW_MASK)
    if isinstance(value, Tag) and value.tag == MASKED and isinstance(value.value, list) and len(value.value) == 2:
        value, mask = value.value
    elif isinstance(value, Tag) and value.tag == BYTES:
        value = value.value
    if not isinstance(value, bytes) or not isinstance(mask, bytes | None):
        raise _refusal("raw-value", "is not a byte string (tag 560), or one with a mask (tag 563)")
    if mask is None:
        return Operator.EQUAL, value.hex()
    if len(mask) != len(value) or not any(mask):
        raise _refusal("raw-value", "has a mask of another length, or one that lets everything through")
    bits = bytes(one & other for one, other in zip(value, mask, strict=True))
    return Operator.MASKED_EQUAL, (mask.hex(), bits.hex())


def _refusal(field: str, reason: str) -> ParseError:
    return ParseError("CoMID", field, 0, reason)
