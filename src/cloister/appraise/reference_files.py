"""Files of reference values, whichever format they are in: our JSON, or a CoRIM."""

from collections.abc import Iterable
from datetime import datetime

from cloister import _crypto
from cloister._x509 import pem_blocks
from cloister.appraise import corim
from cloister.appraise.corim_values import read_corim
from cloister.appraise.reference import ReferenceValues, read_reference_values
from cloister.errors import PolicyError, SignatureInvalid

__all__ = ["read_reference_file", "signer_keys"]


def read_reference_file(
    data: bytes, *, name: str, keys: Iterable[_crypto.PublicKey], at: datetime, unsafe_unsigned: bool = False
) -> ReferenceValues:
    """The reference values in a file; `keys` may sign CoRIMs, `at` is when they must be valid."""
    if corim.looks_like(data):
        return read_corim(data, name=name, keys=keys, at=at, unsafe_unsigned=unsafe_unsigned)
    return read_reference_values(data, name=name)


def signer_keys(data: bytes, *, name: str) -> tuple[_crypto.PublicKey, ...]:
    """The public keys in a PEM file; PolicyError if there is none."""
    try:
        keys = tuple(_crypto.load_spki(der) for der in pem_blocks(data, "PUBLIC KEY"))
    except SignatureInvalid as error:
        raise PolicyError(f"{name}: {error}") from error
    if not keys:
        raise PolicyError(f"{name}: holds no public key in PEM (BEGIN PUBLIC KEY)")
    return keys
