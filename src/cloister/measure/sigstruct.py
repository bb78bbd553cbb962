"""What an enclave's author signs, put together and completed; the signature itself comes from elsewhere.

Intel SDM volume 3D, section 38.13. The author may hold the key in a file, or in a device that only signs 256 bytes:
`unsigned` gives these bytes, `complete` takes the signature back, with the two quotients that let the processor verify
it without dividing. No key is here.
"""

import dataclasses
from dataclasses import dataclass
from datetime import date as calendar_date
from typing import Final

from cloister._wire import Record, raw, reserved, u16, u32
from cloister.errors import UsageError
from cloister.evidence.sigstruct import DEBUG_HEADER, HEADER, HEADER2, Sigstruct
from cloister.evidence.sigstruct import parse as parse_sigstruct

__all__ = [
    "BITS",
    "EXPONENT",
    "MODE64",
    "SIGNED",
    "XFRM_LEGACY",
    "Product",
    "check_key",
    "complete",
    "number",
    "parse_unsigned",
    "product_of",
    "unsigned",
]

BITS: Final = 3072
EXPONENT: Final = 3
SIZE: Final = BITS // 8
SIGNED: Final = 256
"""Bytes under the signature."""

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


class _Unsigned(Record, size=SIGNED):
    """The 256 bytes: the first 128 of SIGSTRUCT, and 900 to 1027."""

    header: bytes = raw(16)
    vendor: int = u32()
    date: int = u32()
    header2: bytes = raw(16, equals=HEADER2)
    swdefined: int = u32()
    reserved_44: bytes = reserved(84)
    miscselect: int = u32()
    miscmask: int = u32()
    reserved_136: bytes = reserved(4)
    isvfamilyid: bytes = raw(16)
    attributes: bytes = raw(16)
    attribute_mask: bytes = raw(16)
    enclave_hash: bytes = raw(32)
    reserved_224: bytes = reserved(16)
    isvextprodid: bytes = raw(16)
    isvprodid: int = u16()
    isvsvn: int = u16()


def product_of(one: Sigstruct) -> Product:
    """What a SIGSTRUCT says besides the measurement: for signing the same product again, under another key."""
    return Product(**{field.name: getattr(one, field.name) for field in dataclasses.fields(Product)})


def unsigned(
    mrenclave: bytes,
    *,
    date: calendar_date,
    product: Product = Product(),
    debug: bool = False,
    vendor: int = 0,
    swdefined: int = 0,
) -> Sigstruct:
    """A SIGSTRUCT for the enclave with this MRENCLAVE (32 bytes), without key and signature.

    `date` is the author's word. `debug` says in the header that the key is only good for debug enclaves; whether the
    enclave may be debugged is a bit of its attributes.
    """
    if len(mrenclave) != 32:
        raise UsageError(f"an MRENCLAVE has 32 bytes, not {len(mrenclave)}")
    return Sigstruct(
        header=DEBUG_HEADER if debug else HEADER, vendor=vendor, date=int(f"{date:%Y%m%d}", 16), swdefined=swdefined,
        modulus=bytes(SIZE), signature=bytes(SIZE), q1=bytes(SIZE), q2=bytes(SIZE),
        enclave_hash=mrenclave, **dataclasses.asdict(product),
    )  # fmt: skip


def complete(one: Sigstruct, *, modulus: int, exponent: int, signature: int) -> Sigstruct:
    """The same with key, signature, Q1 and Q2 (SDM 3D, EINIT). UsageError if no processor takes such a key.

    That the signature is by this key over these bytes is not checked here: cloister.verification.sigstruct does.
    """
    check_key(modulus, exponent)
    if not 0 < signature < modulus:
        raise UsageError(f"the signature is no number below the key's modulus: it has {SIZE} bytes, big-endian")
    values = {name: value for name, value in one.fields() if not name.startswith("reserved")}
    square = signature * signature
    made = {
        "modulus": number(modulus), "signature": number(signature), "q1": number(square // modulus),
        "q2": number(signature * (square % modulus) // modulus),
    }  # fmt: skip
    return Sigstruct(**values | made)


def check_key(modulus: int, exponent: int) -> None:
    """UsageError if no processor takes signatures by such a key."""
    if (modulus.bit_length(), exponent) != (BITS, EXPONENT):
        raise UsageError(
            f"enclaves are signed with RSA-{BITS} and exponent {EXPONENT}; this key is RSA-{modulus.bit_length()} with"
            f" exponent {exponent}: make one with `openssl genrsa -3 {BITS}`"
        )


def parse_unsigned(data: bytes) -> Sigstruct:
    """The SIGSTRUCT that these 256 bytes are the signed part of. ParseError."""
    values = {name: value for name, value in _Unsigned.parse(data).fields() if not name.startswith("reserved")}
    whole = Sigstruct(**values, modulus=bytes(SIZE), signature=bytes(SIZE), q1=bytes(SIZE),
                      q2=bytes(SIZE))  # fmt: skip
    return parse_sigstruct(whole.serialize())


def number(value: int) -> bytes:
    """A number of 3072 bits as SIGSTRUCT has them: 384 bytes, little-endian."""
    return value.to_bytes(SIZE, "little")
