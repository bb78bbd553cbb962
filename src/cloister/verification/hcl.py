"""How a quote of an Azure confidential VM's vTPM is verified (numbered as its explanation is).

The key that signs it is vouched for by the processor, not by a certificate.

 1. A TPM made it.
 2. The SNP report or TDX quote beside it has been verified, by its own recipe: `verify_bound_quote` takes nothing else
    than the result of that. Its anchor becomes the anchor of the vTPM quote, its time the time of this verification.
 3. The report was asked for at VMPL 0, where the paravisor runs. The VM's operating system runs at VMPL 2 and can have
    reports with any report data made for that level: with a key of its own in them.
 4. The report's report data is SHA-256 of the runtime data, exact bytes, and 32 zeros.
 5. The quote's key is the one that the runtime data calls HCLAkPub.
 6. to 10. What every TPM quote goes through (`cloister.verification.tpm`, 5 to 9): attributes, signature, nonce, PCRs,
    event log.

Not checked: whose paravisor it is. Anybody can start a confidential VM with software of their own at its lowest level,
put a key of their own into runtime data of their own, and pass every step here. What tells Microsoft's paravisor from
such a program is the launch measurement in the hardware report: appraise that too, never the vTPM quote alone.
The hardware report is made when the VM starts, so it answers no nonce: hand `ANSWERED_BY_QUOTE` to its verification.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cloister.endorse.anchors import TrustAnchor
from cloister.errors import BindingInvalid, VerificationError
from cloister.evidence.hcl import RuntimeData, parse_runtime_data
from cloister.evidence.snp import Report
from cloister.evidence.tdx import TdxQuote
from cloister.evidence.tpm import TpmQuote
from cloister.model import Challenge, Tee, Unchecked
from cloister.verification.recipe import Compared, Outcome, Recipe, Tcb, VerifiedEvidence, verified
from cloister.verification.tpm_quote import QuoteCase, add_quote_steps, add_statement_step

__all__ = ["ANSWERED_BY_QUOTE", "RECIPE", "Case", "HardwareReport", "verify_bound_quote"]

ANSWERED_BY_QUOTE: Final = Unchecked("the vTPM quote answers the challenge; this report vouches for the vTPM's key")
"""The challenge for verifying the hardware report."""

ONE_LEVEL: Final = Unchecked("a TDX quote does not say which level of a partitioned TD asked for it")
PARAVISOR_VMPL: Final = 0
TDX_DEBUG: Final = 1

HardwareReport = VerifiedEvidence[Report] | VerifiedEvidence[TdxQuote]
"""What vouches for the vTPM's key."""


@dataclass(slots=True, kw_only=True)
class Case(QuoteCase):
    """One verification on its way: what was handed in, then what the steps found."""

    report: HardwareReport
    runtime_data: bytes
    runtime: RuntimeData = field(init=False)


RECIPE: Final = Recipe[Case]("HCL")
add_statement_step(RECIPE)


@RECIPE.step(
    "Hardware report",
    source="AMD 56860, section 7.3; Intel TDX DCAP Quoting Library API",
    fix="verify the SNP report or TDX quote without allowances, with current collateral",
    cost="the vTPM's key is vouched for by this report alone",
)
def check_report(case: Case) -> Outcome:
    """It was verified; what that verification left unchecked counts here too."""
    report = case.report
    open_points = [one.reason for one in report.outcomes if isinstance(one, Unchecked) and one != ANSWERED_BY_QUOTE]
    if open_points:
        return Unchecked(
            f"the {report.tee.upper()} report was verified, but not everything in it: {'; '.join(open_points)}"
        )
    return Compared("verified", f"{report.tee.upper()}, {report.anchor.name}", "the report's own recipe")


