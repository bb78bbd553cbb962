"""AMD's endorsements: VCEK and VLEK certificates, where the Key Distribution Service has them, the legacy SEV roots.

AMD document 57230 (VCEK Certificate and KDS Interface Specification): the extensions in chapter 3, the paths in
chapter 4. Only parsed here; `cloister.verification.snp` decides what to believe.
"""

import functools
from dataclasses import dataclass
from typing import Final

from cloister._der import Der
from cloister._x509 import Certificate
from cloister.errors import ParseError
from cloister.evidence.snp import Product, SigningKey

__all__ = ["KDS", "EkInfo", "chain_path", "crl_path", "ek_info", "is_ek", "issuer_name", "kds_path"]

KDS: Final = "https://kdsintf.amd.com"
"""AMD's Key Distribution Service. VLEK certificates it gives to cloud providers only."""

ARC: Final = "1.3.6.1.4.1.3704.1."
PRODUCT_NAME: Final = ARC + "2"
HW_ID: Final = ARC + "4"
CSP_ID: Final = ARC + "5"
SPLS: Final = {
    "blSPL": ARC + "3.1", "teeSPL": ARC + "3.2", "snpSPL": ARC + "3.3", "spl4": ARC + "3.4", "spl5": ARC + "3.5",
    "spl6": ARC + "3.6", "spl7": ARC + "3.7", "ucodeSPL": ARC + "3.8", "fmcSPL": ARC + "3.9",
}  # fmt: skip
"""Security patch level by its name in KDS queries (the reserved ones have none there) to its extension."""

MILAN_LAYOUT: Final = ("blSPL", "teeSPL", "spl4", "spl5", "spl6", "spl7", "snpSPL", "ucodeSPL")
TURIN_LAYOUT: Final = ("fmcSPL", "blSPL", "teeSPL", "snpSPL", "spl5", "spl6", "spl7", "ucodeSPL")
"""Which level is which byte of a TCB version."""

RESERVED: Final = frozenset({"spl4", "spl5", "spl6", "spl7"})
TURIN_HW_ID: Final = 8
"""Bytes of a Turin chip identifier; earlier ones have 64. In reports zeros follow."""

P384: Final = bytes.fromhex("3076301006072a8648ce3d020106052b8104002203620004")
"""How the SubjectPublicKeyInfo of every P-384 key begins."""

IA5_STRING: Final = 0x16
OCTET_STRING: Final = 0x04


@dataclass(frozen=True, slots=True, kw_only=True)
class EkInfo:
    """What an endorsement key certificate says: for which product, at which TCB, and for which chip or provider.

    `tcb` are the 8 bytes of a TCB version in the product's layout. `hw_id` is a VCEK's chip identifier (64 bytes, Turin
    8) and empty in a VLEK; `csp_id` is the provider that a VLEK was made for, empty in a VCEK.
    """

    kind: SigningKey
    product: Product
    product_name: str
    tcb: bytes
    hw_id: bytes
    csp_id: str

    @property
    def chip_id(self) -> bytes:
        """The chip identifier as reports have it, 64 bytes."""
        return self.hw_id.ljust(64, b"\0")


def is_ek(certificate: Certificate) -> bool:
    """Whether this is a VCEK or VLEK certificate: it names an AMD product."""
    return PRODUCT_NAME in certificate.extensions


@functools.lru_cache(maxsize=4096)
def ek_info(certificate: Certificate) -> EkInfo:
    """The extensions of a VCEK or VLEK certificate, or ParseError."""
    name = _text(certificate, PRODUCT_NAME, "productName")
    product = _product(certificate, name)
    layout = TURIN_LAYOUT if product is Product.TURIN else MILAN_LAYOUT
    hw_id, csp_id = _hw_id(certificate, product), ""
    if not hw_id:
        csp_id = _text(certificate, CSP_ID, "cspID")
    elif CSP_ID in certificate.extensions:
        raise _refusal(certificate, CSP_ID, "cspID", "stands beside a hwID; a certificate is for a chip or a provider")
    if not certificate.spki.startswith(P384):
        raise ParseError("EK certificate", "subjectPublicKeyInfo", 0, "is no P-384 key; endorsement keys are")
    return EkInfo(
        kind=SigningKey.VCEK if hw_id else SigningKey.VLEK, product=product, product_name=name,
        tcb=bytes(_spl(certificate, level) for level in layout), hw_id=hw_id, csp_id=csp_id,
    )  # fmt: skip


