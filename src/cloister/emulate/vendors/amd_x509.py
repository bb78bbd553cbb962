"""X.509 certificates in exactly AMD's form (AMD 57230, VCEK Certificate and KDS Interface Specification, chapter 3).

Written in DER here, because endorsement keys' certificates have what the crypto library does not write: a serial number
of 0, and no basicConstraints.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from cloister._x509 import Certificate
from cloister.emulate.vendors.amd_products import MODELS
from cloister.emulate.vendors.x509 import der_integer, der_of, der_oid
from cloister.evidence.snp import Product

__all__ = ["CSP_ID", "HW_ID", "PRODUCT_NAME", "TCB_LEVELS", "DerExtension", "certify", "ek_extensions"]

ARC: Final = "1.3.6.1.4.1.3704.1."
STRUCT_VERSION: Final = ARC + "1"
PRODUCT_NAME: Final = ARC + "2"
HW_ID: Final = ARC + "4"
CSP_ID: Final = ARC + "5"
BOOT_LOADER, TEE, SNP, SPL_4, SPL_5, SPL_6, SPL_7, MICROCODE, FMC = (f"{ARC}3.{number}" for number in range(1, 10))
MILAN_LEVELS: Final = (BOOT_LOADER, TEE, SPL_4, SPL_5, SPL_6, SPL_7, SNP, MICROCODE)
TCB_LEVELS: Final = {
    Product.MILAN: MILAN_LEVELS,
    Product.GENOA: MILAN_LEVELS,
    Product.TURIN: (FMC, BOOT_LOADER, TEE, SNP, SPL_5, SPL_6, SPL_7, MICROCODE),
}
"""Which extension has which byte of a TCB version."""

SEQUENCE, BIT_STRING, OCTET_STRING, BOOLEAN, IA5_STRING = 0x30, 0x03, 0x04, 0x01, 0x16
NULL, UTC_TIME, GENERALIZED_TIME = 0x05, 0x17, 0x18
LAST_UTC_YEAR: Final = 2049
"""Of a UTCTime (RFC 5280, section 4.1.2.5)."""

SHA384: Final = der_of(SEQUENCE, der_oid("2.16.840.1.101.3.4.2.2"), der_of(NULL))
MGF1: Final = der_of(SEQUENCE, der_oid("1.2.840.113549.1.1.8"), SHA384)
RSA_PSS: Final = der_of(
    SEQUENCE, der_oid("1.2.840.113549.1.1.10"),
    der_of(SEQUENCE, der_of(0xA0, SHA384), der_of(0xA1, MGF1), der_of(0xA2, der_integer(48))),
)  # fmt: skip
PSS: Final = padding.PSS(mgf=padding.MGF1(hashes.SHA384()), salt_length=48)
"""RSASSA-PSS with SHA-384, MGF1 with SHA-384 and a salt of 48 bytes (RFC 4055, section 3.1)."""


class DerExtension(NamedTuple):
    """An extension: its object identifier, its value in DER, and whether it is critical."""

    oid: str
    value: bytes
    critical: bool = False


class Signer(NamedTuple):
    """Who signs a certificate: name and RSA key."""

    name: x509.Name
    key: rsa.RSAPrivateKey


def ek_extensions(product: Product, tcb: bytes, *, hw_id: bytes = b"", csp_id: str = "") -> dict[str, bytes]:
    """The extensions of a VCEK's (`hw_id`) or VLEK's (`csp_id`) certificate: DER by object identifier.

    As real ones have them: hwID without an OCTET STRING around it, a VLEK's product without stepping.
    """
    name = str(product) if csp_id else MODELS[product].product_name
    found = {STRUCT_VERSION: der_integer(0), PRODUCT_NAME: ia5(name)}
    found |= {oid: der_integer(level) for oid, level in zip(TCB_LEVELS[product], tcb, strict=True)}
    return found | ({CSP_ID: ia5(csp_id)} if csp_id else {HW_ID: hw_id})


def certify(
    name: x509.Name,
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    issuer: Signer,
    *,
    start: datetime,
    end: datetime,
    serial: int = 0,
    extensions: Iterable[DerExtension] | Mapping[str, bytes] = (),
) -> Certificate:
    """A certificate signed as AMD signs: RSASSA-PSS with SHA-384. Extensions are exactly those given."""
    given = extensions.items() if isinstance(extensions, Mapping) else extensions
    tbs = der_of(
        SEQUENCE,
        der_of(0xA0, der_integer(2)),
        der_integer(serial),
        RSA_PSS,
        issuer.name.public_bytes(),
        der_of(SEQUENCE, _time(start), _time(end)),
        name.public_bytes(),
        key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        der_of(0xA3, der_of(SEQUENCE, *(_extension(DerExtension(*one)) for one in given))),
    )
    signature = issuer.key.sign(tbs, PSS, hashes.SHA384())
    return Certificate.parse(der_of(SEQUENCE, tbs, RSA_PSS, der_of(BIT_STRING, b"\0", signature)))


def ia5(text: str) -> bytes:
    """A DER IA5String."""
    return der_of(IA5_STRING, text.encode("ascii"))


def _extension(one: DerExtension) -> bytes:
    critical = der_of(BOOLEAN, b"\xff") if one.critical else b""
    return der_of(SEQUENCE, der_oid(one.oid), critical, der_of(OCTET_STRING, one.value))


def _time(at: datetime) -> bytes:
    if at.year <= LAST_UTC_YEAR:
        return der_of(UTC_TIME, f"{at:%y%m%d%H%M%SZ}".encode("ascii"))
    return der_of(GENERALIZED_TIME, f"{at:%Y%m%d%H%M%SZ}".encode("ascii"))
