"""COSE_Sign1 messages signed and COSE_Keys written, for EC keys (RFC 9052, section 4.4; RFC 9053, sections 2, 7)."""

from dataclasses import replace
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from cloister import _cbor
from cloister._cose import CoseSign1

__all__ = ["algorithm_of", "cose_key", "raw_point", "sign1", "signed_by"]

HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512(),
}  # fmt: skip
ALGORITHM_OF_BITS: Final = {256: -7, 384: -35, 521: -36}
CURVE_OF_BITS: Final = {256: 1, 384: 2, 521: 3}
"""IANA "COSE Algorithms" (ES256, ES384, ES512) and "COSE Elliptic Curves" by the bits of the key."""
KTY, EC2, CRV, X, Y = 1, 2, -1, -2, -3
ALG: Final = 1


def sign1(key: ec.EllipticCurvePrivateKey, payload: bytes, *, tagged: bool = True) -> CoseSign1:
    """A message over the payload, signed with the algorithm that goes with the key."""
    headers = _cbor.dumps({ALG: algorithm_of(key)})
    unsigned = CoseSign1(protected=headers, unprotected={}, payload=payload, signature=b"", tagged=tagged)
    return signed_by(unsigned, key)


def signed_by(message: CoseSign1, key: ec.EllipticCurvePrivateKey, *, external_aad: bytes = b"") -> CoseSign1:
    """The message signed by the key, with the hash that its headers name: r and s, each as wide as the key."""
    digest, size = HASHES[message.algorithm.digest], size_of(key)
    r, s = decode_dss_signature(key.sign(message.to_be_signed(external_aad), ec.ECDSA(digest)))
    return replace(message, signature=r.to_bytes(size) + s.to_bytes(size))


def algorithm_of(key: ec.EllipticCurvePrivateKey) -> int:
    """The number of the ECDSA algorithm that goes with the key's curve."""
    return ALGORITHM_OF_BITS[key.key_size]


def cose_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The COSE_Key of the public half."""
    numbers, size = key.public_key().public_numbers(), size_of(key)
    return _cbor.dumps(
        {KTY: EC2, CRV: CURVE_OF_BITS[key.key_size], X: numbers.x.to_bytes(size), Y: numbers.y.to_bytes(size)}
    )


def raw_point(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The public half as SEC 1 (section 2.3.3) writes it, not compressed."""
    numbers, size = key.public_key().public_numbers(), size_of(key)
    return b"\x04" + numbers.x.to_bytes(size) + numbers.y.to_bytes(size)


def size_of(key: ec.EllipticCurvePrivateKey) -> int:
    """Bytes of a coordinate."""
    return (key.key_size + 7) // 8
