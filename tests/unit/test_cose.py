"""COSE_Sign1 messages: read, written, verified by every algorithm; COSE_Keys."""

from dataclasses import replace

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from tests.forge.cose import PrivateKey, cose_key_of, sign1, signed

from cloister import _cbor, _crypto
from cloister._cose import CoseSign1
from cloister._cose_crypto import cose_key, verify_sign1
from cloister.errors import ParseError, SignatureInvalid

P256 = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())
P521 = ec.generate_private_key(ec.SECP521R1())
ED = ed25519.Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(65537, 2048)
ALGORITHMS: dict[str, tuple[int, PrivateKey]] = {
    "ES256": (-7, P256), "ES384": (-35, P384), "ES512": (-36, P521), "PS256": (-37, RSA), "PS384": (-38, RSA),
    "PS512": (-39, RSA), "EdDSA": (-8, ED),
}  # fmt: skip


def public(key: PrivateKey) -> _crypto.PublicKey:
    return key.public_key()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_verifies(name: str) -> None:
    number, key = ALGORITHMS[name]
    message = CoseSign1.parse(sign1(key, b"payload", algorithm=number).serialize())
    assert message.algorithm.name == name
    assert message.payload == b"payload"
    verify_sign1(message, public(key), what="it")


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("part", ["payload", "signature", "protected"])
def test_a_changed_part_does_not_verify(name: str, part: str) -> None:
    number, key = ALGORITHMS[name]
    message = sign1(key, b"payload", algorithm=number)
    changed = {
        "payload": replace(message, payload=b"Payload"),
        "signature": replace(message, signature=flipped(message.signature)),
        "protected": replace(message, protected=_cbor.dumps({1: number, 4: b"id"})),
    }
    with pytest.raises(SignatureInvalid):
        verify_sign1(changed[part], public(key), what="it")


def flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def test_external_data_is_signed_too() -> None:
    message = signed(sign1(P256, b"payload"), P256, external_aad=b"context")
    verify_sign1(message, public(P256), what="it", external_aad=b"context")
    with pytest.raises(SignatureInvalid):
        verify_sign1(message, public(P256), what="it")


def test_the_signed_structure_is_the_standard_s() -> None:
    """RFC 9052, section 4.4: context, protected headers, external data, payload."""
    message = sign1(P256, b"payload")
    assert cbor2.loads(message.to_be_signed(b"aad")) == ["Signature1", b"\xa1\x01\x26", b"aad", b"payload"]


@pytest.mark.parametrize("tagged", [True, False], ids=["with tag 18", "without a tag"])
def test_it_is_written_as_it_was_read(tagged: bool) -> None:  # noqa: FBT001 - a parameter of the test
    data = sign1(P256, b"payload", tagged=tagged).serialize()
    message = CoseSign1.parse(data)
    assert message.tagged is tagged
    assert message.serialize() == data
    assert not message.variant


def test_a_longer_encoding_is_kept() -> None:
    """Constrained attesters may send one (draft-ffm-rats-cca-token, section 4.11.1)."""
    short = sign1(P256, b"payload").serialize()
    long = short.replace(b"\x47payload", b"\x58\x07payload")
    message = CoseSign1.parse(long)
    assert message.serialize() == long != short
    verify_sign1(message, public(P256), what="it")


def test_the_key_identifier_is_found_in_either_header() -> None:
    message = sign1(P256, b"")
    assert message.key_id == b""
    assert replace(message, unprotected={4: b"id"}).key_id == b"id"
    assert replace(message, protected=_cbor.dumps({1: -7, 4: b"signed id"})).key_id == b"signed id"


