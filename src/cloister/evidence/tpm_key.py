"""A TPM's attestation key as it is handed over: PEM, DER, or the TPM's own public area.

All become a DER SubjectPublicKeyInfo, by which keys are pinned and loaded.

TCG TPM 2.0 Library, part 2, section 12.2.4 (TPMT_PUBLIC); RFC 8017, A.1.1 and RFC 5480, section 2 (the DER forms);
RFC 7517 and 7518 (JSON Web Keys). Big-endian.
"""

import base64
import binascii
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cloister._der import BIT_STRING, INTEGER, SEQUENCE, Der
from cloister._wire import Reader
from cloister._x509 import pem_blocks
from cloister.errors import ParseError

__all__ = ["AttestationKey", "TpmPublic", "base64url", "parse_key", "rsa_spki", "spki_of_jwk"]

RSA: Final = 0x0001
ECC: Final = 0x0023
NULL: Final = 0x0010
CURVES: Final = {0x0003: ("P-256", 32), 0x0004: ("P-384", 48), 0x0005: ("P-521", 66)}
"""TPM_ECC_CURVE to name and size of a coordinate."""

CURVE_OIDS: Final = {
    "P-256": bytes.fromhex("06082a8648ce3d030107"),
    "P-384": bytes.fromhex("06052b81040022"),
    "P-521": bytes.fromhex("06052b81040023"),
}
RSA_ALGORITHM: Final = bytes.fromhex("300d06092a864886f70d0101010500")
EC_ALGORITHM: Final = bytes.fromhex("06072a8648ce3d0201")

FIXED_TPM: Final = 1 << 1
RESTRICTED: Final = 1 << 16
DECRYPT: Final = 1 << 17
SIGN: Final = 1 << 18
ATTESTATION_ATTRIBUTES: Final = FIXED_TPM | RESTRICTED | SIGN
"""TPMA_OBJECT of a key that signs only what its TPM made (part 1, section 25.1.5): bound to it, restricted, signing."""

LONGEST: Final = 8192


@dataclass(frozen=True, kw_only=True, slots=True)
class TpmPublic:
    """TPMT_PUBLIC of an RSA or ECC key. `encoded` is the area's exact bytes: the key's name is their hash."""

    encoded: bytes
    name_algorithm: int
    attributes: int
    spki: bytes

    @property
    def attests_only(self) -> bool:
        """Whether the attributes say: bound to its TPM, signs only what the TPM itself made, decrypts nothing."""
        return self.attributes & (ATTESTATION_ATTRIBUTES | DECRYPT) == ATTESTATION_ATTRIBUTES


@dataclass(frozen=True, kw_only=True, slots=True)
class AttestationKey:
    """The key that signs quotes: DER SubjectPublicKeyInfo, and the TPM's public area if it was handed over."""

    spki: bytes
    public: TpmPublic | None = None

    def serialize(self) -> bytes:
        """The public area if there is one, else the SubjectPublicKeyInfo."""
        return self.spki if self.public is None else self.public.encoded


@functools.lru_cache(maxsize=1024)
def parse_key(data: bytes, *, base: int = 0) -> AttestationKey:
    """Read a key from PEM (PUBLIC KEY), DER SubjectPublicKeyInfo, TPMT_PUBLIC or TPM2B_PUBLIC."""
    if len(data) > LONGEST:
        raise ParseError("attestation key", "length", base, f"{len(data)} bytes; at most {LONGEST}")
    if data.lstrip().startswith(b"-----BEGIN"):
        blocks = pem_blocks(data, "PUBLIC KEY", base=base)
        if len(blocks) != 1:
            raise ParseError("attestation key", "PEM", base, f"has {len(blocks)} blocks PUBLIC KEY, not one")
        return AttestationKey(spki=_checked_spki(blocks[0], base))
    if data[:1] == b"\x30":
        return AttestationKey(spki=_checked_spki(data, base))
    if int.from_bytes(data[:2]) == len(data) - 2:
        data, base = data[2:], base + 2
    public = _public(Reader(data, "TPMT_PUBLIC", order="big", base=base), data)
    return AttestationKey(spki=public.spki, public=public)


def _checked_spki(der: bytes, base: int) -> bytes:
    outer = Der(der, "SubjectPublicKeyInfo", base=base)
    inside = outer.inside("sequence")
    outer.finish()
    inside.element("algorithm", SEQUENCE)
    inside.bits("subjectPublicKey")
    inside.finish()
    return der


