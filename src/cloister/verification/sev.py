"""How SEV evidence is verified, before SNP (AMD 55766, SEV API; numbered as explained).

A report that the platform signed (SEV-1 to SEV-5):

 1. The platform's certificates lead to a pinned AMD root.
 2. The platform's endorsement key (PEK) signed the report.
 3. The guest cannot be debugged, unless the caller allows it.
 4. The report's nonce is the caller's.
 5. Dates and revocation are not checked: these certificates have neither, and AMD publishes no list about them.

A launch measurement, for the guest's owner (SEV-LAUNCH-1 to SEV-LAUNCH-6):

 1. The platform's certificates lead to a pinned AMD root.
 2. The owner wrapped the integrity key (TIK) for this platform's PDH: for another's, another could know it.
 3. The measure is the HMAC, under that key, of a launch digest that the owner expects.
 4. The guest cannot be debugged, unless the caller allows it.
 5. The firmware's nonce is the caller's. It never is: what makes this evidence fresh is a TIK used once, so hand over
    an Unchecked that says so.
 6. As 5 above.

Not checked here: which guest it is, whether its policy is good enough. Nor does SEV protect the integrity of memory,
and chip keys of the first generations have been extracted (Buhren et al., CCS 2019 and 2021): that is for a policy.
"""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeVar

from cloister import _crypto
from cloister.endorse.anchors import TrustAnchor, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import BindingInvalid, EndorsementUnavailable, VerificationError
from cloister.evidence.sev import SevAttestation, SevEvidence, SevLaunch
from cloister.evidence.sev_chain import SevChain
from cloister.model import Challenge, Tee, Unchecked
from cloister.verification import sev_chain
from cloister.verification.recipe import (
    Allowances,
    Compared,
    Outcome,
    Recipe,
    Tcb,
    VerifiedEvidence,
    freshness,
    verified,
)

