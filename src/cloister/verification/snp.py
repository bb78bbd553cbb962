"""How an SNP report is verified (AMD 56860, SEV-SNP Firmware ABI; AMD 57230, VCEK certificates; numbered as explained).

 1. The report is signed, with ECDSA over P-384: a host can have the firmware leave the signature out.
 2. A certificate of the key that signed, a VCEK or VLEK of the report's product, is at hand.
 3. It is for the TCB that the report reports: AMD derives the key from it.
 4. It is for the chip that the report names (unless the key is a provider's, or the host hides the chip).
 5. It leads, over AMD's authority for such keys of that product (ASK or ASVK), to a pinned AMD root (ARK).
 6. The endorsement key signed the report.
 7. The guest asked for the report, not its host.
 8. No component of the reported or the committed TCB is above the current one.
 9. The guest cannot be debugged, unless the caller allows it.
10. The report data contains the caller's nonce.
11. The certificates are valid now.
12. AMD's authority has not been revoked. The endorsement keys themselves never are: VCEKs all have the serial number 0,
    and AMD withdraws them by raising the TCB.

Not checked here: which guest it is (measurement, ID and author keys), whether its policy and its TCB are good enough.
That is appraisal; AMD publishes no status of TCBs, so the numbers are claims. So is the right to a migration agent,
which could read the whole guest.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cloister.endorse.amd import KDS, chain_path, crl_path, issuer_name
from cloister.endorse.anchors import TrustAnchor, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import BindingInvalid, ChainInvalid, EndorsementUnavailable, SignatureInvalid, VerificationError
from cloister.evidence.snp import ECDSA_P384_SHA384, Report, SigningKey
from cloister.model import Challenge, Tee, Unchecked
from cloister.verification import chains, snp_key
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

__all__ = ["RECIPE", "Case", "verify"]

HIGHEST_VMPL: Final = 3
SIGNED: Final = Compared(ECDSA_P384_SHA384, ECDSA_P384_SHA384)
VALID: Final = Compared("valid under the endorsement key", "valid")
PRODUCTION: Final = Compared("DEBUG 0", "DEBUG 0")
NO_STANDING: Final = Tcb()


@dataclass(slots=True, kw_only=True)
class Case:
    """One verification on its way: what was handed in, then what the steps found."""

    report: Report
    anchors: TrustAnchors
    endorsements: Endorsements
    at: datetime
    challenge: Challenge | Unchecked
    allow: Allowances
    ek: snp_key.Ek = field(init=False)
    endorsed: "Endorsed" = field(init=False)


@dataclass(frozen=True, slots=True)
class Endorsed:
    """What an endorsement key certificate leads to: its chain, the part above it that may be revoked, the anchor."""

    chain: chains.Chain
    authorities: chains.Chain
    anchor: TrustAnchor
    outcome: Compared


RECIPE: Final[Recipe[Case]] = Recipe("SNP")


@RECIPE.step(
    "Signed, with a known algorithm",
    source="AMD 56860, section 7.3: SIGNATURE_ALGO, SIGNING_KEY, MASK_CHIP_KEY",
    fix="have the host configure the firmware without MASK_CHIP_KEY, and get a report signed with the VCEK or VLEK",
    cost="anybody can write an unsigned report",
)
def signed(case: Case) -> Outcome:
    """The firmware was not told to leave the signature out."""
    report = case.report
    if report.signing_key is SigningKey.NONE or report.mask_chip_key:
        raise SignatureInvalid(
            "the report is not signed: its host wanted it so", expected="VCEK or VLEK", actual="none"
        )
    if report.signature_algo != ECDSA_P384_SHA384:
        raise SignatureInvalid(
            "the report is signed with an algorithm that is not defined",
            expected=ECDSA_P384_SHA384, actual=report.signature_algo,
        )  # fmt: skip
    return SIGNED


@RECIPE.step(
    "Endorsement key certificate",
    source="AMD 57230, chapter 3: productName",
    fix="`cloister collateral fetch` with the evidence, or have the attester send its certificates along",
    cost="without it nobody knows whose key signed",
)
def key_at_hand(case: Case) -> Outcome:
    """A certificate of a key of this kind and product is at hand; the one that fits best is taken."""
    report = case.report
    found = snp_key.candidates(report, case.endorsements)
    if not found:
        raise EndorsementUnavailable(
            f"no {report.signing_key.name} certificate of {' or '.join(report.products)} is at hand; "
            f"AMD has it at {snp_key.sought(report)}",
            expected=report.products, actual="none",
        )  # fmt: skip
    case.ek = snp_key.pick(found, report, anchors=case.anchors, endorsements=case.endorsements, at=case.at)
    return Compared(report.products, case.ek.info.product_name)


@RECIPE.step(
    "Endorsement key for this TCB",
    source="AMD 57230, chapter 3: blSPL, teeSPL, snpSPL, ucodeSPL, fmcSPL",
    fix="`cloister collateral fetch` with the evidence: the firmware has changed since the certificate was made",
    cost="another TCB has another key: that certificate cannot vouch for this report",
)
def key_for_tcb(case: Case) -> Outcome:
    """The certificate's patch levels are the reported ones."""
    stated, reported = case.ek.info.tcb, case.report.reported_tcb
    if stated != reported:
        raise EndorsementUnavailable(
            f"the {case.report.signing_key.name} certificate at hand is for another TCB; "
            f"AMD has the one needed at {snp_key.sought(case.report)}",
            expected=reported, actual=stated, set_by="REPORTED_TCB",
        )  # fmt: skip
    return Compared(reported, stated, "REPORTED_TCB")


