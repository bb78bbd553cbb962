"""Azure's HCL report: a confidential VM's hardware report, and the data that it vouches for, with the vTPM's key in it.

Microsoft, "Azure confidential VMs: guest attestation design"; openvmm, openhcl_attestation_protocol::igvm_attest. The
paravisor in the VM (HCL, at VMPL 0 or as the L1 of a partitioned TD) asks the processor for a report over the hash of
the runtime data when the VM starts, and keeps all of it in the vTPM (NV index 0x01400001). Little-endian:

    header 32 | hardware report 1184: SNP report, or TDREPORT 1024 and zeros | request 20 | runtime data, JSON | zeros

Nothing here is proven by the fact that it parses: `cloister.verification.hcl` does that. A TDREPORT proves itself only
to its own machine; the quote made from it comes beside the HCL report.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cloister import _json
from cloister._wire import Reader, Record, raw, reserved, u32
from cloister.errors import ParseError
from cloister.evidence.tpm_key import spki_of_jwk
from cloister.model import Tee

__all__ = ["HclHeader", "HclReport", "HclRequest", "RuntimeData", "looks_like", "parse", "parse_runtime_data"]

SIGNATURE: Final = b"HCLA"
HARDWARE_REPORT: Final = 1184
TD_REPORT: Final = 1024
TEES: Final = {2: Tee.SNP, 4: Tee.TDX}
OTHER_REPORTS: Final = {1: "VBS", 3: "a report of a trusted VM without hardware"}
SHA256: Final = 1
AK: Final = "HCLAkPub"
LONGEST: Final = 65_536
"""Bytes. The vTPM's index has 2,600."""

LONGEST_RUNTIME_DATA: Final = 16_384
RUNTIME: Final = "HCL runtime data"


class HclHeader(Record, size=32):
    """ATTESTATION_REPORT header. `report_size` counts all but the zeros at the end, `request_type` 2 asks for an AK."""

    signature: bytes = raw(4, equals=SIGNATURE)
    version: int = u32()
    report_size: int = u32()
    request_type: int = u32()
    status: int = u32(equals=0)
    reserved_14: bytes = reserved(12)


class HclRequest(Record, size=20):
    """IGVM_ATTEST_REQUEST_DATA: which hardware report this is, and how the runtime data became its report data."""

    data_size: int = u32()
    version: int = u32(equals=1)
    report_type: int = u32()
    hash_type: int = u32(equals=SHA256)
    runtime_data_size: int = u32()


@dataclass(frozen=True, kw_only=True)
class HclReport:
    """An HCL report. `hardware_report` is an SNP report or a TDREPORT; the zeros behind a TDREPORT are left out.

    `padding` counts the zeros at the end.
    """

    header: HclHeader
    hardware_report: bytes = field(repr=False)
    request: HclRequest
    runtime_data: bytes = field(repr=False)
    padding: int = 0

    @property
    def tee(self) -> Tee:
        """What the hardware report is of."""
        return TEES[self.request.report_type]

    def serialize(self) -> bytes:
        """The report's bytes."""
        hardware = self.hardware_report.ljust(HARDWARE_REPORT, b"\0")
        return self.header.serialize() + hardware + self.request.serialize() + self.runtime_data + bytes(self.padding)


@dataclass(frozen=True, kw_only=True)
class RuntimeData:
    """What the paravisor told the processor to vouch for: keys of the vTPM, and what it knows about the VM.

    `ak` is the vTPM's attestation key (DER SubjectPublicKeyInfo); `vm_configuration` holds the
    JSON values as they stand; `user_data` is what a program in the VM asked for when it last had the report renewed.
    """

    encoded: bytes = field(repr=False)
    ak: bytes
    vm_configuration: Mapping[str, object]
    user_data: str = ""


def looks_like(data: bytes) -> bool:
    """Whether this begins as an HCL report does."""
    return data[:4] == SIGNATURE


def parse(data: bytes, *, base: int = 0) -> HclReport:
    """Read an HCL report of exactly these bytes, with the zeros behind it."""
    reader = Reader(data, "HCL report", base=base)
    if len(data) > LONGEST:
        raise reader.error("length", f"{len(data)} bytes; at most {LONGEST}")
    header = HclHeader.parse(reader.take(HclHeader.SIZE, "header"), base=base)
    if header.version not in {1, 2} or header.request_type != 2:
        raise ParseError(
            "HCL report", "version", base + 4,
            f"version {header.version}, request type {header.request_type}: versions 1 and 2 of type 2 are understood",
        )  # fmt: skip
    hardware, at = reader.take(HARDWARE_REPORT, "hardware report"), base + reader.offset
    request = HclRequest.parse(reader.take(HclRequest.SIZE, "request"), base=at)
    runtime_data = _runtime_data(reader, header, request)
    padding = reader.rest()
    if padding.strip(b"\0"):
        raise ParseError("HCL report", "padding", base + len(data) - len(padding), "has bytes that are not zero")
    return HclReport(
        header=header, hardware_report=_trimmed(hardware, request, base), request=request,
        runtime_data=runtime_data, padding=len(padding),
    )  # fmt: skip


def _runtime_data(reader: Reader, header: HclHeader, request: HclRequest) -> bytes:
    size = request.runtime_data_size
    if request.data_size != HclRequest.SIZE + size or header.report_size != reader.offset + size:
        raise reader.error("runtime data size", f"is {size}: the sizes around it say another one")
    return reader.take(size, "runtime data")


def _trimmed(hardware: bytes, request: HclRequest, base: int) -> bytes:
    tee = TEES.get(request.report_type)
    if tee is None:
        what = OTHER_REPORTS.get(request.report_type, f"type {request.report_type}")
        raise ParseError("HCL report", "report_type", base + 1224, f"{what}: only SNP and TDX reports are evidence")
    if tee is Tee.SNP:
        return hardware
    if any(hardware[TD_REPORT:]):
        raise ParseError(
            "HCL report", "hardware report", base + 32 + TD_REPORT, "bytes behind the TDREPORT must be zero"
        )
    return hardware[:TD_REPORT]


def parse_runtime_data(data: bytes) -> RuntimeData:
    """Read the runtime data, which must name exactly one attestation key. Its exact bytes are what was hashed."""
    if len(data) > LONGEST_RUNTIME_DATA:
        raise ParseError(RUNTIME, "length", 0, f"{len(data)} bytes; at most {LONGEST_RUNTIME_DATA}")
    document = _json.loads(data, RUNTIME)
    keys = [one for one in _json.members(document, "keys", RUNTIME) if isinstance(one, Mapping)]
    named = [one for one in keys if one.get("kid") == AK]
    if len(named) != 1:
        raise ParseError(RUNTIME, "keys", 0, f"{len(named)} keys are called {AK}; exactly one is needed")
    configuration = document.get("vm-configuration", {}) if isinstance(document, Mapping) else {}
    user_data = document.get("user-data", "") if isinstance(document, Mapping) else ""
    if not isinstance(configuration, Mapping) or not isinstance(user_data, str):
        raise ParseError(RUNTIME, "vm-configuration", 0, "is no object, or the user data no string")
    return RuntimeData(
        encoded=data, ak=spki_of_jwk(named[0], RUNTIME), vm_configuration=configuration, user_data=user_data,
    )  # fmt: skip
