"""Verified evidence and a Rego policy -> an Appraisal, explained in the same way as by a policy file of ours."""

from collections.abc import Mapping

from cloister.appraise.appraisal import Appraisal, Claim
from cloister.appraise.judge import claims_of, conclude
from cloister.appraise.ledger import Ledger
from cloister.appraise.platform_steps import judge_anchor, judge_debug, judge_tcb
from cloister.appraise.policy import HARDWARE_ONLY, NEVER_TOLERABLE, EvidencePolicy, TcbPolicy
from cloister.appraise.program_steps import NOBODY_SAID
from cloister.appraise.reference import ReferenceValues
from cloister.appraise.rego import RegoPolicy, RegoResult, evaluate_rego
from cloister.appraise.rego_input import input_of
from cloister.appraise.rules import Operator
from cloister.appraise.vector import Tier, meaning_of, tier_of
from cloister.endorse.anchors import AnchorKind
from cloister.verification.recipe import CheckState, VerifiedEvidence

__all__ = ["judge_by_rego"]


def judge_by_rego(
    verified: VerifiedEvidence[object],
    policy: RegoPolicy,
    references: ReferenceValues = ReferenceValues(),  # noqa: B008 - immutable
    *,
    reference_data: Mapping[str, object] | None = None,
    accept_anchors: frozenset[AnchorKind] = HARDWARE_ONLY,
    claims: Mapping[str, Claim] | None = None,
) -> Appraisal:
    """Appraise by a Rego policy. PolicyError if the policy cannot be evaluated.

    `reference_data` is what `query_reference_value` and `data.reference` find, by name, as a reference value provider
    would answer; `references` add lists of values under their names.
    """
    known = claims_of(verified) if claims is None else claims
    found, floor = platform_findings(verified, policy, known, accept_anchors)
    data = {**listed(references, verified), **(reference_data or {})}
    result = evaluate_rego(policy, input_of(verified.tee, known, found.values), data)
    take(found, policy, result, floor)
    if not found.values["executables"]:
        found.cap(Tier.WARNING)
        found.note("Which program it is", CheckState.UNCHECKED, detail=NOBODY_SAID, set_by=policy.name)
    return conclude(found, verified, known, policy.policy_id)


def platform_findings(
    verified: VerifiedEvidence[object], policy: RegoPolicy, claims: Mapping[str, Claim], anchors: frozenset[AnchorKind]
) -> tuple[Ledger, dict[str, int]]:
    """What holds before the policy speaks, and of that what it cannot make good."""
    found = Ledger()
    tcb = TcbPolicy(place=policy.name)
    settings = EvidencePolicy(
        name=policy.name,
        policy_id=policy.policy_id,
        sections={},
        tcb=tcb,
        accept_anchors=anchors,
        anchors_place="the caller",
    )
    judge_anchor(found, verified, settings)
    floor = {claim: value for claim, value in found.values.items() if tier_of(value) is Tier.CONTRAINDICATED}
    judge_tcb(found, verified, tcb)
    if verified.tcb.status in NEVER_TOLERABLE:
        floor["hardware"] = found.values["hardware"]
    judge_debug(found, claims, "", policy.name)
    if claims.get("debug") is not False:
        floor["configuration"] = found.values["configuration"]
    return found, floor


def take(found: Ledger, policy: RegoPolicy, result: RegoResult, floor: Mapping[str, int]) -> None:
    """Let the policy's claims stand for what was found, those below the floor aside."""
    for claim, value in result.claims.items():
        if value:
            found.values[claim] = value
        if claim in floor:
            found.values[claim] = floor[claim]
        good = tier_of(value) is Tier.AFFIRMING
        state = CheckState.PASSED if good else CheckState.FAILED if value else CheckState.UNCHECKED
        found.note(
            f"Rego: {claim}", state, expected="affirming", actual=f"{value} ({meaning_of(claim, value)})",
            set_by=policy.place(claim), detail="" if value else "the policy says nothing",
        )  # fmt: skip
    if result.status:
        found.cap(tier_of(result.status))


def listed(references: ReferenceValues, verified: VerifiedEvidence[object]) -> dict[str, list[object]]:
    """Reference values for this TEE as lists under their names, which is how Rego policies ask for digests."""
    data: dict[str, list[object]] = {}
    for one in references.values:
        if one.tee in {"", verified.tee} and one.operator is Operator.EQUAL and not one.given:
            data.setdefault(one.name, []).append(one.operand)
    return data
