"""COSE_Sign1 messages signed with test keys."""

from dataclasses import replace

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from cloister import _cbor
from cloister._cose import CoseSign1

__all__ = ["PrivateKey", "cose_key_of", "sign1", "signed"]

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
HASHES = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
ALGORITHM_OF_BITS = {256: -7, 384: -35, 521: -36}
CURVE_OF_BITS = {256: 1, 384: 2, 521: 3}


def sign1(key: PrivateKey, payload: bytes, *, algorithm: int | None = None, tagged: bool = True) -> CoseSign1:
    """A message signed with the key; the algorithm is the one that goes with it."""
    if algorithm is None:
        algorithm = ALGORITHM_OF_BITS[key.key_size] if isinstance(key, ec.EllipticCurvePrivateKey) else -8
    headers = _cbor.dumps({1: algorithm})
    message = CoseSign1(protected=headers, unprotected={}, payload=payload, signature=b"", tagged=tagged)
    return signed(message, key)


def signed(message: CoseSign1, key: PrivateKey, *, external_aad: bytes = b"") -> CoseSign1:
    """The message with a signature by the key, by the algorithm that its headers name."""
    data, algorithm = message.to_be_signed(external_aad), message.algorithm
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return replace(message, signature=key.sign(data))
    digest = HASHES[algorithm.digest]
    if isinstance(key, rsa.RSAPrivateKey):
        pss = padding.PSS(mgf=padding.MGF1(digest), salt_length=digest.digest_size)
        return replace(message, signature=key.sign(data, pss, digest))
    size = (key.key_size + 7) // 8
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
    return replace(message, signature=r.to_bytes(size) + s.to_bytes(size))


def cose_key_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The COSE_Key of the public half."""
    numbers, size = key.public_key().public_numbers(), (key.key_size + 7) // 8
    return _cbor.dumps(
        {1: 2, -1: CURVE_OF_BITS[key.key_size], -2: numbers.x.to_bytes(size), -3: numbers.y.to_bytes(size)}
    )
