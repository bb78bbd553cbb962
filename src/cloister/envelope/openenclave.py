"""Open Enclave's evidence: quotes behind its headers.

    report      u32 1, u32 type (2: remote), u64 size | quote
    evidence    u32 3, UUID of the format, u64 size   | quote, custom claims

Everything is little-endian. (Open Enclave bits/evidence.h, internal/report.h.) Custom claims are bound to the quote by
its report data, SHA-256 of their bytes. Endorsements in its format are read by `cloister.endorse.openenclave`.
"""

from typing import Final

from cloister._wire import Reader
from cloister.envelope.bindings import DataBinding
from cloister.envelope.contents import Envelope, Opening, join
from cloister.envelope.kinds import evidence_in, split_quote
from cloister.errors import ParseError

__all__ = ["looks_like", "open_container"]

REPORT_VERSION, EVIDENCE_VERSION = 1, 3
LOCAL, REMOTE = 1, 2
SGX_ECDSA: Final = bytes.fromhex("a3a21e871b4d4014b70aa125d2fbcd8c")
TDX_ECDSA: Final = bytes.fromhex("8ba70286c1cf11edafa10242ac120002")
SGX_LOCAL: Final = bytes.fromhex("cac1fba9fb7f401d9577d72b0da00813")
FORMATS: Final = {SGX_ECDSA: "SGX ECDSA", TDX_ECDSA: "TDX ECDSA", SGX_LOCAL: "SGX local attestation"}
REPORT_HEADER, EVIDENCE_HEADER = 16, 28
NAME: Final = "Open Enclave evidence"


def looks_like(data: bytes) -> bool:
    """Whether this begins with the header of a report or of evidence."""
    version = int.from_bytes(data[:4], "little")
    if version == EVIDENCE_VERSION and len(data) >= EVIDENCE_HEADER:
        return data[4:20] in FORMATS
    kind, size = int.from_bytes(data[4:8], "little"), int.from_bytes(data[8:16], "little")
    return version == REPORT_VERSION and kind in {LOCAL, REMOTE} and size == len(data) - REPORT_HEADER


def open_container(data: bytes, opening: Opening) -> Envelope:
    """The quote behind a header, and the custom claims that it signs."""
    reader = Reader(data, NAME)
    version = reader.u32("version")
    if version == REPORT_VERSION:
        return open_report(reader, opening)
    if version != EVIDENCE_VERSION:
        raise ParseError(NAME, "version", 0, f"is {version}; 1 (report) and 3 (evidence) are understood")
    format_id = reader.take(16, "format_id")
    if format_id not in FORMATS or format_id == SGX_LOCAL:
        what = FORMATS.get(format_id, format_id.hex())
        raise ParseError(NAME, "format_id", 4, f"{what}: only SGX and TDX quotes can be verified elsewhere")
    size = reader.u64("data_size")
    if size != reader.left:
        raise reader.error("data_size", f"is {size}; {reader.left} bytes follow")
    return open_quote(opening.spend(reader.rest()), f"{NAME}, {FORMATS[format_id]}")


def open_report(reader: Reader, opening: Opening) -> Envelope:
    """The quote in a report of the older interface, whose report data is the caller's own."""
    kind, size = reader.u32("report_type"), reader.u64("report_size")
    if kind != REMOTE:
        raise ParseError(
            NAME, "report_type", 4, f"is {kind}: a report for local attestation, which proves nothing elsewhere"
        )
    if size != reader.left:
        raise reader.error("report_size", f"is {size}; {reader.left} bytes follow")
    name, quote, rest = split_quote(opening.spend(reader.rest()))
    if rest.strip(b"\0"):
        raise ParseError(NAME, "end", REPORT_HEADER + len(quote), f"{len(rest)} bytes too many")
    return evidence_in(quote + rest, name).within("Open Enclave report")


def open_quote(data: bytes, step: str) -> Envelope:
    """A quote and the custom claims behind it."""
    name, quote, claims = split_quote(data)
    found = evidence_in(quote, name).within(step)
    if not claims:
        return found
    binding = DataBinding(evidence=found.primary, what="custom claims", data=claims)
    return join(found, Envelope(bindings=(binding,)))
