"""The only caller of the crypto library. `verify_*` raise SignatureInvalid; nothing here returns a verdict to forget.

Keys are opaque outside this file. Loading one costs as much as checking a signature with it, so loaded keys are kept
(the same attestation key signs many quotes); the caches hold public keys only.
"""

import functools
import hmac
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from cloister.errors import SignatureInvalid

__all__ = [
    "PublicKey",
    "ec_public_key",
    "ec_public_key_compressed",
    "equal",
    "load_spki",
    "rsa_public_key",
    "spki_of",
    "verify_ecdsa",
    "verify_ecdsa_raw",
    "verify_ed25519",
    "verify_rsa_pkcs1",
    "verify_rsa_pss",
]

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
"""A public key; what it can verify depends on its kind."""

CURVES: Final[dict[str, ec.EllipticCurve]] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "sha1": hashes.SHA1(),  # noqa: S303 - TPM 1.2 era banks still sign with it; whether that is enough is the policy's question
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
SMALLEST_RSA, LARGEST_RSA = 1024, 8192
"""Bits of a modulus. Under smaller ones hashes do not fit; larger ones only cost time, and whoever sends keys chooses
how much."""
LARGEST_EXPONENT: Final = 32
"""Bits. With one as long as the modulus, a verification takes milliseconds."""
ECDSA: Final = {name: ec.ECDSA(algorithm) for name, algorithm in HASHES.items()}


@functools.lru_cache(maxsize=1024)
def load_spki(der: bytes) -> PublicKey:
    """The key in a DER SubjectPublicKeyInfo; SignatureInvalid if it is none, or of a kind that is not supported."""
    try:
        key = serialization.load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SignatureInvalid(f"a public key cannot be used: {error}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        raise SignatureInvalid(f"a public key of kind {type(key).__name__} is not used by any TEE")
    if isinstance(key, rsa.RSAPublicKey):
        check_rsa(key.key_size, key.public_numbers().e)
    return key


def check_rsa(bits: int, exponent: int) -> None:
    """Refuse an RSA key that nobody uses, before anything is calculated with it."""
    if not SMALLEST_RSA <= bits <= LARGEST_RSA or exponent.bit_length() > LARGEST_EXPONENT:
        raise SignatureInvalid(
            f"an RSA key of {bits} bits with an exponent of {exponent.bit_length()} bits is not used by any TEE"
        )


def spki_of(key: PublicKey) -> bytes:
    """The DER SubjectPublicKeyInfo of a key."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


@functools.lru_cache(maxsize=1024)
def ec_public_key(curve: str, point: bytes) -> ec.EllipticCurvePublicKey:
    """A key from its point, x and y one after the other, big-endian; `curve` is `P-256`, `P-384` or `P-521`."""
    return ec_public_key_compressed(curve, b"\x04" + point)


def ec_public_key_compressed(curve: str, point: bytes) -> ec.EllipticCurvePublicKey:
    """A key from a point as SEC 1 encodes it, with its leading byte."""
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(CURVES[curve], point)
    except ValueError as error:
        raise SignatureInvalid(f"the public key is not a point of {curve}", actual=point) from error


@functools.lru_cache(maxsize=256)
def rsa_public_key(modulus: int, exponent: int) -> rsa.RSAPublicKey:
    """A key from its numbers."""
    check_rsa(modulus.bit_length(), exponent)
    try:
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError as error:
        raise SignatureInvalid(f"the RSA public key cannot be used: {error}") from error


def verify_ecdsa_raw(key: PublicKey, signature: bytes, message: bytes, digest: str, *, what: str) -> None:
    """Verify an ECDSA signature given as r and s of equal length, big-endian. `what` names it in the error."""
    half = len(signature) // 2
    r, s = int.from_bytes(signature[:half]), int.from_bytes(signature[half:])
    verify_ecdsa(key, encode_dss_signature(r, s), message, digest, what=what)


def verify_ecdsa(key: PublicKey, signature: bytes, message: bytes, digest: str, *, what: str) -> None:
    """Verify an ECDSA signature in DER."""
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise SignatureInvalid(f"{what}: needs an EC key, the key is of kind {type(key).__name__}")
    try:
        key.verify(signature, message, ECDSA[digest])
    except InvalidSignature:
        raise SignatureInvalid(f"{what} does not verify") from None


def verify_rsa_pkcs1(key: PublicKey, signature: bytes, message: bytes, digest: str, *, what: str) -> None:
    """Verify an RSASSA-PKCS1-v1_5 signature (RFC 8017, section 8.2)."""
    _verify_rsa(key, signature, message, digest, padding.PKCS1v15(), what)


def verify_rsa_pss(
    key: PublicKey, signature: bytes, message: bytes, digest: str, *, what: str, salt: int | None = None
) -> None:
    """Verify an RSASSA-PSS signature (RFC 8017, section 8.1), MGF1 with the same hash.

    The salt has `salt` bytes, or as many as the hash.
    """
    algorithm = HASHES[digest]
    pss = padding.PSS(mgf=padding.MGF1(algorithm), salt_length=algorithm.digest_size if salt is None else salt)
    _verify_rsa(key, signature, message, digest, pss, what)


def _verify_rsa(
    key: PublicKey, signature: bytes, message: bytes, digest: str, scheme: padding.AsymmetricPadding, what: str
) -> None:
    if not isinstance(key, rsa.RSAPublicKey):
        raise SignatureInvalid(f"{what}: needs an RSA key, the key is of kind {type(key).__name__}")
    try:
        key.verify(signature, message, scheme, HASHES[digest])
    except (InvalidSignature, ValueError):  # ValueError: hash and salt do not fit into the modulus
        raise SignatureInvalid(f"{what} does not verify") from None


def verify_ed25519(key: PublicKey, signature: bytes, message: bytes, *, what: str) -> None:
    """Verify an Ed25519 signature (RFC 8032). Keystone's differ: see `cloister.verification.keystone`."""
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise SignatureInvalid(f"{what}: needs an Ed25519 key, the key is of kind {type(key).__name__}")
    try:
        key.verify(signature, message)
    except InvalidSignature:
        raise SignatureInvalid(f"{what} does not verify") from None


def equal(left: bytes, right: bytes) -> bool:
    """Whether two byte strings are equal, in time that does not depend on where they differ."""
    return hmac.compare_digest(left, right)
