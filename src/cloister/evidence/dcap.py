"""Intel DCAP quotes: the frame that SGX and TDX quotes share.

Intel SGX ECDSA QuoteGenReference (version 3), Intel TDX DCAP Quoting Library API, appendix 3 (versions 4, 5).

    version 3    header 48 | SGX body 384                          | u32 size, signature data
    version 4    header 48 | SGX body 384 or TD body 584           | u32 size, signature data
    version 5    header 48 | u16 type, u32 size, body 384/584/648  | u32 size, signature data

Signature data: quote signature 64, attestation key 64, then the quoting enclave's report, its signature, its
authentication data and the certification data; from version 4 on these are wrapped in certification data of type 6.
"""

import functools
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, TypeVar

from cloister._wire import Reader, Record, frozen, nested, raw, reserved, u16, u32
from cloister.errors import ParseError
from cloister.model import Tee

__all__ = [
    "ECDSA_P256",
    "PCK_CHAIN",
    "Quote",
    "QuoteHeader",
    "QuoteSignature",
    "SgxReportBody",
    "looks_like_quote",
    "parse_quote",
]

ECDSA_P256: Final = 2
"""The only attestation key type that Intel's quoting enclaves use."""

SGX_TEE_TYPE: Final = 0
TDX_TEE_TYPE: Final = 0x81
TEES: Final = {SGX_TEE_TYPE: Tee.SGX, TDX_TEE_TYPE: Tee.TDX}
VERSIONS: Final = {Tee.SGX: frozenset({3, 4, 5}), Tee.TDX: frozenset({4, 5})}
PCK_CHAIN: Final = 5
"""Certification data type: the PCK certificate chain in PEM."""

QE_REPORT: Final = 6
"""Certification data type: the quoting enclave's report and what belongs to it."""

TYPE_AND_SIZE: Final = struct.Struct("<HI")
BODY_TYPES: Final = {1: Tee.SGX, 2: Tee.TDX, 3: Tee.TDX}
LONGEST: Final = 65_536
"""Bytes. Real quotes have 4 to 10 kB."""


class QuoteHeader(Record, size=48):
    """The quote's header. `qe_vendor_id` names who wrote the quoting enclave."""

    version: int = u16()
    attestation_key_type: int = u16()
    tee_type: int = u32()
    qe_svn: int = u16()
    pce_svn: int = u16()
    qe_vendor_id: bytes = raw(16)
    user_data: bytes = raw(20)


class SgxReportBody(Record, size=384):
    """REPORTBODY of an SGX enclave (Intel SDM volume 3D, section 38.15, without the key id and MAC)."""

    cpusvn: bytes = raw(16)
    miscselect: int = u32()
    reserved_20: bytes = reserved(12)
    isvextprodid: bytes = raw(16)
    attributes: bytes = raw(16)
    mrenclave: bytes = raw(32)
    reserved_96: bytes = reserved(32)
    mrsigner: bytes = raw(32)
    reserved_160: bytes = reserved(32)
    configid: bytes = raw(64)
    isvprodid: int = u16()
    isvsvn: int = u16()
    configsvn: int = u16()
    reserved_262: bytes = reserved(42)
    isvfamilyid: bytes = raw(16)
    report_data: bytes = raw(64)


class _SignatureHead(Record, size=576):
    """The fixed part of version 3's signature data."""

    signature: bytes = raw(64)
    attestation_key: bytes = raw(64)
    qe_report: SgxReportBody = nested(SgxReportBody)
    qe_report_signature: bytes = raw(64)


class _WrappedSignatureHead(Record, size=582):
    """The fixed part of the signature data from version 4 on, up to the quoting enclave's signature."""

    signature: bytes = raw(64)
    attestation_key: bytes = raw(64)
    certification_type: int = u16(equals=QE_REPORT)
    size: int = u32()
    qe_report: SgxReportBody = nested(SgxReportBody)
    qe_report_signature: bytes = raw(64)


@dataclass(frozen=True, kw_only=True)
class QuoteSignature:
    """Who signed a quote: attestation key (x, y), the quoting enclave that made it, its platform's certificate.

    `qe_auth_data` may be empty. `certification_data` is as it stands; type 5 is a PEM chain.
    """

    signature: bytes
    attestation_key: bytes
    qe_report: SgxReportBody
    qe_report_signature: bytes
    qe_auth_data: bytes
    certification_type: int
    certification_data: bytes = field(repr=False)

    def serialize(self, version: int) -> bytes:
        """Signature data with its length before it, framed as this quote version does."""
        certification = framed(self.certification_type, self.certification_data)
        auth = len(self.qe_auth_data).to_bytes(2, "little") + self.qe_auth_data
        inner = self.qe_report.serialize() + self.qe_report_signature + auth + certification
        if version > 3:
            inner = framed(QE_REPORT, inner)
        data = self.signature + self.attestation_key + inner
        return len(data).to_bytes(4, "little") + data

    @functools.cached_property
    def signed_qe_report(self) -> bytes:
        """The 384 bytes that the platform's PCK signs."""
        return self.qe_report.serialize()


