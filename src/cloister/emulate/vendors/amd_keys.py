"""Keys of emulated AMD processors, and keys and signatures as AMD's firmware lays them out.

AMD 55766 (SEV API), appendices C.3 and C.4; AMD 56860 (SEV-SNP Firmware ABI), chapter 10. The layouts themselves are
those of `cloister.evidence.sev_keys`.
"""

from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cloister.evidence.sev_keys import EcKey, EcSignature

__all__ = ["derived_p384", "ec_key_record", "ec_signature", "new_rsa"]

ORDER: Final = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16
)
"""Of the group of P-384 (FIPS 186-5 and SP 800-186, section 3.2.1.4)."""
SPARE: Final = 8
"""Bytes more than the order has, so that the remainder is as good as evenly spread (FIPS 186-5, A.2.1)."""


def derived_p384(secret: bytes, purpose: bytes) -> ec.EllipticCurvePrivateKey:
    """The P-384 key that a chip derives from its secret for one purpose, the same each time.

    How AMD's boot loader derives keys is not published. What matters is kept: another secret, or another purpose (for a
    VCEK that includes the TCB version, AMD 57230, chapter 1), is another key.
    """
    size = (ORDER.bit_length() + 7) // 8 + SPARE
    digits = HKDF(algorithm=hashes.SHA384(), length=size, salt=None, info=purpose).derive(secret)
    return ec.derive_private_key(int.from_bytes(digits) % (ORDER - 1) + 1, ec.SECP384R1())


def new_rsa(bits: int) -> rsa.RSAPrivateKey:
    """A fresh key of an authority. 4096 bits, as AMD's have, take seconds."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def ec_signature(
    key: ec.EllipticCurvePrivateKey, message: bytes, algorithm: hashes.SHA256 | hashes.SHA384
) -> EcSignature:
    """An ECDSA signature as AMD lays it out.

    Deterministic (RFC 6979): a platform's certificates are made again at each start, and must be the same again, since
    a guest's owner remembers the bytes.
    """
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(algorithm, deterministic_signing=True)))
    return EcSignature(r=r.to_bytes(72, "little"), s=s.to_bytes(72, "little"))


def ec_key_record(key: ec.EllipticCurvePublicKey) -> EcKey:
    """A P-384 public key as AMD lays it out."""
    numbers = key.public_numbers()
    return EcKey.of(numbers.x.to_bytes(48) + numbers.y.to_bytes(48))
