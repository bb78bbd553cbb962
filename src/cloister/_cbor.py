"""CBOR (RFC 8949), read strictly: bounded, definite lengths, no key twice, nothing behind the value, tags left as tags.

`cbor2` decodes; what it would do beyond RFC 8949's data model (dates, bignums, shared references, sets, regular
expressions, MIME messages) is switched off: any tag comes out as `Tag(number, value)`, so a parser says which it takes.
Written CBOR is deterministic (section 4.2.1): equal values have equal bytes.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NoReturn

import cbor2

from cloister.errors import ParseError

__all__ = ["Tag", "dumps", "dumps_as_ordered", "loads", "member", "octets", "text", "whole"]

Tag = cbor2.CBORTag
"""A tagged value: `tag` is its number, `value` what it tags."""

LONGEST: Final = 16_384
"""Bytes, unless the caller expects more. Tokens have 1 to 3 kB. A map whose keys are chosen to collide in a hash table
costs time that grows with the square of its size: at this length that is ten to thirty milliseconds."""
DEEPEST: Final = 32
"""Containers inside each other. Tokens need 6."""
WIDEST: Final = 1024
"""Pairs in one map of what is longer than `LONGEST`: with many small maps, colliding keys cost little."""
EXACT_KEYS: Final = frozenset({int, str, bytes})
SIZES: Final = {24: 1, 25: 2, 26: 4, 27: 8}
"""Bytes behind a head's first byte, by its low five bits (RFC 8949, section 3)."""


class _AllTags(Mapping[int, Callable[[object, bool], Tag]]):
    """For `cbor2`: what to do with a tag, whichever it is."""

    def __getitem__(self, number: int) -> Callable[[object, bool], Tag]:
        return lambda value, _immutable: Tag(number, value)

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 0


_ALL_TAGS: Final = _AllTags()


def loads(data: bytes, record: str, *, base: int = 0, longest: int = LONGEST) -> object:
    """The one value that `data` encodes; ParseError otherwise, whatever the bytes are.

    `record` names it in errors, `base` is where `data` stands in the whole input. Maps are dict (keys int, str, bytes),
    arrays list, strings str and bytes, tags `Tag`.
    """
    if len(data) > longest:
        raise ParseError(record, "length", base, f"{len(data)} bytes; at most {longest}")
    if len(data) > LONGEST and _widest(data) > WIDEST:
        raise ParseError(record, "cbor", base, f"a map has more than {WIDEST} pairs")
    source = io.BytesIO(data)
    decoder = cbor2.CBORDecoder(
        source, max_depth=DEEPEST, allow_indefinite=False, allow_duplicate_keys=False,
        semantic_decoders=_ALL_TAGS, object_hook=_plain_keys,
    )  # fmt: skip
    try:
        value: object = decoder.decode()
    except cbor2.CBORError as error:
        reason = f"{error}: {error.__cause__}" if error.__cause__ else str(error)
        raise ParseError(record, "cbor", base + _fault(data), reason) from error
    end = source.tell()
    if end != len(data):
        raise ParseError(record, "end", base + end, f"{len(data) - end} bytes too many")
    return value


def _plain_keys(made: Mapping[object, object], _immutable: bool) -> Mapping[object, object]:  # noqa: FBT001 - cbor2's
    if not EXACT_KEYS.issuperset(map(type, made)):
        raise ValueError("a map has a key that is neither a whole number nor a string")
    return made


def _fault(data: bytes) -> int:
    """Where `data` stops being CBOR of definite lengths; 0 if its structure holds and something else is wrong.

    For messages only: `cbor2` says what is wrong, but not where.
    """
    return _structure(data)[0]


def _widest(data: bytes) -> int:
    """How many pairs the largest map has, as its head says."""
    return _structure(data)[1]


def _structure(data: bytes) -> tuple[int, int]:
    """Where the structure breaks, 0 if nowhere; and the pairs of the largest map before that."""
    offset, wanted, widest = 0, 1, 0
    while wanted:
        if offset == len(data):
            return offset, widest
        major, low = data[offset] >> 5, data[offset] & 0x1F
        size = SIZES.get(low, 0)
        if low > 27 or offset + 1 + size > len(data):
            return offset, widest
        argument = int.from_bytes(data[offset + 1 : offset + 1 + size]) if size else low
        start, offset, wanted = offset, offset + 1 + size, wanted - 1
        if major in {2, 3}:
            if argument > len(data) - offset:
                return start, widest
            offset += argument
        elif major in {4, 5, 6}:
            widest = max(widest, argument) if major == 5 else widest
            wanted += {4: argument, 5: 2 * argument, 6: 1}[major]
    return 0, widest


def dumps(value: object) -> bytes:
    """The deterministic encoding (RFC 8949, section 4.2.1): shortest heads, map keys in the order of their bytes.

    Takes what `loads` gives, but no floating-point and no simple values other than true, false and null; TypeError or
    ValueError for anything else, which is the caller's mistake.
    """
    return cbor2.dumps(_ordered(value))


def dumps_as_ordered(value: object) -> bytes:
    """The shortest encoding that keeps maps in the order they have: for what was read and must come out the same."""
    return cbor2.dumps(value)


def _ordered(value: object) -> object:
    """The value with every map in order; `cbor2`'s own canonical mode sorts by length first, as RFC 7049 did."""
    if isinstance(value, Mapping):
        if not EXACT_KEYS.issuperset(map(type, value)):
            raise TypeError("a map's keys are whole numbers or strings")
        return {key: _ordered(value[key]) for key in sorted(value, key=cbor2.dumps)}
    if isinstance(value, list | tuple):
        return [_ordered(item) for item in value]
    if isinstance(value, Tag):
        return Tag(value.tag, _ordered(value.value))
    if isinstance(value, int) and not -(1 << 64) <= value < 1 << 64:
        raise ValueError("a whole number of more than 64 bits")
    if value is None or isinstance(value, int | str | bytes):
        return value
    raise TypeError(f"{type(value).__name__} is not written as CBOR here")


def member(value: object, key: int | str, record: str, name: str, *, base: int = 0) -> object:
    """What stands under `key` in a map that must have it; `name` is the key's name for people."""
    if not isinstance(value, Mapping):
        raise ParseError(record, name, base, "the value around it is not a map")
    if key not in value:
        raise ParseError(record, name, base, f"the claim {key!r} is missing")
    found: object = value[key]
    return found


def octets(value: object, record: str, name: str, *sizes: int, base: int = 0) -> bytes:
    """`value` as a byte string, of one of `sizes` if any are given."""
    if not isinstance(value, bytes):
        _refuse(record, name, base, "is not a byte string")
    if sizes and len(value) not in sizes:
        _refuse(record, name, base, f"has {len(value)} bytes; {' or '.join(map(str, sizes))} expected")
    return value


def text(value: object, record: str, name: str, *, base: int = 0) -> str:
    """`value` as a text string."""
    if not isinstance(value, str):
        _refuse(record, name, base, "is not a text string")
    return value


def whole(value: object, record: str, name: str, *, base: int = 0) -> int:
    """`value` as a whole number, not negative."""
    if type(value) is not int or value < 0:
        _refuse(record, name, base, "is not a whole number")
    return value


def _refuse(record: str, name: str, base: int, reason: str) -> NoReturn:
    raise ParseError(record, name, base, reason)
