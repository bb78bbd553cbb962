"""Private keys of those who sign what is launched: enclaves' authors (RSA-3072) and guests' owners (P-384).

Read from PEM (PKCS #8 or the traditional form), unencrypted. Whoever keeps a key in a device, or under a password,
signs there: `cloister sigstruct` and `cloister id-block` hand out what is to be signed and take the signature back.
Keys stay in these objects, which never print them.
"""

from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from cloister.errors import UsageError

__all__ = ["EcSigner", "RsaSigner", "ec_point", "ec_signer", "raw_signature", "rsa_numbers", "rsa_signer"]

WIDTH: Final = 48
"""Bytes of a P-384 coordinate."""


class RsaSigner:
    """Signs as PKCS #1 v1.5 with SHA-256."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self._key = key

    def __repr__(self) -> str:
        return f"RsaSigner({self._key.key_size} bits)"

    @property
    def numbers(self) -> tuple[int, int]:
        """Modulus and exponent."""
        numbers = self._key.public_key().public_numbers()
        return numbers.n, numbers.e

    def sign(self, message: bytes) -> int:
        """The signature as a number."""
        return int.from_bytes(self._key.sign(message, padding.PKCS1v15(), hashes.SHA256()))


class EcSigner:
    """Signs with ECDSA over P-384 and SHA-384."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    def __repr__(self) -> str:
        return "EcSigner(P-384)"

    @property
    def point(self) -> bytes:
        """The public key's coordinates, 48 bytes each, big-endian."""
        return _coordinates(self._key.public_key())

    def sign(self, message: bytes) -> bytes:
        """The two halves of the signature, 48 bytes each, big-endian."""
        return raw_signature(self._key.sign(message, ec.ECDSA(hashes.SHA384())))


def rsa_signer(pem: bytes, name: str) -> RsaSigner:
    """The RSA key in a PEM file; `name` is the file in messages. UsageError."""
    key = _private(pem, name)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise UsageError(f"{name}: enclaves are signed with an RSA key, this is another one")
    return RsaSigner(key)


def ec_signer(pem: bytes, name: str) -> EcSigner:
    """The P-384 key in a PEM file. UsageError."""
    key = _private(pem, name)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp384r1":
        raise UsageError(
            f"{name}: ID blocks are signed with a P-384 key, this is another one; make one with "
            "`openssl ecparam -genkey -noout -name secp384r1`"
        )
    return EcSigner(key)


def rsa_numbers(pem: bytes, name: str) -> tuple[int, int]:
    """Modulus and exponent of a public key in PEM. UsageError."""
    key = _public(pem, name)
    if not isinstance(key, rsa.RSAPublicKey):
        raise UsageError(f"{name}: enclaves are signed with an RSA key, this is another one")
    numbers = key.public_numbers()
    return numbers.n, numbers.e


def ec_point(pem: bytes, name: str) -> bytes:
    """The coordinates of a P-384 public key in PEM, 48 bytes each, big-endian. UsageError."""
    key = _public(pem, name)
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp384r1":
        raise UsageError(f"{name}: ID blocks are signed with a P-384 key, this is another one")
    return _coordinates(key)


def raw_signature(der: bytes) -> bytes:
    """The halves of a P-384 signature in DER, as devices and OpenSSL make them. UsageError."""
    try:
        r, s = decode_dss_signature(der)
        return r.to_bytes(WIDTH) + s.to_bytes(WIDTH)
    except (ValueError, OverflowError) as error:
        raise UsageError("the signature is no ECDSA signature over P-384 in DER") from error


def _coordinates(key: ec.EllipticCurvePublicKey) -> bytes:
    numbers = key.public_numbers()
    return numbers.x.to_bytes(WIDTH) + numbers.y.to_bytes(WIDTH)


def _private(pem: bytes, name: str) -> object:
    try:
        return serialization.load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise UsageError(
            f"{name} is encrypted: sign outside, with whatever holds the key, and hand in the signature"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{name} is no private key in PEM") from error


def _public(pem: bytes, name: str) -> object:
    try:
        return serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{name} is no public key in PEM (openssl pkey -pubout writes one)") from error
