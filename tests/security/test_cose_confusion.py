"""Attacks on signed messages: one key or algorithm taken for another, signatures of odd lengths."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from tests.forge.cose import PrivateKey, sign1

from cloister import _cbor
from cloister._cose_crypto import verify_sign1
from cloister.errors import SignatureInvalid

KEYS: dict[str, tuple[int, PrivateKey]] = {
    "ES256": (-7, ec.generate_private_key(ec.SECP256R1())),
    "ES384": (-35, ec.generate_private_key(ec.SECP384R1())),
    "ES512": (-36, ec.generate_private_key(ec.SECP521R1())),
    "PS256": (-37, rsa.generate_private_key(65537, 2048)),
    "EdDSA": (-8, ed25519.Ed25519PrivateKey.generate()),
}


@pytest.mark.parametrize("claimed", KEYS)
@pytest.mark.parametrize("real", KEYS)
def test_a_signature_passes_for_no_other_algorithm(real: str, claimed: str) -> None:
    if real == claimed:
        return
    message = sign1(KEYS[real][1], b"payload", algorithm=KEYS[real][0])
    renamed = replace(message, protected=_cbor.dumps({1: KEYS[claimed][0]}))
    for key in (KEYS[real][1], KEYS[claimed][1]):
        with pytest.raises(SignatureInvalid):
            verify_sign1(renamed, key.public_key(), what="it")


@pytest.mark.parametrize("claimed", KEYS)
@pytest.mark.parametrize("real", KEYS)
def test_a_key_of_another_kind_verifies_nothing(real: str, claimed: str) -> None:
    if real == claimed:
        return
    message = sign1(KEYS[claimed][1], b"payload", algorithm=KEYS[claimed][0])
    with pytest.raises(SignatureInvalid):
        verify_sign1(message, KEYS[real][1].public_key(), what="it")


@pytest.mark.parametrize("size", [0, 1, 63, 65, 66, 96, 128, 132])
def test_a_signature_of_another_length_is_refused(size: int) -> None:
    """Longer ones too: zeros before r and s would be a second signature for the same message."""
    key = KEYS["ES256"][1]
    message = sign1(key, b"payload")
    r, s = (bytes(66) + half for half in (message.signature[:32], message.signature[32:]))
    other = r[98 - size // 2 :] + s[98 - (size - size // 2) :]
    assert len(other) == size
    with pytest.raises(SignatureInvalid):
        verify_sign1(replace(message, signature=other), key.public_key(), what="it")


@pytest.mark.parametrize(
    "signature", [bytes(64), b"\0" * 32 + b"\1" * 32, b"\xff" * 64], ids=["zeros", "r = 0", "ones"]
)
def test_signatures_that_are_never_right(signature: bytes) -> None:
    key = KEYS["ES256"][1]
    with pytest.raises(SignatureInvalid):
        verify_sign1(replace(sign1(key, b"payload"), signature=signature), key.public_key(), what="it")


def test_every_flipped_bit_of_the_payload_is_noticed() -> None:
    key = KEYS["EdDSA"][1]
    message = sign1(key, b"a payload")
    for bit in range(8 * len(message.payload)):
        flipped = (int.from_bytes(message.payload) ^ 1 << bit).to_bytes(len(message.payload))
        with pytest.raises(SignatureInvalid):
            verify_sign1(replace(message, payload=flipped), key.public_key(), what="it")
