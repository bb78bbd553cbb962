"""CBOR is read strictly, and written in one way only."""

from collections.abc import Callable

import cbor2
import pytest

from cloister import _cbor
from cloister._cbor import Tag, dumps, loads
from cloister.errors import ParseError

REFUSED = {
    "nothing at all": ("", 0, "premature end"),
    "a byte behind the value": ("0000", 1, "1 bytes too many"),
    "a second value behind the first": ("a0a0", 1, "1 bytes too many"),
    "the same key twice": ("a201000101", 0, "Duplicate map key"),
    "the same key twice, deep inside": ("818181a201000101", 0, "Duplicate map key"),
    "the same text key twice": ("a2616101616102", 0, "Duplicate map key"),
    "the same key in another length": ("a20100180101", 0, "Duplicate map key"),
    "an array of unknown length": ("9f01ff", 0, "indefinite"),
    "a map of unknown length": ("bf0101ff", 0, "indefinite"),
    "a byte string in pieces": ("5f41004100ff", 0, "indefinite"),
    "a text string in pieces": ("7f61616161ff", 0, "indefinite"),
    "an end without a beginning": ("ff", 0, "break"),
    "an array of 2^60 elements": ("9b1000000000000000", 9, "premature end"),
    "a map of 2^60 pairs": ("bb1000000000000000", 9, "premature end"),
    "a byte string of 2^60 bytes": ("5b1000000000000000", 0, "premature end"),
    "a text string of 2^64 - 1 bytes": ("7bffffffffffffffff", 0, "premature end"),
    "a cut head": ("1a0000", 0, "premature end"),
    "a cut string inside an array": ("8301024261", 3, "premature end"),
    "a reserved head": ("8201 1c", 2, "unknown"),
    "text that is not UTF-8": ("62c328", 0, "utf-8"),
    "an array as a key": ("a1810001", 0, "a key that is neither"),
    "a map as a key": ("a1a00001", 0, "a key that is neither"),
    "a tag as a key": ("a1c10001", 0, "a key that is neither"),
    "true as a key": ("a1f501", 0, "a key that is neither"),
    "not a number as a key": ("a1f97e0001", 0, "a key that is neither"),
    "33 arrays inside each other": ("81" * 33 + "00", 0, "nesting"),
    "33 tags inside each other": ("c1" * 33 + "00", 0, "nesting"),
}
"""Bytes in hexadecimal, where the error says it is, and what it says."""

TAGS = {
    "a date in text": ("c074323032302d30312d30315430303a30303a30305a", Tag(0, "2020-01-01T00:00:00Z")),
    "a time": ("c100", Tag(1, 0)),
    "a big number": ("c24101", Tag(2, b"\x01")),
    "a decimal": ("c482010203"[:8], Tag(4, [1, 2])),
    "a string reference": ("d81900", Tag(25, 0)),
    "something shareable": ("d81c80", Tag(28, [])),
    "a shared reference": ("d81d00", Tag(29, 0)),
    "a regular expression": ("d8236161", Tag(35, "a")),
    "a MIME message": ("d8246161", Tag(36, "a")),
    "a set": ("d9010281f6", Tag(258, [None])),
    "a name space of strings": ("d9010081f6", Tag(256, [None])),
    "self-described CBOR": ("d9d9f780", Tag(55799, [])),
    "a COSE message": ("d280", Tag(18, [])),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    text, offset, reason = REFUSED[name]
    with pytest.raises(ParseError, match=reason) as raised:
        loads(bytes.fromhex(text), "Thing", base=100)
    assert raised.value.record == "Thing"
    assert raised.value.offset == 100 + offset


@pytest.mark.parametrize("name", TAGS)
def test_tags_stay_tags(name: str) -> None:
    text, value = TAGS[name]
    assert loads(bytes.fromhex(text), "Thing") == value


def test_too_long_an_input_is_not_looked_at() -> None:
    with pytest.raises(ParseError, match="at most 16384"):
        loads(b"\x81" * 16_385, "Thing")
    assert loads(b"\x59\x80\x00" + bytes(32_768), "Thing", longest=40_000) == bytes(32_768)


def test_32_containers_inside_each_other_are_enough() -> None:
    value = loads(bytes.fromhex("81" * 32 + "00"), "Thing")
    for _ in range(32):
        assert isinstance(value, list)
        (value,) = value
    assert value == 0


def test_maps_are_ordered_by_the_bytes_of_their_keys() -> None:
    """RFC 8949, section 4.2.1, with its own example of keys; RFC 7049 sorted 100 behind -1."""
    assert dumps({-1: 0, "z": 0, 100: 0, "aa": 0, 10: 0}).hex() == "a50a001864002000617a0062616100"


def test_lengths_and_numbers_are_as_short_as_they_can_be() -> None:
    value = [23, 24, 255, 256, -(1 << 64), b"", (True, None)]
    assert dumps(value).hex() == "8717181818ff1901003bffffffffffffffff4082f5f6"


@pytest.mark.parametrize(
    ("value", "error"),
    [(1.5, TypeError), (object(), TypeError), ({(1,): 2}, TypeError), ({True: 2}, TypeError), (1 << 64, ValueError)],
    ids=["a fraction", "any object", "a tuple as a key", "true as a key", "a number of 65 bits"],
)
def test_what_is_never_written(value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        dumps(value)


def test_equal_values_have_equal_bytes() -> None:
    assert dumps({1: 2, 3: 4}) == dumps({3: 4, 1: 2}) != cbor2.dumps({3: 4, 1: 2})


def test_the_accessors_name_what_is_wrong() -> None:
    assert _cbor.member({1: 2}, 1, "Thing", "one") == 2
    broken: list[Callable[[], object]] = [
        lambda: _cbor.member({}, 1, "Thing", "one"),
        lambda: _cbor.member([], 1, "Thing", "one"),
        lambda: _cbor.octets("text", "Thing", "one"),
        lambda: _cbor.octets(b"123", "Thing", "one", 4, 5),
        lambda: _cbor.text(b"bytes", "Thing", "one"),
        lambda: _cbor.whole("1", "Thing", "one"),
        lambda: _cbor.whole(bool(1), "Thing", "one"),
        lambda: _cbor.whole(-1, "Thing", "one"),
    ]
    for one in broken:
        with pytest.raises(ParseError, match="Thing: one"):
            one()
    assert _cbor.octets(b"1234", "Thing", "one", 4, 5) == b"1234"
    assert _cbor.text("", "Thing", "one") == ""
    assert _cbor.whole(0, "Thing", "one") == 0