@dataclass(frozen=True, kw_only=True)
class Quote:
    """A quote of any version. `tee` is decided by the subclass."""

    tee: ClassVar[Tee]

    header: QuoteHeader
    body: Record
    signature: QuoteSignature
    body_type: int = 0
    """Version 5 only: 1 SGX, 2 TD report of TDX 1.0, 3 of TDX 1.5. 0 where the format has no such field."""

    @functools.cached_property
    def signed(self) -> bytes:
        """The bytes under the quote signature: header, body, and in version 5 the body's type and size."""
        body = self.body.serialize()
        prefix = framed_head(self.body_type, len(body)) if self.header.version == 5 else b""
        return self.header.serialize() + prefix + body

    def serialize(self) -> bytes:
        """The quote's bytes."""
        return self.signed + self.signature.serialize(self.header.version)


Q = TypeVar("Q", bound=Quote)


def framed_head(kind: int, size: int) -> bytes:
    """A type of two bytes and a size of four."""
    return kind.to_bytes(2, "little") + size.to_bytes(4, "little")


def framed(kind: int, data: bytes) -> bytes:
    """Data behind its type and size."""
    return framed_head(kind, len(data)) + data


def looks_like_quote(data: bytes, tee: Tee) -> bool:
    """Whether this begins as a DCAP quote of that TEE does."""
    if len(data) < 48 + 384 + 4:
        return False
    version, kind, tee_type = (int.from_bytes(data[a:b], "little") for a, b in ((0, 2), (2, 4), (4, 8)))
    return version in {3, 4, 5} and kind in {2, 3} and TEES.get(tee_type) is tee


def parse_quote(kind: type[Q], data: bytes, bodies: Mapping[int, type[Record]], *, base: int) -> Q:
    """Read a quote of exactly these bytes, whose TEE is that of `kind`.

    `bodies` gives the record by body type; type 0 is what versions 3 and 4 have.
    """
    tee = kind.tee
    reader = Reader(data, "quote", base=base)
    if len(data) > LONGEST:
        raise reader.error("length", f"{len(data)} bytes; at most {LONGEST}")
    header = QuoteHeader.parse(reader.take(48, "header"), base=base)
    _check_header(header, tee, reader)
    body_type, body_size = 0, bodies[0].SIZE
    if header.version == 5:
        body_type, body_size = reader.u16("body type"), reader.u32("body size")
        if body_type == 0 or body_type not in bodies or body_size != bodies[body_type].SIZE:
            raise ParseError(
                "quote", "body type", base + 48, f"{body_type} with {body_size} bytes is not a {tee.upper()} body"
            )
    offset = reader.offset
    body = bodies[body_type].parse(reader.take(body_size, "body"), base=base + offset)
    signed = data[: reader.offset]
    size = reader.u32("signature data size")
    if size != reader.left:
        raise reader.error("signature data size", f"is {size}; {reader.left} bytes follow")
    return frozen(kind, {
        "header": header, "body": body, "signature": _signature(reader, header.version), "body_type": body_type,
        "signed": signed,
    })  # fmt: skip


def _check_header(header: QuoteHeader, tee: Tee, reader: Reader) -> None:
    versions = VERSIONS[tee]
    if header.version not in versions:
        raise ParseError("quote", "version", reader.base, f"is {header.version}; {sorted(versions)} are understood")
    if TEES.get(header.tee_type) is not tee:
        raise ParseError("quote", "tee_type", reader.base + 4, f"is {header.tee_type:#x}: not a quote of {tee.upper()}")


def _signature(reader: Reader, version: int) -> QuoteSignature:
    kind = _SignatureHead if version == 3 else _WrappedSignatureHead
    wrapped, at = reader.left - 128 - 6, reader.base + reader.offset
    fixed = reader.take(kind.SIZE, "signature data")
    head = kind.parse(fixed, base=at)
    if isinstance(head, _WrappedSignatureHead) and head.size != wrapped:
        raise ParseError("quote", "certification data size", at + 130, f"is {head.size}; {wrapped} bytes follow")
    auth = reader.take(reader.u16("authentication data size"), "authentication data")
    certification, size = TYPE_AND_SIZE.unpack(reader.take(6, "certification data type and size"))
    if size != reader.left:
        raise reader.error("certification data size", f"is {size}; {reader.left} bytes follow")
    start = kind.OFFSETS["qe_report"]
    return frozen(QuoteSignature, {
        "signature": head.signature, "attestation_key": head.attestation_key,
        "qe_report": head.qe_report, "qe_report_signature": head.qe_report_signature,
        "qe_auth_data": auth, "certification_type": certification, "certification_data": reader.rest(),
        "signed_qe_report": fixed[start : start + SgxReportBody.SIZE],
    })  # fmt: skip
