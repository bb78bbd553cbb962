"""Whatever the bytes are, the CBOR reader gives a value or a ParseError; what it wrote it reads again."""

from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister._cbor import Tag, dumps, loads
from cloister._cose import CoseSign1
from cloister.errors import ParseError

KEYS = st.integers(-(1 << 64), (1 << 64) - 1) | st.text(max_size=8) | st.binary(max_size=8)
LEAVES = KEYS | st.booleans() | st.none()


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists, maps = st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)
    return lists | maps | st.builds(Tag, st.integers(0, (1 << 64) - 1), inner)


VALUES = st.recursive(LEAVES, containers, max_leaves=12)
HEADS = st.sampled_from([0x9F, 0xBF, 0xFF, 0x1C, 0xC2, 0xD8, 0x5B, 0x9B, 0xBB, 0xF9, 0xFB, 0x81, 0xA1])
HEADERS = st.dictionaries(st.integers(2, 99), LEAVES, max_size=3)


@given(VALUES)
def test_what_is_written_is_read_again(value: object) -> None:
    read = loads(dumps(value), "Thing")
    assert read == value
    assert dumps(read) == dumps(value)


@given(st.binary(max_size=64) | st.lists(HEADS | st.integers(0, 255), max_size=64).map(bytes))
def test_any_bytes_are_a_value_or_a_parse_error(data: bytes) -> None:
    assert 0 <= offset_of_error(data) <= len(data)


def offset_of_error(data: bytes) -> int:
    try:
        loads(data, "Thing")
    except ParseError as error:
        return error.offset
    return 0


@given(VALUES, st.binary(min_size=1, max_size=4))
def test_nothing_may_follow(value: object, rest: bytes) -> None:
    with pytest.raises(ParseError, match="bytes too many"):
        loads(dumps(value) + rest, "Thing")


@given(VALUES, st.data())
def test_nothing_may_be_cut_off(value: object, data: st.DataObject) -> None:
    whole = dumps(value)
    with pytest.raises(ParseError):
        loads(whole[: data.draw(st.integers(0, len(whole) - 1))], "Thing")


@given(st.binary(max_size=96) | VALUES.map(cbor2.dumps))
def test_any_bytes_are_a_message_or_a_parse_error(data: bytes) -> None:
    try:
        message = CoseSign1.parse(data)
    except ParseError:
        return
    assert message.serialize() == data


@given(payload=st.binary(max_size=32), unprotected=HEADERS, signature=st.binary(max_size=99), tagged=st.booleans())
def test_messages_are_written_as_they_were_read(
    *, payload: bytes, unprotected: dict[int | str, object], signature: bytes, tagged: bool
) -> None:
    parts = [dumps({1: -7}), unprotected, payload, signature]
    data = cbor2.dumps(Tag(18, parts) if tagged else parts)
    message = CoseSign1.parse(data)
    assert message.serialize() == data
    assert message.payload == payload
    assert message.signature == signature
