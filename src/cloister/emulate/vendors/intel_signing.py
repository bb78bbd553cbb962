"""How a quote is signed: the PCK signs the quoting enclave's report, that names the attestation key, that signs.

Intel SGX ECDSA QuoteGenReference, appendix A.4. Whether what is signed is true is for `intel_quoting` to find out.
"""

import dataclasses
import hashlib
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from cloister.emulate.vendors.intel_statements import QE_ATTRIBUTES, QE_IDENTITIES, QE_ISVSVN, QE_SIGNER
from cloister.evidence.dcap import PCK_CHAIN, QuoteHeader, QuoteSignature, SgxReportBody
from cloister.evidence.sgx import SgxQuote
from cloister.evidence.tdx import TdReport10, TdxQuote
from cloister.model import Tee

__all__ = ["QE_MRENCLAVE", "Credentials", "point", "qe_report", "raw_signature", "sgx_quote", "tdx_quote"]

QE_MRENCLAVE: Final = {
    tee: hashlib.sha256(f"Cloister's emulated quoting enclave for {tee.upper()}".encode()).digest()
    for tee in (Tee.SGX, Tee.TDX)
}
AUTHENTICATION_DATA: Final = bytes(range(32))
"""What Intel's quoting enclave hashes together with its key, always the same."""


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What a quoting enclave signs with: its attestation key, the platform's PCK and that key's chain in PEM.

    `cpusvn` (16 bytes) and `pcesvn` are the platform's; `qe_id`, 16 bytes, is the same in all its quotes.
    """

    attestation: ec.EllipticCurvePrivateKey = field(repr=False)
    pck: ec.EllipticCurvePrivateKey = field(repr=False)
    chain: bytes = field(repr=False)
    cpusvn: bytes
    pcesvn: int
    qe_id: bytes


def raw_signature(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """ECDSA with SHA-256: both numbers, 32 bytes each, as Intel writes them."""
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32) + s.to_bytes(32)


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Both coordinates of a P-256 key, 32 bytes each."""
    numbers = key.public_key().public_numbers()
    return numbers.x.to_bytes(32) + numbers.y.to_bytes(32)


def qe_report(
    tee: Tee, attestation: ec.EllipticCurvePrivateKey, *, auth: bytes = AUTHENTICATION_DATA, cpusvn: bytes = bytes(16)
) -> SgxReportBody:
    """The quoting enclave's report: its data is SHA-256(attestation key, authentication data), then 32 zeros."""
    return SgxReportBody(
        cpusvn=cpusvn, miscselect=0, isvextprodid=bytes(16), attributes=QE_ATTRIBUTES, mrenclave=QE_MRENCLAVE[tee],
        mrsigner=QE_SIGNER, configid=bytes(64), isvprodid=QE_IDENTITIES[tee][1], isvsvn=QE_ISVSVN, configsvn=0,
        isvfamilyid=bytes(16), report_data=hashlib.sha256(point(attestation) + auth).digest() + bytes(32),
    )  # fmt: skip


def sgx_quote(header: QuoteHeader, body: SgxReportBody, credentials: Credentials) -> bytes:
    """A signed quote about an enclave."""
    return _signed(SgxQuote(header=header, body=body, signature=_unsigned(Tee.SGX, credentials)), credentials)


def tdx_quote(header: QuoteHeader, body: TdReport10, credentials: Credentials, *, body_type: int) -> bytes:
    """A signed quote about a TD. `body_type` is 0 in version 4; in version 5 it is 2 or 3."""
    signature = _unsigned(Tee.TDX, credentials)
    return _signed(TdxQuote(header=header, body=body, body_type=body_type, signature=signature), credentials)


def _unsigned(tee: Tee, credentials: Credentials) -> QuoteSignature:
    """Everything of the signature data but the signature over the quote."""
    report = qe_report(tee, credentials.attestation, cpusvn=credentials.cpusvn)
    return QuoteSignature(
        signature=bytes(64), attestation_key=point(credentials.attestation), qe_report=report,
        qe_report_signature=raw_signature(credentials.pck, report.serialize()), qe_auth_data=AUTHENTICATION_DATA,
        certification_type=PCK_CHAIN, certification_data=credentials.chain,
    )  # fmt: skip


def _signed(quote: SgxQuote | TdxQuote, credentials: Credentials) -> bytes:
    signature = raw_signature(credentials.attestation, quote.signed)
    return dataclasses.replace(quote, signature=dataclasses.replace(quote.signature, signature=signature)).serialize()
