"""How an SGX quote is verified (Intel Quote Verification Library, section 4.1.2; numbered as its explanation is).

 1. The quote is by Intel's quoting enclave, with an ECDSA P-256 key.
 2. The PCK certificate in it leads to the pinned Intel root.
 3. The PCK signed the quoting enclave's report.
 4. That report names the attestation key.
 5. The attestation key signed the quote.
 6. The enclave is not a debug enclave, unless the caller allows it.
 7. The report data contains the caller's nonce.
 8. The certificates are valid now.
 9. Intel's signed TCB info and QE identity for this platform are at hand and valid now.
10. Nothing in the chains has been revoked.
11. The TCB info is about this platform.
12. The quoting enclave is the one that the QE identity describes.
13. The platform reaches a TCB level; which one is a result, not a reason to refuse.

Not checked here: which enclave it is (MRENCLAVE, MRSIGNER), whether its TCB status is good enough. That is appraisal.
"""

from datetime import datetime

from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import VerificationError
from cloister.evidence.sgx import SgxQuote
from cloister.model import Challenge, Tee, Unchecked
from cloister.verification import dcap, steps_dcap
from cloister.verification.intel_tcb import sgx_standing
from cloister.verification.recipe import (
    Allowances,
    Compared,
    Outcome,
    Recipe,
    VerifiedEvidence,
    verified,
)

__all__ = ["RECIPE", "verify"]

Case = dcap.Case[SgxQuote]
RECIPE: Recipe[Case] = Recipe("SGX")
DEBUG = 0x02
"""ATTRIBUTES.FLAGS, bit 1 (Intel SDM volume 3D, section 38.7.1)."""
PRODUCTION = Compared("DEBUG 0", "DEBUG 0")

steps_dcap.add_authenticity(RECIPE)


@RECIPE.step(
    "Production enclave",
    source="Intel SDM 3D 38.7.1, ATTRIBUTES.DEBUG",
    fix="build and sign the enclave without the debug attribute, and launch it so",
    cost="the host can read and change everything in a debug enclave: its evidence says nothing about secrets",
)
def production(case: Case) -> Outcome:
    """The enclave is not a debug enclave."""
    debug = case.quote.body.attributes[0] & DEBUG
    if debug and case.allow.unsafe_allow_debug:
        return Unchecked("this is a debug enclave; the caller allows it (unsafe_allow_debug)")
    if debug:
        raise VerificationError("this is a debug enclave: its host can read it", expected="DEBUG 0", actual="DEBUG 1")
    return PRODUCTION


steps_dcap.add_freshness(RECIPE)
steps_dcap.add_endorsements(RECIPE)


@RECIPE.step(
    "TCB level",
    source="Intel QVL, step 4.1.2.5.18",
    fix="-",
    cost="-",
)
def level(case: Case) -> Outcome:
    """Select the TCB level; every status is a result."""
    case.standing = sgx_standing(case.statements.tcb, case.pck, case.qe_level)
    return Compared("a level of Intel's list", case.standing.status, case.statements.named)


def verify(
    evidence: SgxQuote,
    *,
    anchors: TrustAnchors,
    endorsements: Endorsements,
    at: datetime,
    challenge: Challenge | Unchecked,
    allow: Allowances = Allowances(),  # noqa: B008 - immutable
) -> VerifiedEvidence[SgxQuote]:
    """Verify an SGX quote at a time, against a nonce, with these anchors and endorsements."""
    case: Case = dcap.Case(
        quote=evidence, anchors=anchors, endorsements=endorsements, at=at, challenge=challenge, allow=allow
    )
    return verified(RECIPE, case, tee=Tee.SGX, evidence=evidence, at=at, conclude=dcap.conclude)
