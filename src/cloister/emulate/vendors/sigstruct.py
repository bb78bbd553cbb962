"""What an enclave's author does: signs measurement, attributes and versions as a SIGSTRUCT (Intel SDM 3D, 38.13).

    key = keystore.key("author", signing_key)
    signed = sign_enclave(key, mrenclave, date=today, isvprodid=7, isvsvn=3)      # 1808 bytes, for EINIT

The author is nobody's manufacturer: MRSIGNER is the hash of whatever key there is.
"""

import dataclasses
import hashlib
from dataclasses import dataclass
from datetime import date as calendar_date
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from cloister.errors import UsageError
from cloister.evidence.sigstruct import DEBUG_HEADER, HEADER, Sigstruct

__all__ = ["MODE64", "XFRM_LEGACY", "Product", "mrsigner", "number", "sign_enclave", "signed", "signing_key"]

BITS: Final = 3072
EXPONENT: Final = 3
SIZE: Final = BITS // 8
MODE64: Final = 0x04
"""ATTRIBUTES.FLAGS.MODE64BIT (Intel SDM 3D, 38.7.1)."""
XFRM_LEGACY: Final = 0x03
"""ATTRIBUTES.XFRM: x87 and SSE state, without which no enclave starts."""


@dataclass(frozen=True, kw_only=True)
class Product:
    """What the author says of the enclave besides its measurement. Attributes and masks as 128-bit numbers' bytes.

    The masks say which bits the processor compares: with all ones, the enclave starts with exactly these attributes.
    """

    attributes: bytes = MODE64.to_bytes(8, "little") + XFRM_LEGACY.to_bytes(8, "little")
    attribute_mask: bytes = b"\xff" * 16
    miscselect: int = 0
    miscmask: int = 0xFFFFFFFF
    isvprodid: int = 0
    isvsvn: int = 0
    isvfamilyid: bytes = bytes(16)
    isvextprodid: bytes = bytes(16)


def signing_key() -> rsa.RSAPrivateKey:
    """A fresh author's key: RSA-3072 with exponent 3."""
    return rsa.generate_private_key(public_exponent=EXPONENT, key_size=BITS)


def mrsigner(key: rsa.RSAPrivateKey) -> bytes:
    """The identity of who signs with this key: SHA-256 of the modulus, little-endian. UsageError as `signed`."""
    return hashlib.sha256(number(_modulus(key))).digest()


def sign_enclave(
    key: rsa.RSAPrivateKey,
    mrenclave: bytes,
    *,
    date: calendar_date,
    product: Product = Product(),
    debug: bool = False,
    vendor: int = 0,
    swdefined: int = 0,
) -> bytes:
    """A SIGSTRUCT of 1808 bytes for the enclave with this MRENCLAVE (32 bytes).

    `date` is the author's word. `debug` says in the header that the key is only good for debug enclaves; whether the
    enclave may be debugged is a bit of its attributes. UsageError if the key is not RSA-3072 with exponent 3.
    """
    unsigned = Sigstruct(
        header=DEBUG_HEADER if debug else HEADER, vendor=vendor, date=int(f"{date:%Y%m%d}", 16), swdefined=swdefined,
        modulus=number(_modulus(key)), signature=bytes(SIZE), q1=bytes(SIZE), q2=bytes(SIZE),
        enclave_hash=mrenclave, **dataclasses.asdict(product),
    )  # fmt: skip
    return signed(unsigned, key).serialize()


def signed(unsigned: Sigstruct, key: rsa.RSAPrivateKey) -> Sigstruct:
    """The same with signature, Q1 and Q2, which let the processor verify without dividing (SDM 3D, EINIT).

    UsageError if the key is not RSA-3072 with exponent 3: no processor takes others.
    """
    n = _modulus(key)
    s = int.from_bytes(key.sign(unsigned.signed, padding.PKCS1v15(), hashes.SHA256()))
    values = {name: value for name, value in unsigned.fields() if not name.startswith("reserved")}
    made = {"signature": number(s), "q1": number(s * s // n), "q2": number(s * (s * s % n) // n)}
    return Sigstruct(**values | made)


def _modulus(key: rsa.RSAPrivateKey) -> int:
    numbers = key.public_key().public_numbers()
    if (key.key_size, numbers.e) != (BITS, EXPONENT):
        raise UsageError(
            f"enclaves are signed with RSA-{BITS} and exponent {EXPONENT}; this key is RSA-{key.key_size} with exponent"
            f" {numbers.e}: make one with `openssl genrsa -3 {BITS}`"
        )
    return numbers.n


def number(value: int) -> bytes:
    """A number of 3072 bits as SIGSTRUCT has them: 384 bytes, little-endian."""
    return value.to_bytes(SIZE, "little")
