"""Ed25519 with SHA3-512 in place of SHA-512: what Keystone signs its reports with, and no library verifies.

RFC 8032, section 5.1, in every respect but the hash (Keystone: sm/src/ed25519). Group and scalar arithmetic is
libsodium's, through PyNaCl. Verification is strict: the cofactorless equation, S below the group's order, no point of
small order and none outside the prime-order group, no second encoding of a point.

Signing is for emulated devices and tests: it is not constant-time in its scalar arithmetic.
"""

import hashlib
from typing import Final

from nacl import bindings
from nacl.exceptions import CryptoError

from cloister.errors import SignatureInvalid

__all__ = ["public_key_of", "sign", "spki_of_ed25519", "verify"]

ORDER: Final = 2**252 + 27742317777372353535851937790883648493
"""Of the prime-order group (RFC 8032, section 5.1)."""
IDENTITY: Final = bytes([1]) + bytes(31)
SPKI: Final = bytes.fromhex("302a300506032b6570032100")
"""What stands before the 32 bytes of the key in a SubjectPublicKeyInfo (RFC 8410, section 4)."""


def spki_of_ed25519(raw: bytes) -> bytes:
    """The DER SubjectPublicKeyInfo of an Ed25519 key of 32 bytes, by which anchors pin it; or ValueError."""
    if len(raw) != 32:
        raise ValueError(f"an Ed25519 public key has 32 bytes, this one has {len(raw)}")
    return SPKI + raw


def verify(public_key: bytes, signature: bytes, message: bytes, *, what: str) -> None:
    """Verify a signature of 64 bytes under a key of 32, or SignatureInvalid; `what` names it in the error."""
    point, scalar = signature[:32], signature[32:]
    if len(public_key) != 32 or len(scalar) != 32 or int.from_bytes(scalar, "little") >= ORDER or point == IDENTITY:
        raise SignatureInvalid(f"{what} does not verify: it is malformed")
    challenge = _scalar(point + public_key + message)
    try:
        # scalarmult refuses keys that are not canonical, of small order, or outside the prime-order group.
        expected = bindings.crypto_core_ed25519_sub(
            bindings.crypto_scalarmult_ed25519_base_noclamp(scalar),
            bindings.crypto_scalarmult_ed25519_noclamp(challenge.to_bytes(32, "little"), public_key),
        )
    except CryptoError:
        raise SignatureInvalid(f"{what} does not verify: the key is not a point that anybody may use") from None
    if expected != point:
        raise SignatureInvalid(f"{what} does not verify")


def public_key_of(seed: bytes) -> bytes:
    """The public key that belongs to a secret seed of 32 bytes."""
    return bindings.crypto_scalarmult_ed25519_base_noclamp(_secret(seed)[0].to_bytes(32, "little"))


def sign(seed: bytes, message: bytes) -> bytes:
    """Sign with a secret seed. The nonce comes from the seed and the message, as in RFC 8032."""
    secret, prefix = _secret(seed)
    nonce = _scalar(prefix + message)
    point = bindings.crypto_scalarmult_ed25519_base_noclamp(nonce.to_bytes(32, "little"))
    challenge = _scalar(point + public_key_of(seed) + message)
    return point + ((nonce + challenge * secret) % ORDER).to_bytes(32, "little")


def _scalar(data: bytes) -> int:
    return int.from_bytes(hashlib.sha3_512(data).digest(), "little") % ORDER


def _secret(seed: bytes) -> tuple[int, bytes]:
    """The secret scalar and the prefix for nonces (RFC 8032, section 5.1.5)."""
    digest = bytearray(hashlib.sha3_512(seed).digest())
    digest[0] &= 0xF8
    digest[31] = digest[31] & 0x3F | 0x40
    return int.from_bytes(digest[:32], "little") % ORDER, bytes(digest[32:])
