"""COSE_Sign1 messages signed with test keys of every kind that the verifier takes."""

from dataclasses import replace

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from cloister import _cbor
from cloister._cose import CoseSign1
from cloister.emulate.vendors.arm_cose import algorithm_of, cose_key, signed_by

__all__ = ["PrivateKey", "cose_key_of", "sign1", "signed"]

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
HASHES = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
EDDSA = -8

cose_key_of = cose_key
"""The COSE_Key of the public half."""


def sign1(key: PrivateKey, payload: bytes, *, algorithm: int | None = None, tagged: bool = True) -> CoseSign1:
    """A message signed with the key; the algorithm is the one that goes with it."""
    if algorithm is None:
        algorithm = algorithm_of(key) if isinstance(key, ec.EllipticCurvePrivateKey) else EDDSA
    headers = _cbor.dumps({1: algorithm})
    message = CoseSign1(protected=headers, unprotected={}, payload=payload, signature=b"", tagged=tagged)
    return signed(message, key)


def signed(message: CoseSign1, key: PrivateKey, *, external_aad: bytes = b"") -> CoseSign1:
    """The message with a signature by the key, by the algorithm that its headers name."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return signed_by(message, key, external_aad=external_aad)
    data = message.to_be_signed(external_aad)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return replace(message, signature=key.sign(data))
    digest = HASHES[message.algorithm.digest]
    pss = padding.PSS(mgf=padding.MGF1(digest), salt_length=digest.digest_size)
    return replace(message, signature=key.sign(data, pss, digest))