@RECIPE.step(
    "Asked for by the paravisor",
    source="AMD 56860, section 7.3 (VMPL); Microsoft, Azure confidential VM guest attestation design",
    fix="read the report from the vTPM (NV index 0x01400001), not from /dev/sev-guest",
    cost="the VM's own operating system could vouch for a vTPM key that it made up",
)
def check_level(case: Case) -> Outcome:
    """An SNP report was made for VMPL 0."""
    evidence = case.report.evidence
    if isinstance(evidence, TdxQuote):
        return ONE_LEVEL
    if evidence.vmpl != PARAVISOR_VMPL:
        raise BindingInvalid(
            "the SNP report was not asked for by the paravisor", expected=PARAVISOR_VMPL, actual=evidence.vmpl,
            set_by="VMPL of the paravisor",
        )  # fmt: skip
    return Compared(PARAVISOR_VMPL, evidence.vmpl)


@RECIPE.step(
    "Runtime data",
    source="Microsoft, Azure confidential VM guest attestation design",
    fix="hand over the runtime data of this report, byte for byte as the vTPM holds it",
    cost="the vTPM's key in it could be anybody's",
)
def check_runtime_data(case: Case) -> Outcome:
    """The report data is the hash of the runtime data, and zeros."""
    expected, actual = hashlib.sha256(case.runtime_data).digest() + bytes(32), report_data(case.report)
    if expected != actual:
        raise BindingInvalid(
            "the hardware report does not vouch for this runtime data", expected=expected, actual=actual,
            set_by="SHA-256 of the runtime data",
        )  # fmt: skip
    case.runtime = parse_runtime_data(case.runtime_data)
    return Compared(expected, actual, "SHA-256 of the runtime data")


@RECIPE.step(
    "Attestation key",
    source="Microsoft, Azure confidential VM guest attestation design (HCLAkPub)",
    fix="quote with the vTPM's key at handle 0x81000003",
    cost="without it anybody can make this quote with a key of their own",
)
def check_key(case: Case) -> Outcome:
    """The key is the one in the runtime data."""
    case.spki = case.runtime.ak
    key = case.quote.key
    if key is not None and key.spki != case.spki:
        raise BindingInvalid(
            "the quote came with another key than the runtime data has", expected=case.spki, actual=key.spki,
            set_by="HCLAkPub",
        )  # fmt: skip
    return Compared(case.spki, case.spki, "HCLAkPub")


add_quote_steps(RECIPE)


def report_data(report: HardwareReport) -> bytes:
    """The 64 bytes that the hardware report carries."""
    evidence = report.evidence
    return evidence.body.report_data if isinstance(evidence, TdxQuote) else evidence.report_data


def is_debug(report: HardwareReport) -> bool:
    """Whether the host may read the VM's memory."""
    evidence = report.evidence
    if isinstance(evidence, TdxQuote):
        return bool(evidence.body.tdattributes[0] & TDX_DEBUG)
    return evidence.debug


def conclude(case: Case) -> tuple[TrustAnchor, Tcb, Mapping[str, object]]:
    """The hardware report's anchor and standing, and what the runtime data says."""
    facts = {
        "ak": case.spki, "ak_certificate": "", "event_log_proven": case.proven,
        "hardware": case.report.tee.value, "hardware_debug": is_debug(case.report),
        "vm_configuration": case.runtime.vm_configuration, "vm_user_data": case.runtime.user_data,
    }  # fmt: skip
    return case.report.anchor, case.report.tcb, facts


def refuse_unverified(report: object) -> None:
    """Refuse what is no verification result, whatever the type checker was told, or one about something else."""
    if not isinstance(report, VerifiedEvidence) or not isinstance(report.evidence, Report | TdxQuote):
        raise VerificationError(
            "a vTPM quote needs a verified SNP report or TDX quote beside it", actual=type(report).__name__
        )


def verify_bound_quote(
    quote: TpmQuote, report: HardwareReport, runtime_data: bytes, *, challenge: Challenge | Unchecked
) -> VerifiedEvidence[TpmQuote]:
    """Verify a vTPM quote whose key a verified hardware report vouches for.

    ParseError if the report vouches for runtime data that is malformed.
    There is no way in for an unverified report: VerifiedEvidence is made by a recipe only.
    """
    refuse_unverified(report)
    case = Case(quote=quote, challenge=challenge, report=report, runtime_data=runtime_data)
    return verified(RECIPE, case, tee=Tee.TPM, evidence=quote, at=report.at, conclude=conclude)
