"""The signature algorithms of attestation results. Each kind of key has exactly one, so a token cannot choose.

A token's `alg` header is compared with the algorithm of the key, never followed: `none`, an HMAC keyed with a public
key, or a weaker algorithm on the same key have no way in.
"""

from enum import StrEnum
from typing import Final

from cloister import _crypto
from cloister._der import Der
from cloister.errors import ParseError, SignatureInvalid, UsageError

__all__ = ["COSE", "CURVES", "Algorithm", "algorithm_of", "check_signature", "ec_spki", "ed25519_spki", "rsa_numbers"]


class Algorithm(StrEnum):
    """A signature algorithm by its JOSE name (RFC 7518, section 3.1; RFC 8037, section 3.1)."""

    ES256 = "ES256"
    ES384 = "ES384"
    EDDSA = "EdDSA"
    PS256 = "PS256"


COSE: Final = {Algorithm.ES256: -7, Algorithm.ES384: -35, Algorithm.EDDSA: -8, Algorithm.PS256: -37}
"""The same in COSE (RFC 9053, section 2)."""
CURVES: Final = {Algorithm.ES256: ("P-256", 32, "sha256"), Algorithm.ES384: ("P-384", 48, "sha384")}
"""Curve, size of a coordinate in bytes, hash."""
ED25519: Final = bytes.fromhex("302a300506032b6570032100")
EC: Final = {
    Algorithm.ES256: bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004"),
    Algorithm.ES384: bytes.fromhex("3076301006072a8648ce3d020106052b8104002203620004"),
}
"""What a DER SubjectPublicKeyInfo starts with (RFC 5480, section 2; RFC 8410, section 4); the point follows."""
RSA_OID: Final = "1.2.840.113549.1.1.1"
SMALLEST_RSA, LARGEST_RSA = 2048, 8192
"""Bits of a modulus. Larger ones only cost time, and whoever sends keys chooses how much."""


def algorithm_of(spki: bytes) -> Algorithm:
    """The one algorithm that this key (DER SubjectPublicKeyInfo) signs with; UsageError if it is of no use here."""
    for algorithm, prefix in EC.items():
        if spki.startswith(prefix) and len(spki) == len(prefix) + 2 * CURVES[algorithm][1]:
            return algorithm
    if spki.startswith(ED25519) and len(spki) == len(ED25519) + 32:
        return Algorithm.EDDSA
    try:
        modulus, _ = rsa_numbers(spki)
    except ParseError:
        raise UsageError("this key cannot sign attestation results; use P-256, P-384, Ed25519 or RSA") from None
    if not SMALLEST_RSA <= modulus.bit_length() <= LARGEST_RSA:
        size = f"{SMALLEST_RSA} to {LARGEST_RSA} bits"
        raise UsageError(f"this RSA key has {modulus.bit_length()} bits; attestation results take {size}")
    return Algorithm.PS256


def rsa_numbers(spki: bytes) -> tuple[int, int]:
    """Modulus and exponent of an RSA key in a DER SubjectPublicKeyInfo (RFC 8017, appendix A.1.1)."""
    outer = Der(spki, "SubjectPublicKeyInfo")
    info = outer.inside("key")
    outer.finish()
    if info.inside("algorithm").oid("algorithm") != RSA_OID:
        raise ParseError("SubjectPublicKeyInfo", "algorithm", 0, "is not RSA")
    key = Der(info.bits("subjectPublicKey"), "RSAPublicKey").inside("key")
    return key.integer("modulus"), key.integer("publicExponent")


def ec_spki(algorithm: Algorithm, point: bytes) -> bytes:
    """The DER SubjectPublicKeyInfo of a point, x and y; UsageError if it is not on the curve."""
    try:
        return _crypto.spki_of(_crypto.ec_public_key(CURVES[algorithm][0], point))
    except SignatureInvalid as error:
        raise UsageError(str(error)) from error


def ed25519_spki(key: bytes) -> bytes:
    """The DER SubjectPublicKeyInfo of an Ed25519 key's 32 bytes."""
    return ED25519 + key


def check_signature(spki: bytes, signature: bytes, message: bytes, *, what: str) -> None:
    """Verify a signature in the form that JOSE and COSE share, or SignatureInvalid. `what` names it in the error."""
    algorithm, key = algorithm_of(spki), _crypto.load_spki(spki)
    if algorithm is Algorithm.EDDSA:
        _crypto.verify_ed25519(key, signature, message, what=what)
    elif algorithm is Algorithm.PS256:
        _crypto.verify_rsa_pss(key, signature, message, "sha256", what=what)
    else:
        _, size, digest = CURVES[algorithm]
        if len(signature) != 2 * size:
            raise SignatureInvalid(f"{what}: {algorithm} has {2 * size} bytes", actual=len(signature))
        _crypto.verify_ecdsa_raw(key, signature, message, digest, what=what)
