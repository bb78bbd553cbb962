"""SIGSTRUCTs under keys made here, as an enclave's author makes them."""

import functools
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from cloister.emulate.vendors import sigstruct as author
from cloister.evidence.sigstruct import DEBUG_HEADER, HEADER, Sigstruct
from cloister.measure.sigstruct import number

__all__ = ["image_with", "signing_key", "sigstruct"]


@functools.cache
def signing_key() -> rsa.RSAPrivateKey:
    """An author's key, made once: RSA-3072 with exponent 3."""
    return author.signing_key()


def sigstruct(*, debug: bool = False, key: rsa.RSAPrivateKey | None = None, **changes: Any) -> Sigstruct:
    """A signed SIGSTRUCT; `changes` are fields, taken before it is signed. Signature, q1 and q2 may be changed too."""
    key = key or signing_key()
    values: dict[str, Any] = {
        "header": DEBUG_HEADER if debug else HEADER, "vendor": 0, "date": 0x20260601, "swdefined": 0,
        "modulus": number(key.public_key().public_numbers().n), "signature": bytes(384), "miscselect": 0,
        "miscmask": 0xFFFFFFFF, "isvfamilyid": bytes(16),
        "attributes": bytes.fromhex("04" + 7 * "00" + "03" + 7 * "00"), "attribute_mask": b"\xff" * 16,
        "enclave_hash": bytes(range(32)), "isvextprodid": bytes(16), "isvprodid": 7, "isvsvn": 3,
        "q1": bytes(384), "q2": bytes(384),
    }  # fmt: skip
    signed = author.signed(Sigstruct(**values | changes), key)
    made = {name: getattr(signed, name) for name in ("signature", "q1", "q2")}
    return Sigstruct(**values | made | changes)


def image_with(
    content: bytes, *, section: bytes = b".note.sgxmeta", magic: bytes = bytes.fromhex("4c0e5d639402a886")
) -> bytes:
    """The smallest ELF file that has a SIGSTRUCT in its enclave metadata."""
    note = (13).to_bytes(4, "little") + bytes(8) + b"sgx_metadata\0" + magic + bytes(56) + content
    names = b"\0" + section + b"\0"
    place, names_place = 64, 64 + len(note)
    table = names_place + len(names)
    header = b"\x7fELF\x02\x01" + bytes(34) + table.to_bytes(8, "little") + bytes(10) + (64).to_bytes(2, "little")
    header += (2).to_bytes(2, "little") + (1).to_bytes(2, "little")
    return header + note + names + section_header(1, place, len(note)) + section_header(0, names_place, len(names))


def section_header(name: int, place: int, size: int) -> bytes:
    """An ELF section header: name, place and size are all that is read."""
    return name.to_bytes(4, "little") + bytes(20) + place.to_bytes(8, "little") + size.to_bytes(8, "little") + bytes(24)
