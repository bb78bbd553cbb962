"""HPKE-4 against RFC 9180's own example, and against the crypto library, which receives what is sent here."""

import json
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey
from pyhpke.exceptions import OpenError
from tests.services.key_broker import X25519Key, octets, public_members

from cloister.broker import hpke
from cloister.broker.recipient import Recipient
from cloister.errors import ParseError
from cloister.result import _base64url

LOW_ORDER = [
    "00" * 32,
    "01" + "00" * 31,
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]
"""Every point of low order, and those spelled otherwise (https://cr.yp.to/ecdh.html#validate)."""


def test_the_example_of_the_rfc() -> None:
    """RFC 9180, appendix A.2.1, sequence number 0: this suite, base mode."""
    fresh = X25519PrivateKey.from_private_bytes(
        bytes.fromhex("f4ec9b33b792c372c1d2c2063507b684ef925b8c75a42dbcbf57d63ccd381600")
    )
    public = bytes.fromhex("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a")
    encapsulated, sealed = hpke._sealed_with(
        fresh, X25519PublicKey.from_public_bytes(public),
        bytes.fromhex("4265617574792069732074727574682c20747275746820626561757479"),
        additional=bytes.fromhex("436f756e742d30"), info=bytes.fromhex("4f6465206f6e2061204772656369616e2055726e"),
    )  # fmt: skip
    assert encapsulated.hex() == "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a"
    assert sealed.hex() == (
        "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28"
    )


@pytest.mark.parametrize("secret", [b"", b"x", bytes(range(256)), b"long" * 100_000])
def test_another_implementation_opens_it(secret: bytes) -> None:
    key = X25519Key()
    message = Recipient.of_jwk(public_members(key)).encrypt(secret)
    assert key.open(message) == secret


def test_the_message_is_as_jose_has_integrated_encryption() -> None:
    message = Recipient.of_jwk(public_members(X25519Key())).encrypt(b"secret")
    assert message.keys() == {"protected", "encrypted_key", "ciphertext"}
    assert json.loads(octets(message["protected"])) == {"alg": "HPKE-4"}
    assert len(octets(message["encrypted_key"])) == 32
    assert len(octets(message["ciphertext"])) == len(b"secret") + 16


def test_every_message_has_a_key_of_its_own() -> None:
    recipient = Recipient.of_jwk(public_members(X25519Key()))
    first, second = recipient.encrypt(b"same"), recipient.encrypt(b"same")
    assert first["encrypted_key"] != second["encrypted_key"]
    assert first["ciphertext"] != second["ciphertext"]


def test_only_the_key_with_this_header_opens_it() -> None:
    key = X25519Key()
    message = Recipient.of_jwk(public_members(key)).encrypt(b"secret")
    sealed = octets(message["ciphertext"])
    for change in (
        {"encrypted_key": Recipient.of_jwk(public_members(key)).encrypt(b"secret")["encrypted_key"]},
        {"ciphertext": _base64url.encode(bytes((sealed[0] ^ 1, *sealed[1:])))},
        {"protected": _base64url.encode(b'{"alg":"HPKE-3"}')},
    ):
        with pytest.raises(InvalidTag):
            key.open(message | change)
    with pytest.raises(InvalidTag):
        X25519Key().open(message)
    with pytest.raises(InvalidTag):
        key.open(message, additional=b"")


@pytest.mark.parametrize("point", LOW_ORDER)
@pytest.mark.parametrize("sign", [0, 0x80])
def test_points_of_low_order_are_refused(point: str, sign: int) -> None:
    data = bytearray.fromhex(point)
    data[31] |= sign
    jwk = public_members(X25519Key()) | {"x": _base64url.encode(bytes(data))}
    with pytest.raises(ParseError, match="low order"):
        Recipient.of_jwk(jwk)


@pytest.mark.parametrize(
    "change",
    [
        {"alg": "HPKE-3"}, {"alg": "HPKE-4-KE"}, {"alg": "HPKE-0"}, {"alg": "ECDH-ES+A256KW"}, {"alg": "ECDH-ES"},
        {"alg": ""}, {"alg": None}, {"crv": "X448"}, {"crv": "Ed25519"}, {"crv": "P-256"}, {"kty": "EC"}, {"kty": []},
        {"kty": "RSA"}, {"x": ""}, {"x": "A" * 42}, {"x": "A" * 44}, {"x": "A" * 42 + "="}, {"x": "A" * 42 + "B"},
        {"x": 1},
    ],
)  # fmt: skip
def test_a_key_has_one_algorithm_and_one_form(change: dict[str, Any]) -> None:
    with pytest.raises(ParseError):
        Recipient.of_jwk(public_members(X25519Key()) | change)


def test_no_other_key_gets_this_algorithm() -> None:
    """An EC key that says HPKE-4 is not encrypted to as if it were X25519, nor the other way round."""
    jwk = public_members(X25519Key())
    ec = {"kty": "EC", "crv": "P-256", "alg": "HPKE-4", "x": jwk["x"], "y": jwk["x"]}
    with pytest.raises(ParseError):
        Recipient.of_jwk(ec)
    with pytest.raises(ParseError):
        Recipient.of_jwk(jwk | {"kty": "EC", "y": jwk["x"], "alg": "ECDH-ES+A256KW", "crv": "X25519"})


# ------------------------------------------------------------------------------------------------- auth mode

AUTH = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.CHACHA20_POLY1305)
SENDER, STRANGER = X25519PrivateKey.generate(), X25519PrivateKey.generate()


def opened_from(
    recipient: X25519PrivateKey, sender: X25519PrivateKey, sealed: tuple[bytes, bytes], aad: bytes
) -> bytes:
    keys = [KEMKey.from_pyca_cryptography_key(one) for one in (recipient, sender.public_key())]
    return AUTH.create_recipient_context(sealed[0], keys[0], pks=keys[1]).open(sealed[1], aad)


@given(st.binary(max_size=200), st.binary(max_size=80))
def test_another_implementation_opens_what_a_sender_sealed(text: bytes, aad: bytes) -> None:
    recipient = X25519PrivateKey.generate()
    sealed = hpke.seal(recipient.public_key(), text, additional=aad, sender=SENDER)
    assert opened_from(recipient, SENDER, sealed, aad) == text
    for sender, other in ((STRANGER, aad), (SENDER, aad + b"x")):
        with pytest.raises(OpenError):
            opened_from(recipient, sender, sealed, other)


def test_the_sender_counts() -> None:
    recipient = X25519PrivateKey.generate()
    for sealed in (
        hpke.seal(recipient.public_key(), b"text", additional=b""),
        hpke.seal(recipient.public_key(), b"text", additional=b"", sender=STRANGER),
    ):
        with pytest.raises(OpenError):
            opened_from(recipient, SENDER, sealed, b"")
