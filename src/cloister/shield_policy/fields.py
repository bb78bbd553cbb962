"""Fields of a shield block: how each is written, and read strictly."""

from enum import IntEnum
from typing import Final, TypeVar

from cloister._wire import Reader

__all__ = ["KEY", "WRITER", "bytes_of", "flags_of", "kind_of", "list_of", "pins_of", "text", "text_of", "u32", "u64"]

KEY: Final = 32
"""Bytes of a key, of a digest, and of a pin, which is the SHA-256 of a SubjectPublicKeyInfo."""
WRITER: Final = 16
"""Bytes of what tells by whom a state of a volume is."""
Number = TypeVar("Number", bound=IntEnum)


def kind_of(reader: Reader, kinds: type[Number]) -> Number:
    """The next number, which must be one of these."""
    number = reader.u32("kind")
    try:
        return kinds(number)
    except ValueError:
        raise reader.error("kind", f"{number} is not understood") from None


def flags_of(reader: Reader, *known: int) -> list[bool]:
    """Which of the flags are set in the next number; others must not be."""
    found = reader.u32("flags")
    if found & ~sum(known):
        raise reader.error("flags", f"{found:#x} are not all understood")
    return [bool(found & one) for one in known]


def bytes_of(reader: Reader, field_name: str) -> bytes:
    """So many bytes as stand before them."""
    return reader.take(reader.u32(field_name), field_name)


def text_of(reader: Reader, field_name: str) -> str:
    """The same as text, without NUL."""
    data = bytes_of(reader, field_name)
    if b"\0" in data:
        raise reader.error(field_name, "contains a NUL")
    return data.decode("utf-8", "surrogateescape")


def list_of(reader: Reader) -> tuple[bytes, ...]:
    """Certificates, each with its length, all with theirs."""
    start = reader.base + reader.offset
    inside, found = Reader(bytes_of(reader, "certificates"), "shield block", base=start + 4), []
    while inside.left:
        found.append(bytes_of(inside, "certificate"))
    return tuple(found)


def pins_of(reader: Reader) -> tuple[bytes, ...]:
    """Digests, one behind the other."""
    data = bytes_of(reader, "pins")
    if len(data) % KEY:
        raise reader.error("pins", f"{len(data)} bytes are not so many times {KEY}")
    return tuple(data[at : at + KEY] for at in range(0, len(data), KEY))


def u32(number: int) -> bytes:
    """Four bytes."""
    return number.to_bytes(4, "little")


def u64(number: int) -> bytes:
    """Eight bytes."""
    return number.to_bytes(8, "little")


def text(value: str | bytes) -> bytes:
    """Its length, and its bytes."""
    data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    return u32(len(data)) + data
