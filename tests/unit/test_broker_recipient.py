"""JWE to an attester's key, opened by another implementation; and keys that are refused."""

import json
from typing import Any

import pytest
from joserfc import jwe
from joserfc.jwk import ECKey, OctKey
from tests.services.key_broker import new_key, octets, public_members

from cloister.broker.recipient import Recipient
from cloister.errors import ParseError

ALGORITHMS = ["RSA-OAEP-256", "ECDH-ES+A256KW", "A256GCM"]
KINDS = ["P-256", "P-521", "RSA"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("secret", [b"", b"x", bytes(range(256)), b"long" * 10_000])
def test_another_implementation_opens_it(kind: str, secret: bytes) -> None:
    key: Any = new_key(kind)
    message: Any = Recipient.of_jwk(public_members(key)).encrypt(secret)
    assert jwe.decrypt_json(message, key, algorithms=ALGORITHMS).plaintext == secret


@pytest.mark.parametrize("kind", KINDS)
def test_the_message_has_the_protocols_members(kind: str) -> None:
    message = Recipient.of_jwk(public_members(new_key(kind))).encrypt(b"secret")
    assert message.keys() == {"protected", "encrypted_key", "iv", "ciphertext", "tag"}
    header = json.loads(octets(message["protected"]))
    assert header["enc"] == "A256GCM"
    assert header["alg"] == ("RSA-OAEP-256" if kind == "RSA" else "ECDH-ES+A256KW")


@pytest.mark.parametrize("kind", KINDS)
def test_the_header_is_written_as_clients_write_it_anew(kind: str) -> None:
    """kbs-types, `ProtectedHeader::generate_aad`: alg, enc, the rest sorted, no spaces. Else no client opens it."""
    text = octets(Recipient.of_jwk(public_members(new_key(kind))).encrypt(b"secret")["protected"])
    header = json.loads(text)
    rest = {name: header[name] for name in sorted(header.keys() - {"alg", "enc"})}
    inner = {name: dict(sorted(value.items())) for name, value in rest.items()}
    again = {"alg": header["alg"], "enc": header["enc"], **inner}
    assert json.dumps(again, separators=(",", ":")).encode() == text


@pytest.mark.parametrize("name", ["protected", "encrypted_key", "iv", "ciphertext", "tag"])
def test_a_changed_message_does_not_open(name: str) -> None:
    key: Any = new_key()
    message: Any = Recipient.of_jwk(public_members(key)).encrypt(b"secret")
    middle = len(message[name]) // 2
    flipped = "A" if message[name][middle] != "A" else "B"
    message[name] = message[name][:middle] + flipped + message[name][middle + 1 :]
    with pytest.raises(Exception, match=r"."):
        jwe.decrypt_json(message, key, algorithms=ALGORITHMS)


def test_every_message_has_a_key_and_nonce_of_its_own() -> None:
    recipient = Recipient.of_jwk(public_members(new_key()))
    first, second = recipient.encrypt(b"same"), recipient.encrypt(b"same")
    assert all(first[name] != second[name] for name in ("protected", "encrypted_key", "iv", "ciphertext", "tag"))


def test_what_is_no_part_of_the_protocols_key_is_left_out() -> None:
    jwk = public_members(new_key())
    assert Recipient.of_jwk(jwk | {"kid": "x", "d": "secret"}).jwk == jwk


@pytest.mark.parametrize(
    "jwk",
    [
        None, [], {}, {"kty": "OKP", "crv": "X25519", "x": "AA"}, OctKey.generate_key(256).as_dict(),
        ECKey.generate_key("P-256").as_dict(private=False), public_members(new_key()) | {"alg": "ECDH-ES+A128KW"},
        public_members(ECKey.generate_key("P-384")), public_members(new_key()) | {"crv": "P-521"},
        public_members(new_key()) | {"x": "A" * 43, "y": "A" * 43}, public_members(new_key()) | {"x": "="},
        public_members(new_key("RSA")) | {"n": "AQ"}, public_members(new_key("RSA")) | {"e": "AQ"},
        public_members(new_key("RSA")) | {"alg": "RSA1_5"}, public_members(new_key("RSA")) | {"n": "A" * 4000},
    ],
)  # fmt: skip
def test_keys_that_are_no_keys_are_refused(jwk: object) -> None:
    with pytest.raises(ParseError):
        Recipient.of_jwk(jwk)