@RECIPE.step(
    "Endorsement key of this chip",
    source="AMD 57230, chapter 3: hwID",
    fix="`cloister collateral fetch` with the evidence; where the host hides the chip, only it can change that",
    cost="which of its keeper's machines made the report stays unknown",
)
def key_for_chip(case: Case) -> Outcome:
    """The certificate's hwID is the report's CHIP_ID."""
    report, stated = case.report, case.ek.info.chip_id
    if report.signing_key is SigningKey.VLEK:
        return Unchecked(f"a VLEK is the key of a provider ({case.ek.info.csp_id}), not of one chip")
    if report.chip_id == snp_key.MASKED:
        return Unchecked("the host hides the chip's identifier (MASK_CHIP_ID)")
    if stated != report.chip_id:
        raise EndorsementUnavailable(
            f"the VCEK certificate at hand is for another chip; AMD has the one needed at {snp_key.sought(report)}",
            expected=report.chip_id, actual=stated, set_by="CHIP_ID",
        )  # fmt: skip
    return Compared(report.chip_id, stated, "CHIP_ID")


@RECIPE.step(
    "Certificate chain to AMD",
    source="AMD 57230, chapter 2",
    fix="nothing, if the report is an emulator's or altered; else hand over AMD's chain for the product",
    cost="without it anybody can sign this report with a key of their own",
)
def chain_to_root(case: Case) -> Outcome:
    """It leads to a pinned root, over the authority for such keys: one for VCEKs may not issue VLEKs."""
    case.endorsed = endorsed(case.ek, case.endorsements, case.anchors)
    return case.endorsed.outcome


@functools.lru_cache(maxsize=1024)
def endorsed(ek: snp_key.Ek, endorsements: Endorsements, anchors: TrustAnchors) -> Endorsed:
    """The chain of a certificate. Remembered: it is the same for all reports of a chip. Dates are another step."""
    info, pool = ek.info, snp_key.authorities(endorsements)
    needed = issuer_name(info.kind, info.product)
    if all(one.subject != ek.certificate.issuer for one in pool):
        raise EndorsementUnavailable(
            f"the certificate of {needed} is not at hand; AMD has it at {KDS}{chain_path(info.kind, info.product)}",
            expected=needed, actual="not at hand",
        )  # fmt: skip
    chain = chains.build_chain(ek.certificate, pool, anchors, Tee.SNP)
    issuer = chain[1].name if len(chain) > 1 else ""
    if issuer != needed:
        raise ChainInvalid(
            f"the {info.kind.name} certificate for {info.product} is by another authority than the one for such keys",
            expected=needed, actual=issuer, set_by="AMD 57230",
        )  # fmt: skip
    anchor = anchors.find(Tee.SNP, chain[-1].spki)
    assert anchor is not None  # noqa: S101 - build_chain ended there
    return Endorsed(chain, chains.Chain(chain[1:]), anchor, Compared(needed, issuer, "AMD 57230"))


@RECIPE.step(
    "Signature over the report",
    source="AMD 56860, section 7.3: SIGNATURE, over bytes 0 to 0x29f",
    fix="nothing: the report was altered after it was signed, or another key signed it",
    cost="everything in the report could be forged",
)
def signature(case: Case) -> Outcome:
    """The endorsement key signed the report."""
    snp_key.report_signature_holds(case.report, case.ek.certificate)
    return VALID


