"""Whatever the bytes are, the Keystone parser gives a report that round-trips or a ParseError; signatures hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.forge.keystone import KeystoneForge

from cloister._ed25519_sha3 import public_key_of, sign, verify
from cloister.errors import ParseError, SignatureInvalid
from cloister.evidence.keystone import looks_like, parse

SEEDS = st.binary(min_size=32, max_size=32)


def check(data: bytes) -> None:
    recognised = looks_like(data)
    try:
        report = parse(data)
    except ParseError:
        assert not recognised
        return
    assert recognised
    assert report.serialize() == data
    assert len(report.enclave.signed_data) == report.enclave.data_len


@given(st.binary(max_size=1400) | st.binary(min_size=1352, max_size=1352))
def test_any_bytes(data: bytes) -> None:
    check(data)


@given(st.binary(max_size=1024), st.data())
def test_any_data_in_a_report(content: bytes, data: st.DataObject) -> None:
    whole = KeystoneForge().report(content)
    assert parse(whole).enclave.signed_data == content
    check(whole)
    check(whole[: data.draw(st.integers(0, len(whole)))])


@given(SEEDS, st.binary(max_size=64))
def test_what_is_signed_verifies(seed: bytes, message: bytes) -> None:
    verify(public_key_of(seed), sign(seed, message), message, what="it")


@given(SEEDS, st.binary(max_size=16), st.integers(0, 8 * 96 - 1))
def test_a_flipped_bit_in_key_or_signature_does_not_verify(seed: bytes, message: bytes, bit: int) -> None:
    whole = int.from_bytes(public_key_of(seed) + sign(seed, message)) ^ 1 << bit
    flipped = whole.to_bytes(96)
    with pytest.raises(SignatureInvalid):
        verify(flipped[:32], flipped[32:], message, what="it")


@given(st.binary(max_size=40), st.binary(max_size=72), st.binary(max_size=8))
def test_any_bytes_as_key_and_signature(key: bytes, signature: bytes, message: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        verify(key, signature, message, what="it")
