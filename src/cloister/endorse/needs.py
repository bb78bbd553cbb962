"""What evidence needs to be verified, as requests to the vendors' services. Read from it, not verified."""

from dataclasses import dataclass
from typing import Final

from cloister._x509 import Certificate, common_name, pem_blocks
from cloister.endorse.intel import SGX_EXTENSIONS, pck_info
from cloister.endorse.piece import plain
from cloister.errors import UsageError
from cloister.evidence.dcap import PCK_CHAIN, Quote
from cloister.evidence.snp import Product, Report, SigningKey
from cloister.model import Tee

__all__ = ["PCK_CAS", "AmdRequest", "IntelRequest", "Request", "needs"]

PCK_CAS: Final = {"PCK Platform CA": "platform", "PCK Processor CA": "processor"}
"""How the names of the issuers of PCK certificates end, and what the service calls their revocation lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntelRequest:
    """The statements about one platform family: `fmspc` in hexadecimal, `ca` is `platform` or `processor`."""

    tee: Tee
    fmspc: str
    ca: str

    def __str__(self) -> str:
        return f"Intel {self.tee.upper()}, FMSPC {self.fmspc}, {self.ca} CA"


@dataclass(frozen=True, slots=True, kw_only=True)
class AmdRequest:
    """The certificates of a product, and with `chip_id` (64 bytes) and `tcb` (8 bytes) that of one chip's key too.

    `products` are tried in order: old reports do not say which they are of.
    """

    products: tuple[Product, ...]
    kind: SigningKey = SigningKey.VCEK
    chip_id: bytes = b""
    tcb: bytes = b""

    def __str__(self) -> str:
        chip = f", chip {self.chip_id.hex()[:16]}…" if self.chip_id else ""
        return f"AMD {' or '.join(self.products)} ({self.kind.name}){chip}"


Request = IntelRequest | AmdRequest


def needs(evidence: object) -> list[Request]:
    """What vouches for this evidence at the vendors' services; UsageError says why there is nothing to fetch."""
    if isinstance(evidence, Quote):
        return [_of_quote(evidence)]
    if isinstance(evidence, Report):
        return [_of_report(evidence)]
    kind = getattr(evidence, "tee", type(evidence).__name__)
    raise UsageError(
        f"nothing is fetched for {kind} evidence: who vouches for it hands over keys or certificates himself"
    )


def _of_quote(quote: Quote) -> IntelRequest:
    """The PCK certificate in the quote names the platform family and who issued it."""
    signature = quote.signature
    if signature.certification_type != PCK_CHAIN:
        raise UsageError(
            f"this quote carries no PCK certificate (certification data of type {signature.certification_type}), so it"
            " does not say of which platform family it is; have it made with Intel's quote provider library installed"
        )
    for block in pem_blocks(signature.certification_data, "CERTIFICATE"):
        certificate = Certificate.parse(block)
        if SGX_EXTENSIONS in certificate.extensions:
            return IntelRequest(tee=quote.tee, fmspc=pck_info(certificate).fmspc.hex(), ca=_authority(certificate))
    raise UsageError("none of the certificates in this quote is a PCK certificate; the quote cannot be verified")


def _authority(certificate: Certificate) -> str:
    issuer = common_name(certificate.issuer)
    for ending, ca in PCK_CAS.items():
        if issuer.endswith(ending):
            return ca
    raise UsageError(
        f"the PCK certificate was issued by {plain(issuer)!r}, which is neither of {' and '.join(PCK_CAS)}"
    )


def _of_report(report: Report) -> AmdRequest:
    """The report names its chip and TCB, and from version 3 on its product."""
    kind = report.signing_key
    if kind is SigningKey.NONE:
        raise UsageError(
            "this report is not signed: its host had the firmware leave the signature out; nothing can vouch for it"
        )
    known = kind is SigningKey.VCEK and any(report.chip_id)
    return AmdRequest(
        products=report.products, kind=kind,
        chip_id=report.chip_id if known else b"", tcb=report.reported_tcb if known else b"",
    )  # fmt: skip