@RECIPE.step(
    "Asked for by the guest",
    source="AMD 56860, section 7.3: VMPL",
    fix="get the report in the guest, through /dev/sev-guest or configfs",
    cost="hosts can get reports about their guests too: presenting one does not show that it is the guest who does",
)
def guest_asked(case: Case) -> Outcome:
    """A report that the host asked for (SNP_HV_REPORT_REQ) has a privilege level that no guest has."""
    if case.report.vmpl > HIGHEST_VMPL:
        raise BindingInvalid(
            "the host asked for this report, not the guest", expected="0 to 3", actual=case.report.vmpl
        )
    return Compared("0 to 3", case.report.vmpl)


@RECIPE.step(
    "TCB versions in order",
    source="AMD 56860, section 2.2; google/go-sev-guest validate.go, validateTcb",
    fix="ask the platform's operator to update its firmware and its configuration, then attest again",
    cost="the TCB that the report reports cannot be relied upon",
)
def tcb_in_order(case: Case) -> Outcome:
    """Nothing reported or committed is above current. LAUNCH_TCB may be: it can come from another host."""
    report, current = case.report, case.report.current_tcb
    for name, lower in (("REPORTED_TCB", report.reported_tcb), ("COMMITTED_TCB", report.committed_tcb)):
        if lower != current and any(map(int.__gt__, lower, current)):
            raise BindingInvalid(
                f"{name} is above CURRENT_TCB in a component", expected=("at most", current), actual=lower,
                set_by="CURRENT_TCB",
            )  # fmt: skip
    return Compared(("at most", current), (report.reported_tcb, report.committed_tcb), "CURRENT_TCB")


@RECIPE.step(
    "Production guest",
    source="AMD 56860, section 4.3: DEBUG",
    fix="launch the guest with a policy that does not allow debugging",
    cost="the host can read and change all memory and registers of a guest that may be debugged",
)
def production(case: Case) -> Outcome:
    """The guest's policy does not allow debugging."""
    if case.report.debug and case.allow.unsafe_allow_debug:
        return Unchecked("this guest may be debugged; the caller allows it (unsafe_allow_debug)")
    if case.report.debug:
        raise VerificationError(
            "this guest may be debugged: its host can read everything in it", expected="DEBUG 0", actual="DEBUG 1"
        )
    return PRODUCTION


@RECIPE.step(
    "Answers the challenge",
    source="RFC 9334, section 10",
    fix="ask the attester for new evidence over this nonce",
    cost="an old report can be replayed by whoever recorded it",
)
def fresh(case: Case) -> Outcome:
    """The report data is the nonce, zero-padded."""
    return freshness(case.challenge, case.report.report_data, field_name="REPORT_DATA")


@RECIPE.step(
    "Certificates valid now",
    source="RFC 5280, section 6.1.3",
    fix="check the verifier's clock (--at); AMD issues endorsement key certificates anew whenever asked",
    cost="a key is believed longer than its issuer wants it to be",
)
def certificates_valid(case: Case) -> Outcome:
    """Every certificate of the chain is valid now."""
    chain = case.endorsed.chain
    chains.check_validity(chain, case.at)
    return Compared(("until", chain.window[1]), case.at, "the certificates")


@RECIPE.step(
    "Authority not revoked",
    source="AMD 57230, chapter 4: crl",
    fix="nothing, if it was revoked; `cloister collateral fetch`, if the list is missing",
    cost="keys under an authority that AMD has withdrawn would be believed, as it has withdrawn the first one of Genoa",
)
def not_revoked(case: Case) -> Outcome:
    """The ASK or ASVK is not on its root's list."""
    above, lists = case.endorsed.authorities, case.endorsements.crls
    start, end = chains.cleared(above, lists)
    if start <= case.at <= end:
        return chains.NONE_REVOKED
    info = case.ek.info
    hint = f"AMD has it at {KDS}{crl_path(info.kind, info.product)}"
    return chains.check_revocation(above, lists, case.at, case.allow, hint=hint)


def verify(
    evidence: Report,
    *,
    anchors: TrustAnchors,
    endorsements: Endorsements,
    at: datetime,
    challenge: Challenge | Unchecked,
    allow: Allowances = Allowances(),  # noqa: B008 - immutable
) -> VerifiedEvidence[Report]:
    """Verify an SNP report at a time, against a nonce, with these anchors and endorsements."""
    case = Case(report=evidence, anchors=anchors, endorsements=endorsements, at=at, challenge=challenge, allow=allow)
    return verified(RECIPE, case, tee=Tee.SNP, evidence=evidence, at=at, conclude=_conclude)


def _conclude(case: Case) -> tuple[TrustAnchor, Tcb, Mapping[str, object]]:
    """The anchor, no TCB standing (AMD publishes none), and what the certificate said of the platform."""
    info = case.ek.info
    facts = {"product": info.product, "product_name": info.product_name, "csp_id": info.csp_id}
    return case.endorsed.anchor, NO_STANDING, facts
