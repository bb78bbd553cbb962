"""Whom a secret is encrypted to: the key that an attester made and bound to its evidence, and JWE to it.

The key is a JWK as the KBS protocol 0.4.0 has it (`tee-pubkey`), the ciphertext a JWE in flattened serialization (RFC
7516, section 7.2.2). The key has exactly one algorithm, which its `alg` must name: nobody else chooses.

    RSA, 2048 to 8192 bits    RSA-OAEP-256      (RFC 7518, section 4.3)
    EC P-256, P-521           ECDH-ES+A256KW    (RFC 7518, section 4.6)
    OKP X25519                HPKE-4            (draft-ietf-jose-hpke-encrypt, integrated encryption; an addition)

With the first two, the content is encrypted with A256GCM; HPKE-4 encrypts it itself, so its JWE has neither `iv` nor
`tag`. PKCS #1 v1.5, which the protocol still has, is refused: RFC 8725, section 3.2.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cloister.broker import hpke
from cloister.errors import ParseError
from cloister.result import _base64url

__all__ = ["Recipient"]

RECORD: Final = "tee-pubkey"
RSA_ALGORITHM: Final = "RSA-OAEP-256"
EC_ALGORITHM: Final = "ECDH-ES+A256KW"
OKP_ALGORITHM: Final = "HPKE-4"
OKP_HEADER: Final = _base64url.encode(b'{"alg":"HPKE-4"}')
AUTH_HEADER: Final = _base64url.encode(b'{"alg":"HPKE-4","mode":"auth"}')
"""No JOSE: RFC 9180's mode_auth has no name there. The software enclave's runtime knows it."""
"""The whole protected header: with integrated encryption there must be no `enc`."""
X25519_BYTES: Final = 32
CONTENT: Final = "A256GCM"
CURVES: Final[Mapping[str, tuple[ec.EllipticCurve, int]]] = {
    "P-256": (ec.SECP256R1(), 32), "P-521": (ec.SECP521R1(), 66),
}  # fmt: skip
"""Curve, and bytes of a coordinate (RFC 7518, section 6.2.1.2)."""
MEMBERS: Final = {
    "EC": ("kty", "crv", "alg", "x", "y"), "RSA": ("kty", "alg", "n", "e"), "OKP": ("kty", "crv", "alg", "x"),
}  # fmt: skip
"""What the protocol's key consists of; whatever else a JWK has is not part of it (kbs-types, `TeePubKey`)."""
SMALLEST_RSA, LARGEST_RSA = 2048, 8192
OAEP: Final = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
KEY_BYTES: Final = 32

Key = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | X25519PublicKey


@dataclass(frozen=True, slots=True)
class Recipient:
    """An attested public key. `jwk` are its members in the protocol, `spki` the same key as DER."""

    jwk: Mapping[str, str]
    spki: bytes = field(repr=False)
    _key: Key = field(repr=False, compare=False)

    @classmethod
    def of_jwk(cls, value: object) -> "Recipient":
        """The key in a JWK; ParseError if it is not one that secrets can be encrypted to."""
        kind = value.get("kty") if isinstance(value, Mapping) else None
        if not isinstance(value, Mapping) or not isinstance(kind, str) or kind not in MEMBERS:
            raise ParseError(RECORD, "kty", 0, "is none of EC, RSA, OKP")
        jwk = {name: _text(value, name) for name in MEMBERS[kind]}
        key: Key = READERS[jwk["kty"]](jwk)
        return cls(jwk, key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), key)

    def encrypt_from(self, sender: X25519PrivateKey, secret: bytes) -> dict[str, str]:
        """The same, written so that the holder learns who wrote it: docs/formats/broker-api.md, blocks.

        ParseError for a key that is not X25519: no other suite here has a mode for it.
        """
        if not isinstance(self._key, X25519PublicKey):
            raise ParseError("format", "block", 0, "is for X25519 keys; ask for JSON")
        encapsulated, sealed = hpke.seal(self._key, secret, additional=AUTH_HEADER.encode(), sender=sender)
        return {
            "protected": AUTH_HEADER, "broker_key": _base64url.encode(sender.public_key().public_bytes_raw()),
            "encrypted_key": _base64url.encode(encapsulated), "ciphertext": _base64url.encode(sealed),
        }  # fmt: skip

    def encrypt(self, secret: bytes) -> dict[str, str]:
        """A JWE that only the holder of the private key can open."""
        if isinstance(self._key, X25519PublicKey):
            encapsulated, sealed = hpke.seal(self._key, secret, additional=OKP_HEADER.encode())
            return {
                "protected": OKP_HEADER, "encrypted_key": _base64url.encode(encapsulated),
                "ciphertext": _base64url.encode(sealed),
            }  # fmt: skip
        content_key = os.urandom(KEY_BYTES)
        # In this order and without spaces: kbs-types writes the header anew to have the additional data.
        header: dict[str, object] = {"alg": self.jwk["alg"], "enc": CONTENT}
        if isinstance(self._key, rsa.RSAPublicKey):
            wrapped = self._key.encrypt(content_key, OAEP)
        else:
            wrapped, header["epk"] = _agree(self._key, self.jwk["crv"], content_key)
        protected = _base64url.encode(json.dumps(header, separators=(",", ":")).encode())
        nonce = os.urandom(12)
        sealed = AESGCM(content_key).encrypt(nonce, secret, protected.encode())
        return {
            "protected": protected, "encrypted_key": _base64url.encode(wrapped), "iv": _base64url.encode(nonce),
            "ciphertext": _base64url.encode(sealed[:-16]), "tag": _base64url.encode(sealed[-16:]),
        }  # fmt: skip


