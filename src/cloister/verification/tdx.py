"""How a TDX quote is verified (Intel Quote Verification Library, section 4.1.2; numbered as its explanation is).

 1. to 5. Who signed it, as for SGX: quoting enclave, PCK chain, its report, the attestation key, the quote.
 6. The TD is not a debug TD, unless the caller allows it.
 7. The report data contains the caller's nonce.
 8. to 12. What Intel says of the platform, as for SGX.
13. The TDX module is one that Intel signed: MRSIGNERSEAM and SEAMATTRIBUTES.
14. The platform and the module reach TCB levels; which ones is a result, not a reason to refuse.

Not checked here: which TD it is (MRTD, RTMRs), whether its TCB status is good enough (appraisal), and what the event
log says about the RTMRs (`cloister.verification.eventlog`, where a log is at hand).
"""

from datetime import datetime

from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import BindingInvalid, VerificationError
from cloister.evidence.tdx import TdReport15, TdxQuote
from cloister.model import Challenge, Tee, Unchecked
from cloister.verification import dcap, steps_dcap
from cloister.verification.intel_tcb import find_module, tdx_standing
from cloister.verification.recipe import (
    Allowances,
    Compared,
    Outcome,
    Recipe,
    VerifiedEvidence,
    verified,
)

__all__ = ["RECIPE", "verify"]

Case = dcap.Case[TdxQuote]
RECIPE: Recipe[Case] = Recipe("TDX")
DEBUG = 0x01
"""TDATTRIBUTES, bit 0 of the group TUD: the TD runs in off-TD debug mode (Intel TDX Module specification, 1.5)."""
NO_ATTRIBUTES = bytes(8)
"""SEAMATTRIBUTES of a production module."""
PRODUCTION = Compared("DEBUG 0", "DEBUG 0")

steps_dcap.add_authenticity(RECIPE)


@RECIPE.step(
    "Production TD",
    source="Intel TDX Module specification, TD attributes, DEBUG",
    fix="launch the TD without the debug attribute",
    cost="the host can read and change everything in a debug TD: its evidence says nothing about secrets",
)
def production(case: Case) -> Outcome:
    """The TD is not a debug TD."""
    debug = case.quote.body.tdattributes[0] & DEBUG
    if debug and case.allow.unsafe_allow_debug:
        return Unchecked("this is a debug TD; the caller allows it (unsafe_allow_debug)")
    if debug:
        raise VerificationError("this is a debug TD: its host can read it", expected="DEBUG 0", actual="DEBUG 1")
    return PRODUCTION


steps_dcap.add_freshness(RECIPE)
steps_dcap.add_endorsements(RECIPE)


@RECIPE.step(
    "TDX module",
    source="Intel QVL, step 4.1.2.5.12",
    fix="load a TDX module that Intel has signed; fetch newer collateral if the module is newer than it",
    cost="the module is what isolates the TD: another one can read it",
)
def module(case: Case) -> Outcome:
    """The module is signed by whom the TCB info says, and its attributes are all zero."""
    body = case.quote.body
    known = find_module(case.statements.tcb, body.tee_tcb_svn[1])
    expected, actual = (known.mrsigner, known.attributes), (body.mrsignerseam, body.seamattributes)
    if expected != actual or body.seamattributes != NO_ATTRIBUTES:
        raise BindingInvalid(
            "the TDX module is not the one that Intel endorses", expected=expected, actual=actual,
            set_by=case.statements.named,
        )  # fmt: skip
    return Compared(expected, actual, case.statements.named)


@RECIPE.step(
    "TCB level",
    source="Intel QVL, step 4.1.2.5.18",
    fix="-",
    cost="-",
)
def level(case: Case) -> Outcome:
    """Select the TCB levels; every status is a result."""
    body = case.quote.body
    now = body.tee_tcb_svn2 if isinstance(body, TdReport15) else None
    case.standing = tdx_standing(case.statements.tcb, case.pck, case.qe_level, body.tee_tcb_svn, now)
    return Compared("a level of Intel's list", case.standing.status, case.statements.named)


def verify(
    evidence: TdxQuote,
    *,
    anchors: TrustAnchors,
    endorsements: Endorsements,
    at: datetime,
    challenge: Challenge | Unchecked,
    allow: Allowances = Allowances(),  # noqa: B008 - immutable
) -> VerifiedEvidence[TdxQuote]:
    """Verify a TDX quote at a time, against a nonce, with these anchors and endorsements."""
    case: Case = dcap.Case(
        quote=evidence, anchors=anchors, endorsements=endorsements, at=at, challenge=challenge, allow=allow
    )
    return verified(RECIPE, case, tee=Tee.TDX, evidence=evidence, at=at, conclude=dcap.conclude)
