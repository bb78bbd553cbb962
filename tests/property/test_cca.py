"""Whatever the bytes are, the CCA parser gives a token that round-trips or a ParseError."""

from typing import Any

import cbor2
from hypothesis import given
from hypothesis import strategies as st
from tests.forge.arm import GONE, ArmForge

from cloister.errors import ParseError
from cloister.evidence.cca import looks_like, parse

FORGE = ArmForge()
TOKENS = [
    FORGE.token(),
    FORGE.token(collection=399, legacy=True),
    FORGE.token(embedded=True),
    FORGE.token(collection=399, embedded=True, legacy=True),
]
NUMBERS = [10, 256, 265, 2395, 2396, 2399, 2400, 2401, 2402, 44235, 44236, 44237, 44238, 44239, 44240, 44243, 7]
VALUES = st.sampled_from([GONE, None, True, -1, 0, 0x3000, "", "sha-512", [], [b""] * 4, {}]) | st.binary(max_size=64)


def check(data: bytes) -> None:
    looks_like(data)
    try:
        token = parse(data)
    except ParseError:
        return
    assert token.serialize() == data


@given(st.binary(max_size=256))
def test_any_bytes(data: bytes) -> None:
    check(data)
    check(TOKENS[0][:4] + data)


@given(st.sampled_from(TOKENS), st.data())
def test_truncated_tokens(token: bytes, data: st.DataObject) -> None:
    check(token[: data.draw(st.integers(0, len(token) - 1))])


@given(st.sampled_from(TOKENS), st.data())
def test_altered_tokens(token: bytes, data: st.DataObject) -> None:
    altered = bytearray(token)
    for _ in range(data.draw(st.integers(1, 4))):
        altered[data.draw(st.integers(0, len(token) - 1))] = data.draw(st.integers(0, 255))
    check(bytes(altered))


@given(st.dictionaries(st.sampled_from(NUMBERS), VALUES, max_size=3), st.sampled_from([True, False]))
def test_claims_of_any_kind(changes: dict[int, Any], platform: bool) -> None:  # noqa: FBT001
    kept = {number: value for number, value in changes.items() if value is not GONE}
    said = FORGE.realm_claims() if not platform else FORGE.platform_claims(FORGE.realm_claims())
    claims = {number: value for number, value in said.items() if number not in changes} | kept
    outer = cbor2.loads(TOKENS[0]).value
    label = 44234 if platform else 44241
    inner = cbor2.loads(outer[label][1])
    parts = [*inner.value[:2], cbor2.dumps(claims), inner.value[3]]
    members = dict(outer) | {label: [263, cbor2.dumps(cbor2.CBORTag(18, parts))]}
    check(cbor2.dumps(cbor2.CBORTag(907, members)))
