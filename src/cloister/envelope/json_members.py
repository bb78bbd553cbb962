"""Members of JSON objects that hold bytes, in the notations that attestation agents use."""

from collections.abc import Mapping
from typing import Final

from cloister.envelope import encoding
from cloister.errors import ParseError

__all__ = ["has", "ignored", "octets", "optional"]

LONGEST: Final = 4 << 20
"""Numbers in a list of bytes."""


def has(value: object, *keys: str) -> bool:
    """Whether it is an object with all these members."""
    return isinstance(value, Mapping) and all(key in value for key in keys)


def octets(value: object, record: str, key: str, *, pem: bool = False) -> bytes:
    """Bytes written as base64, base64url or hexadecimal text, or as a list of numbers; with `pem`, also PEM text."""
    if isinstance(value, str):
        if pem and value.lstrip().startswith("-----BEGIN "):
            return value.encode("utf-8", "surrogatepass")
        return encoding.octets(value, record, key)
    if not isinstance(value, list) or len(value) > LONGEST:
        raise ParseError(record, key, 0, "is neither text nor a list of bytes")
    if not all(type(one) is int for one in value):
        raise ParseError(record, key, 0, "is a list with something else than numbers in it")
    try:
        return bytes(value)
    except (ValueError, OverflowError) as error:
        raise ParseError(record, key, 0, "is a list with a number that is no byte in it") from error


def optional(value: object, record: str, key: str, *, pem: bool = False) -> bytes:
    """Bytes under `key` of an object, empty if it is absent, null or empty."""
    found = value.get(key) if isinstance(value, Mapping) else None
    return octets(found, record, key, pem=pem) if found else b""


def ignored(value: object, record: str, *known: str) -> tuple[str, ...]:
    """A note for every member that is not among `known`, so that nothing is ignored silently."""
    names = sorted(str(key) for key in value if key not in known) if isinstance(value, Mapping) else []
    return tuple(f"{record}: member {name[:64]!r} is not used" for name in names[:16])
