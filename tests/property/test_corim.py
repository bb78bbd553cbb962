"""Whatever the bytes: a CoRIM is read or refused, with the errors that are promised and no others."""

import contextlib
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from tests.forge.corim import manifest, measured

from cloister import _cbor
from cloister._cbor import Tag
from cloister.appraise.corim import parse
from cloister.appraise.corim_values import read_corim
from cloister.appraise.reference import read_reference_values
from cloister.errors import EndorsementUnavailable, ParseError, PolicyError

AT = datetime(2025, 6, 1, tzinfo=UTC)
GOOD = manifest([measured("m", digests=[[1, bytes(32)]], svn=Tag(553, 1)), measured(None, raw=b"ab", mask=b"ab")])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 64), (1 << 64) - 1) | st.binary(max_size=40) | st.text(max_size=6),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.integers(-2, 15) | st.text(max_size=3), inner, max_size=5),
        st.builds(Tag, st.sampled_from([1, 18, 32, 37, 111, 501, 505, 506, 552, 553, 560, 563]), inner),
    ),
    max_leaves=12,
)


def read(data: bytes) -> None:
    with contextlib.suppress(ParseError):
        parse(data)
    try:
        found = read_corim(data, name="x", keys=(), at=AT, unsafe_unsigned=True)
    except (PolicyError, EndorsementUnavailable):
        return
    assert len(found)


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    read(data)
    read(b"\xd9\x01\xf5" + data)
    read(b"\xd2\x84" + data)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255), st.integers(0, len(GOOD)))
def test_mutations_and_truncations(place: int, change: int, end: int) -> None:
    read(GOOD[:place] + bytes([GOOD[place] ^ change]) + GOOD[place + 1 :])
    read(GOOD[:end])


@given(values, values, values)
def test_any_values_in_any_place(one: object, two: object, three: object) -> None:
    read(manifest([measured(one, extra={2: two, 4: three, 14: one})]))
    read(manifest([measured("m", extra={1: one, 4: two, 5: three})], environment=one, profile=two))
    read(manifest([one, two], environment=three))
    read(manifest([], k1=one, k4=two, k0=three))
    read(_cbor.dumps(Tag(501, one)))


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_any_text_as_json(data: bytes | str) -> None:
    with contextlib.suppress(PolicyError):
        read_reference_values(data, name="x")