def _product(certificate: Certificate, name: str) -> Product:
    """`Milan-B0` and `Genoa` are the product line, with or without a stepping."""
    try:
        return Product(name.partition("-")[0])
    except ValueError:
        raise _refusal(certificate, PRODUCT_NAME, "productName", f"is {name!r}, which is not a known product") from None


def _spl(certificate: Certificate, level: str) -> int:
    if SPLS[level] not in certificate.extensions and level in RESERVED:
        return 0
    reader = _reader(certificate, SPLS[level], level)
    value = reader.integer(level)
    reader.finish()
    if not 0 <= value <= 0xFF:
        raise _refusal(certificate, SPLS[level], level, f"is {value}; patch levels have one byte")
    return value


def _hw_id(certificate: Certificate, product: Product) -> bytes:
    """The chip identifier. AMD writes its bytes without an OCTET STRING around them; both forms are read."""
    if HW_ID not in certificate.extensions:
        return b""
    size = TURIN_HW_ID if product is Product.TURIN else 64
    value = certificate.extensions[HW_ID].value
    if len(value) == size + 2 and value[0] == OCTET_STRING:
        value = _reader(certificate, HW_ID, "hwID").octets("hwID")
    if len(value) != size:
        raise _refusal(certificate, HW_ID, "hwID", f"has {len(value)} bytes; {product} chips have {size}")
    return value


def _text(certificate: Certificate, oid: str, name: str) -> str:
    reader = _reader(certificate, oid, name)
    _, content, _ = reader.element(name, IA5_STRING)
    reader.finish()
    if not content or not content.isascii():
        raise _refusal(certificate, oid, name, "is not a text in ASCII")
    return content.decode("ascii")


def _reader(certificate: Certificate, oid: str, name: str) -> Der:
    extension = certificate.extensions.get(oid)
    if extension is None:
        raise ParseError("EK certificate", name, 0, f"{certificate.name!r} has no such extension ({oid})")
    return Der(extension.value, "EK certificate", base=extension.offset)


def _refusal(certificate: Certificate, oid: str, name: str, reason: str) -> ParseError:
    return ParseError("EK certificate", name, certificate.extensions[oid].offset, reason)


def issuer_name(kind: SigningKey, product: Product) -> str:
    """The common name of AMD's certificate authority for these keys (the ASK, or the ASVK for VLEKs)."""
    return f"SEV-VLEK-{product}" if kind is SigningKey.VLEK else f"SEV-{product}"


def kds_path(kind: SigningKey, product: Product, chip_id: bytes, tcb: bytes) -> str:
    """Where the KDS has the certificate of the key that signed a report; `chip_id` and `tcb` as the report has them."""
    turin = product is Product.TURIN
    levels = zip(TURIN_LAYOUT if turin else MILAN_LAYOUT, tcb, strict=True)
    query = "&".join(f"{level}={value:02}" for level, value in levels if level not in RESERVED)
    if kind is SigningKey.VLEK:
        return f"/vlek/v1/{product}/cert?{query}"
    return f"/vcek/v1/{product}/{(chip_id[:TURIN_HW_ID] if turin else chip_id).hex()}?{query}"


def chain_path(kind: SigningKey, product: Product) -> str:
    """Where the KDS has the certificates of the ASK (or ASVK) and the ARK."""
    return f"/{kind.name.lower()}/v1/{product}/cert_chain"


def crl_path(kind: SigningKey, product: Product) -> str:
    """Where the KDS has the ARK's revocation list, which is about the ASKs and ASVKs."""
    return f"/{kind.name.lower()}/v1/{product}/crl"