def _public(reader: Reader, data: bytes) -> TpmPublic:
    kind, name_algorithm, attributes = reader.u16("type"), reader.u16("nameAlg"), reader.u32("objectAttributes")
    reader.take(reader.u16("authPolicy size"), "authPolicy")
    if reader.u16("symmetric") != NULL:
        reader.take(4, "symmetric parameters")
    if kind == RSA:
        spki = _rsa(reader)
    elif kind == ECC:
        spki = _ecc(reader)
    else:
        raise reader.error("type", f"{kind:#x} is neither RSA nor ECC")
    reader.finish()
    return TpmPublic(encoded=data, name_algorithm=name_algorithm, attributes=attributes, spki=spki)


def _rsa(reader: Reader) -> bytes:
    if reader.u16("scheme") != NULL:
        reader.u16("scheme hash")
    bits, exponent = reader.u16("keyBits"), reader.u32("exponent") or 65537
    modulus = reader.take(reader.u16("modulus size"), "modulus")
    if not modulus or len(modulus) * 8 != bits or not modulus[0] & 0x80:
        raise reader.error("modulus", f"{len(modulus)} bytes, or its highest bit is not set, for a key of {bits} bits")
    return rsa_spki(int.from_bytes(modulus), exponent)


def _ecc(reader: Reader) -> bytes:
    if reader.u16("scheme") != NULL:
        reader.u16("scheme hash")
    curve = reader.u16("curveID")
    if curve not in CURVES:
        raise reader.error("curveID", f"{curve:#x} is none of the NIST curves P-256, P-384, P-521")
    if reader.u16("kdf") != NULL:
        reader.u16("kdf hash")
    name, size = CURVES[curve]
    point = b"".join(reader.take(reader.u16(f"{axis} size"), axis).rjust(size, b"\0") for axis in "xy")
    if len(point) != 2 * size:
        raise reader.error("point", f"is too long for {name}")
    return ec_spki(name, point)


def rsa_spki(modulus: int, exponent: int) -> bytes:
    """The DER SubjectPublicKeyInfo of an RSA key."""
    key = _tlv(SEQUENCE, _integer(modulus) + _integer(exponent))
    return _tlv(SEQUENCE, RSA_ALGORITHM + _tlv(BIT_STRING, b"\0" + key))


def ec_spki(curve: str, point: bytes) -> bytes:
    """The DER SubjectPublicKeyInfo of an EC key from its point, x and y one after the other."""
    algorithm = _tlv(SEQUENCE, EC_ALGORITHM + CURVE_OIDS[curve])
    return _tlv(SEQUENCE, algorithm + _tlv(BIT_STRING, b"\0\x04" + point))


def _integer(value: int) -> bytes:
    return _tlv(INTEGER, value.to_bytes(value.bit_length() // 8 + 1))


def _tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes([size]) if size < 0x80 else _long(size)
    return bytes([tag]) + length + content


def _long(size: int) -> bytes:
    digits = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([0x80 | len(digits)]) + digits


def spki_of_jwk(key: Mapping[str, object], record: str) -> bytes:
    """The DER SubjectPublicKeyInfo of an RSA key in a JSON Web Key; `record` names it in errors."""
    if key.get("kty") != "RSA":
        raise ParseError(record, "kty", 0, f"is {key.get('kty')!r}; only RSA is understood")
    modulus, exponent = (int.from_bytes(base64url(key.get(name), name, record)) for name in "ne")
    if modulus.bit_length() < 2048 or exponent < 3 or len(str(key)) > LONGEST:
        raise ParseError(record, "n", 0, f"an RSA key of {modulus.bit_length()} bits is not an attestation key")
    return rsa_spki(modulus, exponent)


def base64url(text: object, name: str, record: str) -> bytes:
    """Bytes from base64url (RFC 4648, section 5), in its one form, with or without padding."""
    if not isinstance(text, str):
        raise ParseError(record, name, 0, "is missing, or not a string")
    try:
        value = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise ParseError(record, name, 0, f"is not base64url: {error}") from error
    if base64.urlsafe_b64encode(value).decode("ascii").rstrip("=") != text.rstrip("="):
        raise ParseError(record, name, 0, "is not base64url in its one form")
    return value
