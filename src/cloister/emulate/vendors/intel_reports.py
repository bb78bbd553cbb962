"""The reports that quoting enclaves turn into quotes: REPORT of EREPORT, TDREPORT of TDG.MR.REPORT."""

import hashlib
from collections.abc import Callable
from typing import Final

from cloister._wire import Record, nested, raw, reserved, u8, u16, u32
from cloister.evidence.dcap import SgxReportBody
from cloister.measure.tdx import TdInfo, TeeTcbInfo

__all__ = ["Mac", "ReportMac", "SgxReport", "TargetInfo", "TdxReport"]


Mac = Callable[[bytes], bytes]
"""From the bytes that are covered to their MAC, under a key that only this machine has."""
TDX: Final = 0x81
MAC_COVERS: Final = 224


class TargetInfo(Record, size=512):
    """TARGETINFO: for whom a REPORT is made (Intel SDM volume 3D, section 38.16)."""

    mrenclave: bytes = raw(32)
    attributes: bytes = raw(16)
    reserved_48: bytes = reserved(2)
    configsvn: int = u16()
    miscselect: int = u32()
    reserved_56: bytes = reserved(8)
    configid: bytes = raw(64)
    reserved_128: bytes = reserved(384)


class SgxReport(Record, size=432):
    """REPORT (Intel SDM volume 3D, section 38.15). The MAC covers `body`; its key is the target's, with `keyid`."""

    body: SgxReportBody = nested(SgxReportBody)
    keyid: bytes = raw(32)
    mac: bytes = raw(16)


class ReportMac(Record, size=256):
    """REPORTMACSTRUCT (Intel TDX Module ABI specification). The MAC covers the 224 bytes before it."""

    type: int = u8(equals=TDX)
    subtype: int = u8(equals=0)
    version: int = u8()
    reserved_3: bytes = reserved(13)
    cpusvn: bytes = raw(16)
    tee_tcb_info_hash: bytes = raw(48)
    tee_info_hash: bytes = raw(48)
    report_data: bytes = raw(64)
    reserved_192: bytes = reserved(32)
    mac: bytes = raw(32)


class TdxReport(Record, size=1024):
    """TDREPORT_STRUCT (Intel TDX Module ABI specification)."""

    report_mac: ReportMac = nested(ReportMac)
    tee_tcb_info: TeeTcbInfo = nested(TeeTcbInfo)
    reserved_495: bytes = reserved(17)
    td_info: TdInfo = nested(TdInfo)

    @classmethod
    def made(
        cls, *, cpusvn: bytes, report_data: bytes, tee_tcb_info: TeeTcbInfo, td_info: TdInfo, mac: Mac
    ) -> "TdxReport":
        """The report that SEAMREPORT makes of these. `mac` gives the 32 bytes for the 224 that it is asked about.

        Its version is 1 if a service TD is bound, else 0.
        """
        covered = ReportMac(
            type=TDX, subtype=0, version=int(any(td_info.servtd_hash)), cpusvn=cpusvn,
            tee_tcb_info_hash=_sha384(tee_tcb_info), tee_info_hash=_sha384(td_info), report_data=report_data,
            mac=bytes(32),
        ).serialize()[:MAC_COVERS]  # fmt: skip
        report_mac = ReportMac.parse(covered + mac(covered))
        return cls(report_mac=report_mac, tee_tcb_info=tee_tcb_info, td_info=td_info)

    @property
    def hashes(self) -> tuple[bytes, bytes]:
        """SHA-384 of TEE_TCB_INFO and of TDINFO, as `report_mac` must have them."""
        return _sha384(self.tee_tcb_info), _sha384(self.td_info)


def _sha384(record: Record) -> bytes:
    return hashlib.sha384(record.serialize()).digest()
