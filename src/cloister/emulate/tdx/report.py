"""SEAMREPORT and its check: the processor's MAC under which a TDREPORT is made and recognised.

Intel TDX Module 1.5 base specification, chapter "Measurement and attestation". The MAC is HMAC-SHA256 over the first
224 bytes of REPORTMACSTRUCT under a key that the processor makes at reset and never gives out: a report counts on the
machine that made it, until that machine is reset. A quoting enclave turns it into a quote that counts elsewhere.
"""

import hashlib
import hmac
import os
from typing import Final

from cloister.emulate.vendors.intel_platform import SERVER, TEE_TCB_SVN, Platform
from cloister.emulate.vendors.intel_reports import ReportMac, TdxReport
from cloister.errors import ParseError
from cloister.measure.tdx import TdInfo, TeeTcbInfo

__all__ = ["MODULE", "ReportKey"]

COVERED: Final = 224

MODULE: Final = TeeTcbInfo(
    valid=0x301FF,  # all fields of TDX 1.5 are filled
    tee_tcb_svn=TEE_TCB_SVN,
    mrseam=hashlib.sha384(b"Cloister's emulated TDX module 1.5").digest(),
    mrsignerseam=bytes(48),  # zero for modules that Intel signed
    attributes=bytes(8),
    tee_tcb_svn2=TEE_TCB_SVN,
)
"""TEE_TCB_INFO of the emulated module. MRSEAM is a name, no measurement of code: there is no module's binary."""


class ReportKey:
    """The key of one boot of one processor."""

    def __init__(self, platform: Platform = SERVER) -> None:
        self._key = bytearray(os.urandom(32))
        self._cpusvn = platform.cpusvn

    def report(self, report_data: bytes, info: TdInfo) -> TdxReport:
        """SEAMREPORT: a TDREPORT about a TD with 64 bytes of its own in it."""
        return TdxReport.made(
            cpusvn=self._cpusvn, report_data=report_data, tee_tcb_info=MODULE, td_info=info, mac=self._mac
        )

    def verifies_structure(self, structure: bytes) -> bool:
        """SEAMVERIFYREPORT: whether a REPORTMACSTRUCT of 256 bytes has this processor's MAC."""
        try:
            parsed = ReportMac.parse(structure)
        except ParseError:
            return False
        return hmac.compare_digest(self._mac(structure[:COVERED]), parsed.mac)

    def verifies(self, report: bytes) -> bool:
        """EVERIFYREPORT2: what a quoting enclave asks about a whole TDREPORT of 1,024 bytes. It checks the MAC only."""
        return self.verifies_structure(report[: ReportMac.SIZE])

    def wipe(self) -> None:
        """Reset: no report made before counts any more."""
        self._key[:] = os.urandom(len(self._key))

    def _mac(self, covered: bytes) -> bytes:
        return hmac.digest(self._key, covered, "sha256")