__all__ = ["LAUNCH_RECIPE", "RECIPE", "GuestOwner", "verify"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestOwner:
    """What only the guest's owner knows of a launch.

    `tik` is the transport integrity key (16 bytes), `pdh` the PDH certificate (2084 bytes) that it was wrapped for,
    `launch_digests` those that the owner expects, 32 bytes each.
    """

    tik: bytes = field(repr=False)
    pdh: bytes = field(repr=False)
    launch_digests: tuple[bytes, ...]


@dataclass(slots=True, kw_only=True)
class Attestation:
    """One verification of a report on its way."""

    evidence: SevAttestation
    anchors: TrustAnchors
    challenge: Challenge | Unchecked
    allow: Allowances


@dataclass(slots=True, kw_only=True)
class Launch:
    """One verification of a launch measurement on its way."""

    evidence: SevLaunch
    anchors: TrustAnchors
    challenge: Challenge | Unchecked
    allow: Allowances
    owner: GuestOwner | None
    launch_digest: bytes = field(init=False)


Case = TypeVar("Case", Attestation, Launch)
RECIPE: Final[Recipe[Attestation]] = Recipe("SEV")
LAUNCH_RECIPE: Final[Recipe[Launch]] = Recipe("SEV-LAUNCH")


def certificates(case: Attestation | Launch) -> Outcome:
    """The platform's certificates lead to a pinned root."""
    chain = case.evidence.chain
    sev_chain.check_chain(chain, case.anchors)
    return Compared(case.anchors.named(Tee.SEV), chain.ark.key_id, "trust anchors")


def production(case: Attestation | Launch) -> Outcome:
    """The guest's policy does not allow debugging."""
    if not case.evidence.debug:
        return Compared("NODBG 1", "NODBG 1")
    if case.allow.unsafe_allow_debug:
        return Unchecked("this guest may be debugged; the caller allows it (unsafe_allow_debug)")
    raise VerificationError(
        "this guest may be debugged: its host can decrypt everything in it", expected="NODBG 1", actual="NODBG 0"
    )


def dates(_: Attestation | Launch) -> Outcome:
    """Nothing to check."""
    return Unchecked("SEV certificates have no dates, and AMD publishes no revocation list about them")


def _add_certificates(recipe: Recipe[Case]) -> None:
    recipe.step(
        "Platform certificates", source="AMD 55766, appendices B and C",
        fix="nothing, if the evidence is an emulator's or altered; else export the platform's certificates again",
        cost="without it anybody can make this evidence with keys of their own",
    )(certificates)  # fmt: skip


def _add_production(recipe: Recipe[Case]) -> None:
    recipe.step(
        "Production guest", source="AMD 55766, chapter 3: NODBG",
        fix="launch the guest with NODBG (bit 0) in its policy",
        cost="the host can decrypt and change all memory of a guest that may be debugged",
    )(production)  # fmt: skip


def _add_freshness(recipe: Recipe[Case], run: Callable[[Case], Outcome]) -> None:
    recipe.step(
        "Answers the challenge", source="RFC 9334, section 10",
        fix="ask for new evidence over this nonce, of at most 16 bytes",
        cost="old evidence can be replayed by whoever recorded it",
    )(run)  # fmt: skip
    recipe.step(
        "Dates and revocation", source="AMD 55766, appendix C",
        fix="nothing: use SEV-SNP, whose certificates have both",
        cost="a platform whose keys have leaked stays believed",
    )(dates)  # fmt: skip


_add_certificates(RECIPE)


@RECIPE.step(
    "Signature over the report",
    source="AMD 55766, section 6.8: ATTESTATION, over bytes 0 to 0x33",
    fix="nothing: the report was altered after it was signed, or another platform's certificates are with it",
    cost="everything in the report could be forged",
)
def signature(case: Attestation) -> Outcome:
    """The PEK signed the report."""
    report = case.evidence.report
    key = sev_chain.certified_pek(case.evidence.chain)
    halves = report.r[::-1] + report.s[::-1]
    _crypto.verify_ecdsa_raw(key, halves, report.signed, "sha256", what="the PEK's signature over the report")
    return Compared("valid under the PEK", "valid")


_add_production(RECIPE)
_add_freshness(RECIPE, lambda case: freshness(case.challenge, case.evidence.report.mnonce, field_name="MNONCE"))
_add_certificates(LAUNCH_RECIPE)


@LAUNCH_RECIPE.step(
    "Integrity key of this platform",
    source="AMD 55766, section 6.2: LAUNCH_START",
    fix="wrap a new TIK for the PDH of the platform that is to launch the guest",
    cost="whoever has the other PDH's key knows the TIK and can make any measure",
)
def wrapped_for(case: Launch) -> Outcome:
    """The owner wrapped the TIK for the PDH among the certificates."""
    if case.owner is None:
        raise EndorsementUnavailable(
            "a SEV launch measurement can be verified only by the guest's owner, with the key of its launch (TIK)",
            expected="the guest owner's TIK", actual="not at hand",
        )  # fmt: skip
    pdh = case.evidence.chain.pdh.serialize()
    if case.owner.pdh != pdh:
        raise BindingInvalid("the owner's TIK was wrapped for another platform's PDH", set_by="the guest's owner")
    return Compared("the PDH that the owner used", "the same", "the guest's owner")


@LAUNCH_RECIPE.step(
    "Launch measure",
    source="AMD 55766, section 6.5.1: LAUNCH_MEASURE",
    fix="nothing, if another guest was launched; else check firmware version, policy and the expected launch digests",
    cost="the host could have launched anything",
)
def measure(case: Launch) -> Outcome:
    """It is the HMAC of an expected launch digest."""
    assert case.owner is not None  # noqa: S101 - the step before has seen it
    measurement = case.evidence.measurement
    for digest in case.owner.launch_digests:
        expected = hmac.digest(case.owner.tik, measurement.message(digest), "sha256")
        if _crypto.equal(expected, measurement.measure):
            case.launch_digest = digest
            return Compared(expected, measurement.measure, "the guest's owner")
    raise BindingInvalid(
        "the measure is not that of a launch digest that the guest's owner expects, under this TIK",
        expected=case.owner.launch_digests, actual=measurement.measure, set_by="the guest's owner",
    )  # fmt: skip


_add_production(LAUNCH_RECIPE)
_add_freshness(
    LAUNCH_RECIPE, lambda case: freshness(case.challenge, case.evidence.measurement.mnonce, field_name="MNONCE")
)


def verify(
    evidence: SevEvidence,
    *,
    anchors: TrustAnchors,
    endorsements: Endorsements,  # noqa: ARG001 - as for every TEE; SEV evidence carries its certificates
    at: datetime,
    challenge: Challenge | Unchecked,
    allow: Allowances = Allowances(),  # noqa: B008 - immutable
    owner: GuestOwner | None = None,
) -> VerifiedEvidence[SevEvidence]:
    """Verify SEV evidence of either kind. `owner` is needed for a launch measurement; `at` plays no part."""
    if isinstance(evidence, SevAttestation):
        case = Attestation(evidence=evidence, anchors=anchors, challenge=challenge, allow=allow)
        return verified(RECIPE, case, tee=Tee.SEV, evidence=evidence, at=at, conclude=_conclude)
    launch = Launch(evidence=evidence, anchors=anchors, challenge=challenge, allow=allow, owner=owner)
    return verified(LAUNCH_RECIPE, launch, tee=Tee.SEV, evidence=evidence, at=at, conclude=_conclude)


def _conclude(case: Attestation | Launch) -> tuple[TrustAnchor, Tcb, Mapping[str, object]]:
    """The anchor, no TCB standing (there is none for SEV), and the launch digest."""
    anchor = _anchor(case.evidence.chain, case.anchors)
    digest = case.launch_digest if isinstance(case, Launch) else case.evidence.report.launch_digest
    return anchor, Tcb(), {"launch_digest": digest}


def _anchor(chain: SevChain, anchors: TrustAnchors) -> TrustAnchor:
    anchor = anchors.find(Tee.SEV, sev_chain.root_spki(chain))
    assert anchor is not None  # noqa: S101 - check_chain has seen it
    return anchor
