"""Keys and certificates that are secrets: checked when the owner gives them, made from entropy when the broker does.

A value is PEM: a private key (PKCS #8), or for x509 a private key and then its certificate and those above it.
Nothing here takes randomness from the library: a key is a function of the entropy that it is given, so that it can be
tested and so that one source of randomness is enough to trust. RSA keys are not made, for that reason.

No error quotes what it read.
"""

import hashlib
import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from cloister.result import _base64url
from cloister.result.jwk import public_jwk

__all__ = [
    "certificates_in",
    "check_certificate",
    "check_private_key",
    "make_certificate",
    "make_private_key",
    "private_der",
    "private_jwk",
    "private_pem",
    "public_pem",
]

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
Entropy = Callable[[int], bytes]
"""So many bytes that nobody can guess."""

CURVES: Final = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1()}
ORDERS: Final = {
    "P-256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "P-384": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
}
"""Of the groups (SP 800-186, section 3.2.1)."""
CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+\n-----END CERTIFICATE-----\n?")
RSA_MEMBERS: Final = ("d", "p", "q", "dp", "dq", "qi")
SMALLEST_RSA: Final = 2048
DEPTH: Final = 8
"""Certificates in a chain."""


def load_private_key(pem: bytes) -> PrivateKey:
    """The private key in PEM; ValueError, which quotes nothing, if there is none of a kind that is of use."""
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):  # the last: keys of a wrong size
        raise ValueError("no private key in PEM, or one that needs a password") from None
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in {"secp256r1", "secp384r1"}:
        return key
    if isinstance(key, ed25519.Ed25519PrivateKey) or (
        isinstance(key, rsa.RSAPrivateKey) and key.key_size >= SMALLEST_RSA
    ):
        return key
    raise ValueError(f"a private key is P-256, P-384, Ed25519, or RSA of at least {SMALLEST_RSA} bits")


def check_private_key(pem: bytes) -> None:
    """Refuse with ValueError what is no private key."""
    load_private_key(pem)


def check_certificate(pem: bytes) -> None:
    """Refuse with ValueError what is not a private key with its own certificate."""
    key = load_private_key(pem)
    found = CERTIFICATE.findall(pem)
    if not 1 <= len(found) <= DEPTH:
        raise ValueError(f"an x509 secret is a private key and then 1 to {DEPTH} certificates, all PEM")
    try:
        certificate = x509.load_pem_x509_certificate(found[0])
        same = public_der(certificate.public_key()) == public_der(key.public_key())
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise ValueError("the first certificate cannot be read") from None
    if not same:
        raise ValueError("the first certificate is not of the private key that stands before it")


def public_der(key: object) -> bytes:
    """The DER SubjectPublicKeyInfo of any public key."""
    encoded: bytes = key.public_bytes(  # type: ignore[attr-defined] # every public key of the library has it
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def certificates_in(pem: bytes) -> tuple[bytes, ...]:
    """The certificates of an x509 secret, each PEM, its own first."""
    return tuple(CERTIFICATE.findall(pem))


def private_pem(pem: bytes) -> bytes:
    """The private key alone, PKCS #8 PEM."""
    return load_private_key(pem).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def private_der(pem: bytes) -> bytes:
    """The private key alone, PKCS #8 DER."""
    return load_private_key(pem).private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def private_jwk(pem: bytes) -> bytes:
    """The private key as a JWK (RFC 7517; RFC 7518, section 6; RFC 8037), with `kid`, `alg` and `use`."""
    key = load_private_key(pem)
    jwk = public_jwk(public_der(key.public_key()))
    if isinstance(key, ed25519.Ed25519PrivateKey):
        jwk["d"] = _base64url.encode(key.private_bytes_raw())
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        jwk["d"] = _base64url.encode(key.private_numbers().private_value.to_bytes((key.key_size + 7) // 8))
    else:
        numbers = key.private_numbers()
        for name, value in zip(
            RSA_MEMBERS, (numbers.d, numbers.p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp), strict=True
        ):
            jwk[name] = _base64url.encode(value.to_bytes((value.bit_length() + 7) // 8))
    return json.dumps(jwk).encode()


def public_pem(pem: bytes) -> bytes:
    """The public key of a private key, PEM."""
    return (
        load_private_key(pem)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def make_private_key(algorithm: str, entropy: Entropy) -> bytes:
    """A private key, PKCS #8 PEM, of `P-256`, `P-384` or `Ed25519`."""
    key = _make(algorithm, entropy)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _make(algorithm: str, entropy: Entropy) -> ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey:
    if algorithm == "Ed25519":
        return ed25519.Ed25519PrivateKey.from_private_bytes(entropy(32))
    order = ORDERS[algorithm]
    # 64 extra bits make the bias of the remainder negligible (FIPS 186-5, appendix A.2.1).
    number = int.from_bytes(entropy(order.bit_length() // 8 + 8)) % (order - 1) + 1
    return ec.derive_private_key(number, CURVES[algorithm])


def make_certificate(
    algorithm: str, entropy: Entropy, *, common_name: str, dns: tuple[str, ...], start: datetime, days: int
) -> bytes:
    """A private key and its certificate, signed with itself, valid from `start` for so many days; PEM."""
    key = _make(algorithm, entropy)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    begins = start.replace(microsecond=0)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(
            int.from_bytes(hashlib.sha256(entropy(16)).digest()[:16]) | 1
        )  # 1 to 128 bits (RFC 5280, 4.1.2.2)
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if dns:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in dns]), critical=False)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        made = builder.sign(key, None)
    else:
        digest = hashes.SHA384() if algorithm == "P-384" else hashes.SHA256()
        made = builder.sign(key, digest, ecdsa_deterministic=True)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + made.public_bytes(serialization.Encoding.PEM)
