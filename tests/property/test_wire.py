"""Laws of fixed-layout records: exact length, constants, reserved zeros, and the same bytes back."""

import contextlib
import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister._wire import Reader, Record, nested, raw, reserved, u8, u16, u32, u64
from cloister.errors import ParseError


class Inner(Record, size=6):
    kind: int = u16(equals=7)
    value: int = u32()


class Outer(Record, size=32, byte_order=">"):
    version: int = u8(equals=3)
    flags: int = u8()
    length: int = u64()
    reserved_10: bytes = reserved(4)
    inner: Inner = nested(Inner)
    name: bytes = raw(12)


class Longer(Outer, size=34):
    extra: int = u16()


@st.composite
def outers(draw: st.DrawFn) -> Outer:
    return Outer(
        flags=draw(st.integers(0, 255)),
        version=3,
        length=draw(st.integers(0, 2**64 - 1)),
        inner=Inner(kind=7, value=draw(st.integers(0, 2**32 - 1))),
        name=draw(st.binary(min_size=12, max_size=12)),
    )


@given(outers())
def test_serialize_then_parse(outer: Outer) -> None:
    data = outer.serialize()
    assert len(data) == Outer.SIZE
    again = Outer.parse(data)
    assert again == outer
    assert hash(again) == hash(outer)


@given(st.binary(min_size=32, max_size=32))
def test_parse_then_serialize(data: bytes) -> None:
    with contextlib.suppress(ParseError):
        assert Outer.parse(data).serialize() == data


@given(outers(), st.integers(0, 31), st.integers(1, 255))
def test_every_byte_means_something(outer: Outer, position: int, change: int) -> None:
    """A changed byte is refused or gives another record: nothing is ignored."""
    data = bytearray(outer.serialize())
    data[position] ^= change
    try:
        assert Outer.parse(bytes(data)) != outer
    except ParseError:
        assert position in {0, *range(10, 14), 14, 15}


@given(st.integers(0, 80).filter(lambda size: size != 32))
def test_another_length_is_refused(size: int) -> None:
    with pytest.raises(ParseError, match="exactly 32"):
        Outer.parse(bytes(size))


def test_errors_say_where() -> None:
    good = Outer(version=3, flags=0, length=0, inner=Inner(kind=7, value=0), name=bytes(12)).serialize()
    cases = {0: ("Outer", "version"), 11: ("Outer", "reserved_10"), 14: ("Inner", "kind")}
    for position, (record, field) in cases.items():
        spoilt = good[:position] + b"\x99" + good[position + 1 :]
        with pytest.raises(ParseError) as caught:
            Outer.parse(spoilt, base=1000)
        assert (caught.value.record, caught.value.field) == (record, field)
        assert caught.value.offset in {1000 + position, 1010}


def test_a_record_cannot_be_changed() -> None:
    inner = Inner(kind=7, value=1)
    with pytest.raises(AttributeError, match="immutable"):
        inner.value = 2  # type: ignore[misc]


def test_a_wrong_declaration_is_seen_at_once() -> None:
    with pytest.raises(TypeError, match="declared with 5 bytes, its fields have 4"):

        class Wrong(Record, size=5):
            value: int = u32()


def test_missing_and_unknown_fields() -> None:
    with pytest.raises(TypeError, match="value"):
        Inner(kind=7)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="colour"):
        Inner(kind=7, value=1, colour=2)  # type: ignore[call-arg]


class Remembers(Record, size=2):
    value: int = u16()

    @functools.cached_property
    def twice(self) -> int:
        return 2 * self.value


def test_a_cached_property_is_no_field() -> None:
    one, other = Remembers(value=3), Remembers(value=3)
    assert one.twice == 6
    assert (one, hash(one), repr(one), one.serialize()) == (other, hash(other), repr(other), other.serialize())
    assert one.fields() == [("value", 3)]


def test_a_record_can_grow() -> None:
    outer = Outer(version=3, flags=1, length=2, inner=Inner(kind=7, value=3), name=bytes(12))
    longer = Longer.parse(outer.serialize() + b"\0\x09")
    assert (longer.flags, longer.extra) == (1, 9)
    assert longer != outer


@given(st.binary(max_size=40), st.lists(st.integers(0, 20), max_size=6))
def test_a_reader_takes_all_or_refuses(data: bytes, sizes: list[int]) -> None:
    reader, taken = Reader(data, "thing", base=5), b""
    try:
        for size in sizes:
            taken += reader.take(size, "part")
    except ParseError as error:
        assert error.offset == 5 + len(taken)  # noqa: PT017 - what was taken before is the point
        assert len(taken) + max(sizes) > len(data)
    assert data.startswith(taken)
    assert reader.left == len(data) - len(taken)


def test_a_reader_refuses_what_is_left_over_and_negative_sizes() -> None:
    reader = Reader(b"abc", "thing")
    with pytest.raises(ParseError, match="3 bytes too many"):
        reader.finish()
    with pytest.raises(ParseError, match="needs -1 bytes"):
        reader.take(-1, "part")
    assert (reader.u16("number"), reader.rest()) == (0x6261, b"c")
    reader.finish()
