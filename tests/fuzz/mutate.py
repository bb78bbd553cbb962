"""Changes that keep a document a document: one value of JSON or CBOR for another, also deep inside text and bytes.

A fuzzer that changes bytes seldom gets past a reader of JSON. Here one value in the tree is replaced, wrapped, taken
out or put in twice; what is itself encoded (base64, base64url, hexadecimal, JSON or CBOR in a string, the parts of a
JWT) may be opened first, and is closed again.
"""

import base64
import binascii
import json
import random
from collections.abc import Callable, Iterator
from typing import Any, Final

import cbor2

__all__ = ["mutated"]

SCALARS: Final[tuple[Any, ...]] = (
    None, True, False, 0, 1, -1, 255, 256, 1 << 32, 1 << 63, (1 << 64) - 1, -(1 << 64), 1.5, "", "a", "\ud800", "\0",
    "é", "0" * 64, "2026-01-01T00:00:00Z", [], {}, [[]], {"": []}, [0] * 16,
)  # fmt: skip
BINARY: Final[tuple[Any, ...]] = (b"", bytes(32), cbor2.CBORTag(18, []), cbor2.CBORTag(1, 0), {0: 0}, {b"": 1})
MOST_VALUES: Final = 500
"""Values of the document itself that may take the place of another."""
DEEPEST: Final = 24
LAYERS: Final = 4
"""Encodings inside each other that are opened."""
BROKEN: Final = (ValueError, TypeError, OverflowError, RecursionError, cbor2.CBORError)


def mutated(data: bytes, chance: random.Random, layers: int = LAYERS) -> bytes | None:
    """The document with one value changed; None if it is neither JSON nor CBOR nor a JWT, or cannot be written."""
    if data[:2] == b"ey" and data.count(b".") == 2:
        return token(data, chance, layers)
    if data.lstrip()[:1] in {b"{", b"["}:
        load, dump, others = JSON
    elif data[:1] >= b"\x80":
        load, dump, others = CBOR
    else:
        return None
    try:
        value = load(data)
        return dump(changed(value, chance, others + tuple(values_in(value)), layers))
    except BROKEN:
        return None


def to_json(value: Any) -> bytes:
    """JSON in ASCII, which can spell half a surrogate pair."""
    return json.dumps(value, separators=(",", ":"), default=str).encode()


JSON: Final[tuple[Callable[[bytes], Any], Callable[[Any], bytes], tuple[Any, ...]]] = (json.loads, to_json, SCALARS)
CBOR: Final[tuple[Callable[[bytes], Any], Callable[[Any], bytes], tuple[Any, ...]]] = (
    cbor2.loads, cbor2.dumps, SCALARS + BINARY,
)  # fmt: skip


def values_in(value: Any) -> Iterator[Any]:
    """The value and those inside it, as far as there is room."""
    left = [value]
    for _ in range(MOST_VALUES):
        if not left:
            return
        one = left.pop()
        yield one
        left.extend(child for _, child in children(one)[:16])


def children(value: Any) -> list[tuple[Any, Any]]:
    """The values in a container, each with its key."""
    if isinstance(value, dict):
        return [*value.items()]
    if isinstance(value, list | tuple):
        return [*enumerate(value)]
    return [(None, value.value)] if isinstance(value, cbor2.CBORTag) else []


def changed(value: Any, chance: random.Random, pool: tuple[Any, ...], layers: int, depth: int = 0) -> Any:
    """The value with one change in it or in one of those inside it."""
    inside = children(value)
    if inside and depth < DEEPEST and chance.random() < 0.85:
        key, child = chance.choice(inside)
        return with_child(value, key, changed(child, chance, pool, layers, depth + 1))
    if layers and isinstance(value, str | bytes) and chance.random() < 0.8:
        opened = reopened(value, chance, layers - 1)
        if opened is not None:
            return opened
    return replaced(value, inside, chance, pool)


def with_child(value: Any, key: Any, child: Any) -> Any:
    """The container with another value in one place."""
    if isinstance(value, cbor2.CBORTag):
        return cbor2.CBORTag(value.tag, child)
    if isinstance(value, dict):
        return value | {key: child}
    return [*value[:key], child, *value[key + 1 :]]


def replaced(value: Any, inside: list[tuple[Any, Any]], chance: random.Random, pool: tuple[Any, ...]) -> Any:
    """Something in the value's place."""
    choice = chance.randrange(8)
    if choice < 2:
        return [value] if choice else {"a": value}
    if choice < 5 and inside and not isinstance(value, cbor2.CBORTag):
        return resized(value, chance.choice(inside)[0], chance.choice(pool))
    if choice < 5 and isinstance(value, int):
        return value + chance.choice((-1, 1))
    return chance.choice(pool)


def resized(value: Any, key: Any, other: Any) -> Any:
    """A container without one of its values, or with another one more."""
    if isinstance(value, dict):
        return {one: child for one, child in value.items() if one != key} if other else value | {"cloister": other}
    return [*value[:key], *value[key + 1 :]] if other else [*value, value[key]]


def reopened(value: str | bytes, chance: random.Random, layers: int) -> Any:
    """Text or bytes with a change to the document that they encode; None if they encode none."""
    if isinstance(value, bytes):
        return mutated(value, chance, layers)
    try:
        data = value.encode("ascii")
    except UnicodeEncodeError:
        return None
    for decode, encode in ENCODINGS:
        try:
            made = mutated(decode(data), chance, layers)
        except (ValueError, binascii.Error):
            continue
        if made is not None:
            return encode(made).decode("utf-8", "replace")
    return None


def token(data: bytes, chance: random.Random, layers: int) -> bytes | None:
    """A JWT with a change to its header or payload."""
    parts = data.split(b".")
    at = chance.randrange(2)
    try:
        made = mutated(from_base64url(parts[at]), chance, layers)
    except ValueError:
        return None
    if made is None:
        return None
    parts[at] = to_base64url(made)
    return b".".join(parts)


def from_base64url(data: bytes) -> bytes:
    """Bytes from base64url without padding."""
    return base64.b64decode(data + b"=" * (-len(data) % 4), altchars=b"-_", validate=True)


def to_base64url(data: bytes) -> bytes:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def unchanged(data: bytes) -> bytes:
    """Text that is a document as it stands."""
    return data


def from_base64(data: bytes) -> bytes:
    """Bytes from base64."""
    return base64.b64decode(data, validate=True)


ENCODINGS: Final[tuple[tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]], ...]] = (
    (unchanged, unchanged), (binascii.unhexlify, binascii.hexlify), (from_base64, base64.b64encode),
    (from_base64url, to_base64url),
)  # fmt: skip
"""How a document may stand in a string."""
