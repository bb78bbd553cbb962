"""TPM statements, signatures, keys, containers: any bytes give ParseError, or a value that comes out as it went in."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.forge.tpm import TpmForge, attest, extended, sized
from tests.unit.test_tpm_evidence import google

from cloister.errors import ParseError
from cloister.evidence import tpm, tpm_protobuf
from cloister.evidence.tpm_attest import Attest, PcrSelection, parse_attest, parse_signature
from cloister.evidence.tpm_key import parse_key

RSA, ECC = TpmForge(), TpmForge("ecdsa")
MESSAGE = attest({"sha256": extended(), "sha1": extended(bank="sha1")})
QUOTE = RSA.quote()
SEEDS = [
    MESSAGE, RSA.sign(MESSAGE), ECC.sign(MESSAGE), bytes(256), RSA.spki, RSA.public_area(), ECC.public_area(),
    sized(ECC.public_area()), QUOTE.serialize(), ECC.quote(key=ECC.public_area(), log=b"").serialize(), b"",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A genuine piece with some bytes changed, taken out or put in, or cut off."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        taken = draw(st.integers(0, 4))
        data[at : at + taken] = draw(st.binary(max_size=4))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


ANY = st.one_of(st.binary(max_size=400), mutated(SEEDS))
READERS: dict[str, Callable[[bytes], Any]] = {
    "statement": parse_attest,
    "signature": parse_signature,
    "key": parse_key,
    "JSON": tpm.parse,
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@given(data=ANY)
def test_any_bytes_are_read_or_refused(read: Callable[[bytes], Any], data: bytes) -> None:
    try:
        value = read(data)
    except ParseError:
        return
    written = value.serialize()
    assert read(written) == value
    if read in {parse_attest, parse_signature}:
        assert written == data


@given(data=st.one_of(st.binary(max_size=400), mutated([google(), google()[282:]])))
def test_any_bytes_are_a_google_message_or_refused(data: bytes) -> None:
    with contextlib.suppress(ParseError):
        assert tpm_protobuf.parse(data).quotes


@given(data=ANY)
def test_recognition_never_raises(data: bytes) -> None:
    assert {tpm.looks_like(data), tpm_protobuf.looks_like(data)} <= {True, False}


NUMBERS = {"clock": 64, "reset_count": 32, "restart_count": 32, "safe": 1, "firmware_version": 64}
SELECTIONS = st.lists(
    st.builds(PcrSelection, st.integers(0, 0xFFFF), st.binary(max_size=4)),
    max_size=16,
    unique_by=lambda one: one.algorithm,
)


@given(
    signer=st.binary(max_size=66),
    nonce=st.binary(max_size=66),
    numbers=st.fixed_dictionaries({name: st.integers(0, (1 << bits) - 1) for name, bits in NUMBERS.items()}),
    selections=SELECTIONS,
    digest=st.binary(max_size=64),
)
def test_any_statement_that_can_be_made_is_read(
    signer: bytes, nonce: bytes, numbers: dict[str, int], selections: list[PcrSelection], digest: bytes
) -> None:
    made = Attest(qualified_signer=signer, extra_data=nonce, selections=tuple(selections), pcr_digest=digest, **numbers)
    assert parse_attest(made.serialize()) == made
    assert made.signed == made.serialize()
