"""What an enclave's author does: signs measurement, attributes and versions as a SIGSTRUCT (Intel SDM 3D, 38.13).

    key = keystore.key("author", signing_key)
    signed = sign_enclave(key, mrenclave, date=today, isvprodid=7, isvsvn=3)      # 1808 bytes, for EINIT

The author is nobody's manufacturer: MRSIGNER is the hash of whatever key there is.
"""

import hashlib
from datetime import date as calendar_date

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from cloister.evidence.sigstruct import Sigstruct
from cloister.measure.sigstruct import BITS, EXPONENT, Product, check_key, complete, number, unsigned

__all__ = ["mrsigner", "sign_enclave", "signed", "signing_key"]


def signing_key() -> rsa.RSAPrivateKey:
    """A fresh author's key: RSA-3072 with exponent 3."""
    return rsa.generate_private_key(public_exponent=EXPONENT, key_size=BITS)


def mrsigner(key: rsa.RSAPrivateKey) -> bytes:
    """The identity of who signs with this key: SHA-256 of the modulus, little-endian. UsageError as `signed`."""
    numbers = key.public_key().public_numbers()
    check_key(numbers.n, numbers.e)
    return hashlib.sha256(number(numbers.n)).digest()


def sign_enclave(
    key: rsa.RSAPrivateKey,
    mrenclave: bytes,
    *,
    date: calendar_date,
    product: Product = Product(),  # noqa: B008 - immutable
    debug: bool = False,
    vendor: int = 0,
    swdefined: int = 0,
) -> bytes:
    """A SIGSTRUCT of 1808 bytes for the enclave with this MRENCLAVE; see cloister.measure.sigstruct.unsigned.

    UsageError if the key is not RSA-3072 with exponent 3.
    """
    made = unsigned(mrenclave, date=date, product=product, debug=debug, vendor=vendor, swdefined=swdefined)
    return signed(made, key).serialize()


def signed(one: Sigstruct, key: rsa.RSAPrivateKey) -> Sigstruct:
    """The same with key, signature, Q1 and Q2. UsageError if no processor takes such a key."""
    numbers = key.public_key().public_numbers()
    signature = int.from_bytes(key.sign(one.signed, padding.PKCS1v15(), hashes.SHA256()))
    return complete(one, modulus=numbers.n, exponent=numbers.e, signature=signature)