PARTS = [_cbor.dumps({1: -7}), {}, b"payload", bytes(64)]
REFUSED: dict[str, tuple[object, str]] = {
    "another tag": (_cbor.Tag(17, PARTS), "tag"),
    "three parts": (PARTS[:3], "structure"),
    "five parts": ([*PARTS, b""], "structure"),
    "a map": ({1: 2}, "structure"),
    "protected headers that are no byte string": ([{1: -7}, *PARTS[1:]], "protected"),
    "protected headers that are not CBOR": ([b"\xff", *PARTS[1:]], "cbor"),
    "protected headers that are a list": ([b"\x80", *PARTS[1:]], "protected"),
    "no protected headers": ([b"", *PARTS[1:]], "alg"),
    "no algorithm": ([_cbor.dumps({4: b"id"}), *PARTS[1:]], "alg"),
    "an algorithm that is not for signatures": ([_cbor.dumps({1: 5}), *PARTS[1:]], "alg"),
    "an algorithm by name": ([_cbor.dumps({1: "ES256"}), *PARTS[1:]], "alg"),
    "a critical header": ([_cbor.dumps({1: -7, 2: [99], 99: 1}), *PARTS[1:]], "crit"),
    "unprotected headers that are no map": ([PARTS[0], [], *PARTS[2:]], "unprotected"),
    "the algorithm among the unprotected headers": ([PARTS[0], {1: -7}, *PARTS[2:]], "unprotected"),
    "a header in both places": ([_cbor.dumps({1: -7, 4: b"a"}), {4: b"b"}, *PARTS[2:]], "unprotected"),
    "a detached payload": ([*PARTS[:2], None, PARTS[3]], "payload"),
    "a payload in text": ([*PARTS[:2], "payload", PARTS[3]], "payload"),
    "a signature that is no byte string": ([*PARTS[:3], 0], "signature"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_message(name: str) -> None:
    value, field = REFUSED[name]
    with pytest.raises(ParseError) as raised:
        CoseSign1.parse(cbor2.dumps(value))
    assert raised.value.field == field


@pytest.mark.parametrize("key", [P256, P384, P521], ids=["P-256", "P-384", "P-521"])
def test_a_cose_key_is_the_key(key: ec.EllipticCurvePrivateKey) -> None:
    assert _crypto.spki_of(cose_key(cose_key_of(key))) == _crypto.spki_of(public(key))


def test_a_compressed_cose_key_is_the_key() -> None:
    numbers = P256.public_key().public_numbers()
    data = _cbor.dumps({1: 2, -1: 1, -2: numbers.x.to_bytes(32), -3: bool(numbers.y & 1)})
    assert _crypto.spki_of(cose_key(data)) == _crypto.spki_of(public(P256))


def test_cose_keys_of_the_other_kinds() -> None:
    raw, numbers = ED.public_key().public_bytes_raw(), RSA.public_key().public_numbers()
    assert _crypto.spki_of(cose_key(_cbor.dumps({1: 1, -1: 6, -2: raw}))) == _crypto.spki_of(public(ED))
    data = _cbor.dumps({1: 3, -1: numbers.n.to_bytes(256), -2: b"\x01\x00\x01"})
    assert _crypto.spki_of(cose_key(data)) == _crypto.spki_of(public(RSA))


X = bytes(31) + b"\x01"
NO_KEYS: dict[str, tuple[object, type[Exception]]] = {
    "a list": ([1], ParseError),
    "no kind": ({-1: 1}, ParseError),
    "a symmetric key": ({1: 4, -1: b"secret"}, ParseError),
    "a private EC key": ({1: 2, -1: 1, -2: X, -3: X, -4: X}, ParseError),
    "a private RSA key": ({1: 3, -1: X, -2: X, -3: X}, ParseError),
    "a curve that signs nothing": ({1: 2, -1: 8, -2: X, -3: X}, ParseError),
    "a coordinate that is too short": ({1: 2, -1: 1, -2: X[1:], -3: X}, ParseError),
    "no y": ({1: 2, -1: 1, -2: X}, ParseError),
    "X25519": ({1: 1, -1: 4, -2: X}, ParseError),
    "a modulus of 16,384 bits": ({1: 3, -1: bytes(2048), -2: b"\x03"}, ParseError),
    "a point that is not on the curve": ({1: 2, -1: 1, -2: X, -3: X}, SignatureInvalid),
    "a point at infinity": ({1: 2, -1: 1, -2: bytes(32), -3: bytes(32)}, SignatureInvalid),
}


@pytest.mark.parametrize("name", NO_KEYS)
def test_what_is_no_key(name: str) -> None:
    value, error = NO_KEYS[name]
    with pytest.raises(error):
        cose_key(cbor2.dumps(value))