def _agree(key: ec.EllipticCurvePublicKey, curve: str, content_key: bytes) -> tuple[bytes, dict[str, str]]:
    """The content key wrapped by a key agreed on with a fresh key, and the fresh key's public part."""
    fresh = ec.generate_private_key(key.curve)
    shared = fresh.exchange(ec.ECDH(), key)
    # RFC 7518, section 4.6.2: algorithm, no party information, bits of the key.
    info = len(EC_ALGORITHM).to_bytes(4) + EC_ALGORITHM.encode() + bytes(8) + (8 * KEY_BYTES).to_bytes(4)
    wrapping = ConcatKDFHash(hashes.SHA256(), KEY_BYTES, info).derive(shared)
    numbers, size = fresh.public_key().public_numbers(), CURVES[curve][1]
    x, y = (_base64url.encode(number.to_bytes(size)) for number in (numbers.x, numbers.y))
    return aes_key_wrap(wrapping, content_key), {"crv": curve, "kty": "EC", "x": x, "y": y}


def _text(jwk: Mapping[str, object], name: str) -> str:
    found = jwk.get(name)
    if not isinstance(found, str):
        raise ParseError(RECORD, name, 0, "is missing or is not a string")
    return found


def _octets(jwk: Mapping[str, str], name: str) -> bytes:
    try:
        return _base64url.decode(jwk[name])
    except ValueError as error:
        raise ParseError(RECORD, name, 0, "is not base64url") from error


def _check_algorithm(jwk: Mapping[str, str], algorithm: str) -> None:
    if jwk["alg"] != algorithm:
        raise ParseError(RECORD, "alg", 0, f"is not {algorithm}, the one algorithm for a key of kind {jwk['kty']}")


def _ec(jwk: Mapping[str, str]) -> ec.EllipticCurvePublicKey:
    _check_algorithm(jwk, EC_ALGORITHM)
    if jwk["crv"] not in CURVES:
        raise ParseError(RECORD, "crv", 0, f"is none of {', '.join(CURVES)}")
    curve, size = CURVES[jwk["crv"]]
    x, y = _octets(jwk, "x"), _octets(jwk, "y")
    if len(x) != size or len(y) != size:
        raise ParseError(RECORD, "x, y", 0, f"are not {size} bytes each")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, b"\x04" + x + y)
    except ValueError as error:
        raise ParseError(RECORD, "x, y", 0, "are no point of the curve") from error


def _rsa(jwk: Mapping[str, str]) -> rsa.RSAPublicKey:
    _check_algorithm(jwk, RSA_ALGORITHM)
    modulus, exponent = int.from_bytes(_octets(jwk, "n")), int.from_bytes(_octets(jwk, "e"))
    if not SMALLEST_RSA <= modulus.bit_length() <= LARGEST_RSA or not 3 <= exponent < 1 << 32:
        raise ParseError(RECORD, "n, e", 0, f"are no RSA key of {SMALLEST_RSA} to {LARGEST_RSA} bits")
    try:
        key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
        key.encrypt(b"", OAEP)  # a modulus of another kind than products of primes is only found out here
    except ValueError as error:
        raise ParseError(RECORD, "n, e", 0, "are no RSA key") from error
    return key


def _okp(jwk: Mapping[str, str]) -> X25519PublicKey:
    _check_algorithm(jwk, OKP_ALGORITHM)
    if jwk["crv"] != "X25519":
        raise ParseError(RECORD, "crv", 0, "is not X25519")
    x = _octets(jwk, "x")
    if len(x) != X25519_BYTES:
        raise ParseError(RECORD, "x", 0, f"is not {X25519_BYTES} bytes")
    key = X25519PublicKey.from_public_bytes(x)
    if hpke.is_low_order(key):
        raise ParseError(RECORD, "x", 0, "is a point of low order: what is encrypted to it, everybody can read")
    return key


READERS: Final[Mapping[str, Callable[[Mapping[str, str]], Key]]] = {"EC": _ec, "OKP": _okp, "RSA": _rsa}
