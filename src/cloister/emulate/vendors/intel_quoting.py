"""Emulated quoting enclaves: they check that a report was made on this machine, and only then sign a quote.

    enclave = manufacturer.sgx_quoting_enclave(verified=machine.report_verifies)
    report = EREPORT for enclave.target_info
    quote = enclave.quote(report)

A quoting enclave cannot be had without the machine's own check of a report's MAC, and asks it about every report: the
MAC is all that tells what an enclave or TD is from what somebody wrote down (Intel SGX DCAP, QuoteGeneration,
quote_wrapper/qe/quoting_enclave.cpp and quote_wrapper/tdx_quote/tdqe).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cloister.emulate.vendors import intel_signing
from cloister.emulate.vendors.intel_reports import SgxReport, TargetInfo, TdxReport
from cloister.emulate.vendors.intel_signing import QE_MRENCLAVE, Credentials
from cloister.emulate.vendors.intel_statements import QE_ATTRIBUTES, QE_ISVSVN
from cloister.errors import BindingInvalid, SignatureInvalid
from cloister.evidence.dcap import ECDSA_P256, QuoteHeader
from cloister.evidence.tdx import TdReport10, TdReport15
from cloister.model import Tee

__all__ = ["INTEL_QE", "ReportCheck", "SgxQuotingEnclave", "TdQuotingEnclave"]

ReportCheck = Callable[[bytes], bool]
"""The machine's answer to whether a whole report (432 or 1024 bytes) carries the MAC that this machine gives it."""

INTEL_QE: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
"""The vendor id that all of Intel's quoting enclaves write, and so these do. It proves nothing: the roots do."""
TEE_TYPES: Final = {Tee.SGX: 0, Tee.TDX: 0x81}
TD_1_5: Final = 3
"""Body type of version 5: the TD report of TDX 1.5."""


@dataclass(frozen=True, kw_only=True)
class _QuotingEnclave:
    credentials: Credentials
    verified: ReportCheck

    def _check_mac(self, report: bytes) -> None:
        if not self.verified(report):
            raise SignatureInvalid(
                "the report's MAC does not verify on this machine: it was changed, or made elsewhere or for another"
                " target; have the enclave or TD make a new one"
            )

    def _header(self, version: int, tee: Tee, user_data: bytes) -> QuoteHeader:
        """The header; from version 4 on it has zeros in place of the SVNs."""
        old = version == 3
        return QuoteHeader(
            version=version, attestation_key_type=ECDSA_P256, tee_type=TEE_TYPES[tee], qe_vendor_id=INTEL_QE,
            qe_svn=QE_ISVSVN if old else 0, pce_svn=self.credentials.pcesvn if old else 0,
            user_data=self.credentials.qe_id + user_data,
        )  # fmt: skip


class SgxQuotingEnclave(_QuotingEnclave):
    """Turns REPORTs of enclaves into quotes of version 3. `verified` is asked about each."""

    @property
    def target_info(self) -> bytes:
        """TARGETINFO, 512 bytes: for whom enclaves must make the report."""
        return TargetInfo(
            mrenclave=QE_MRENCLAVE[Tee.SGX], attributes=QE_ATTRIBUTES, configsvn=0, miscselect=0,
            configid=bytes(64),
        ).serialize()  # fmt: skip

    def quote(self, report: bytes, *, user_data: bytes = bytes(4)) -> bytes:
        """A quote about the enclave that made this REPORT (432 bytes). `user_data`: 4 bytes, behind the QE's id.

        SignatureInvalid if its MAC does not verify; ParseError if it is no REPORT.
        """
        parsed = SgxReport.parse(report)
        self._check_mac(report)
        header = self._header(3, Tee.SGX, user_data)
        return intel_signing.sgx_quote(header, parsed.body, self.credentials)


class TdQuotingEnclave(_QuotingEnclave):
    """Turns TDREPORTs into quotes of version 4 or 5. `verified` is asked about each, as EVERIFYREPORT2 answers."""

    def quote(self, report: bytes, *, version: int = 4, user_data: bytes = bytes(4)) -> bytes:
        """A quote about the TD that made this TDREPORT (1024 bytes): version 4 as of TDX 1.0, 5 as of TDX 1.5.

        SignatureInvalid if its MAC does not verify, BindingInvalid if what the MAC covers by hash is something else,
        ParseError if it is no TDREPORT, ValueError for other versions.
        """
        if version not in {4, 5}:
            raise ValueError(f"quotes about TDs have version 4 or 5, not {version}")
        parsed = TdxReport.parse(report)
        self._check_mac(report)
        expected = (parsed.report_mac.tee_tcb_info_hash, parsed.report_mac.tee_info_hash)
        if parsed.hashes != expected:
            raise BindingInvalid(
                "TEE_TCB_INFO or TDINFO is not the one that the TDREPORT's MAC covers",
                expected=expected, actual=parsed.hashes, set_by="REPORTMACSTRUCT",
            )  # fmt: skip
        header = self._header(version, Tee.TDX, user_data)
        body, body_type = (td_report_15(parsed), TD_1_5) if version == 5 else (td_report_10(parsed), 0)
        return intel_signing.tdx_quote(header, body, self.credentials, body_type=body_type)


def td_report_10(report: TdxReport) -> TdReport10:
    """The body of a quote of version 4 (Intel TDX DCAP Quoting Library API, appendix A.3.2)."""
    return TdReport10(**_td_fields(report))


def td_report_15(report: TdxReport) -> TdReport15:
    """The body of a quote of version 5 and type 3."""
    return TdReport15(
        **_td_fields(report), tee_tcb_svn2=report.tee_tcb_info.tee_tcb_svn2, mrservicetd=report.td_info.servtd_hash
    )


def _td_fields(report: TdxReport) -> dict[str, bytes]:
    tcb, td = report.tee_tcb_info, report.td_info
    return {
        "tee_tcb_svn": tcb.tee_tcb_svn, "mrseam": tcb.mrseam, "mrsignerseam": tcb.mrsignerseam,
        "seamattributes": tcb.attributes, "tdattributes": td.attributes, "xfam": td.xfam, "mrtd": td.mrtd,
        "mrconfigid": td.mrconfigid, "mrowner": td.mrowner, "mrownerconfig": td.mrownerconfig,
        "rtmr0": td.rtmr0, "rtmr1": td.rtmr1, "rtmr2": td.rtmr2, "rtmr3": td.rtmr3,
        "report_data": report.report_mac.report_data,
    }  # fmt: skip
