"""The platform's quoting enclave: it checks a REPORT with its own report key, then signs a quote (DCAP, version 3).

Its code is this program's, not x86 code in the EPC; its identity is a SECS as any other, and its key is EGETKEY's. So
it is fooled by no REPORT that this processor did not make for it.
"""

from hmac import compare_digest

from cloister.emulate.sgx.keys import cmac, egetkey
from cloister.emulate.sgx.outcomes import Code
from cloister.emulate.sgx.processor import Fuses
from cloister.emulate.sgx.structures import Attributes, KeyName, KeyRequest, Secs
from cloister.emulate.vendors.intel import IntelManufacturer
from cloister.emulate.vendors.intel_reports import SgxReport, TargetInfo

__all__ = ["QuotingEnclave"]


class QuotingEnclave:
    """The quoting enclave of a processor with these fuses, certified by its manufacturer."""

    def __init__(self, manufacturer: IntelManufacturer, fuses: Fuses) -> None:
        self._fuses = fuses
        self._enclave = manufacturer.sgx_quoting_enclave(verified=self.verifies)
        self.target_info = TargetInfo.parse(self._enclave.target_info)
        self._secs = Secs(
            size=0, base=0, ssaframesize=1, miscselect=self.target_info.miscselect,
            attributes=Attributes.parse(self.target_info.attributes), mrenclave=self.target_info.mrenclave,
            mrsigner=bytes(32), configid=bytes(64), isvprodid=0, isvsvn=0, configsvn=0,
            isvfamilyid=bytes(16), isvextprodid=bytes(16), eid=0,
        )  # fmt: skip

    def verifies(self, report: bytes) -> bool:
        """Whether a REPORT (432 bytes) was made on this processor, for this quoting enclave."""
        parsed = SgxReport.parse(report)
        request = KeyRequest(
            keyname=KeyName.REPORT, keypolicy=0, isvsvn=0, cpusvn=bytes(16), attributemask=Attributes(flags=0, xfrm=0),
            keyid=parsed.keyid, miscmask=0, configsvn=0,
        )  # fmt: skip
        key = egetkey(self._fuses, self._secs, request)
        return not isinstance(key, Code) and compare_digest(cmac(key, parsed.body.serialize()), parsed.mac)

    def quote(self, report: SgxReport) -> bytes:
        """A quote about the enclave that made the report. SignatureInvalid if its MAC does not verify."""
        return self._enclave.quote(report.serialize())
