"""Verified evidence, reference values and policy -> an Appraisal. Never raises for poor evidence.

The steps, numbered POLICY-1 and on, in the order of the explanation:

1. The anchor is of a kind that the policy accepts (hardware, unless it names others).
2. The platform's TCB status is the best, or tolerated by name, and every advisory with it.
3. The TCB date is not before the policy's, if it gives one.
4. It is not debug, unless the policy allows that.
5. The policy has a section for this TEE, and says there which program may run.
6. Every rule of that section, in the order of the file.

Each step lowers the AR4SI claims that it decides if it does not hold. The status is the worst of all.
"""

import functools
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from cloister.appraise.appraisal import Appraisal, Claim
from cloister.appraise.ledger import Ledger, Notes
from cloister.appraise.platform_steps import judge_anchor, judge_date, judge_debug, judge_tcb, vouch
from cloister.appraise.policy import EvidencePolicy, TcbPolicy
from cloister.appraise.program_steps import NOBODY_SAID, judge_program, judge_rule
from cloister.appraise.reference import ReferenceValues
from cloister.appraise.vector import Tier, TrustVector
from cloister.model import Tee
from cloister.verification.recipe import CheckState, VerifiedEvidence

__all__ = ["claims_of", "conclude", "judge", "judge_without_policy"]


def claims_of(verified: VerifiedEvidence[object]) -> dict[str, Claim]:
    """Every claim that rules can name: those of the TEE, the endorsements' facts, and what all TEEs have."""
    return {**stage(verified.tee).claims(verified), **shared_claims(verified)}


@functools.cache
def stage(tee: Tee) -> Any:  # noqa: ANN401 - a module
    """The module that knows what evidence of this TEE claims, loaded when the first such evidence comes."""
    return import_module(f"cloister.appraise.{tee}")


def shared_claims(verified: VerifiedEvidence[object]) -> dict[str, Claim]:
    """The claims that evidence of every TEE has, beside `debug`, which is the TEE's."""
    shared: dict[str, Claim] = {
        "tee": str(verified.tee),
        "tcb_status": verified.tcb.status,
        "advisories": list(verified.tcb.advisories),
        "anchor": verified.anchor.name,
        "anchor_kind": str(verified.anchor.kind),
    }
    if verified.tcb.date is not None:
        shared["tcb_date"] = f"{verified.tcb.date:%Y-%m-%dT%H:%M:%SZ}"
    return shared


def judge(
    verified: VerifiedEvidence[object],
    policy: EvidencePolicy,
    references: ReferenceValues = ReferenceValues(),  # noqa: B008 - immutable
    *,
    claims: Mapping[str, Claim] | None = None,
) -> Appraisal:
    """Appraise evidence by a policy. `claims` are those of `claims_of`, where the caller has them already."""
    known = claims_of(verified) if claims is None else claims
    ledger = Ledger()
    section = policy.sections.get(verified.tee)
    judge_anchor(ledger, verified, policy)
    judge_tcb(ledger, verified, policy.tcb)
    judge_date(ledger, verified, policy.tcb)
    judge_debug(ledger, known, section.unsafe_allow_debug if section else "", f"{policy.name} (default)")
    judge_program(ledger, verified, policy, section)
    for rule in section.rules if section else ():
        judge_rule(ledger, verified, rule, known, references)
    return conclude(ledger, verified, known, policy.policy_id)


def judge_without_policy(verified: VerifiedEvidence[object], *, claims: Mapping[str, Claim] | None = None) -> Appraisal:
    """What can be said when nobody said what is wanted: never more than WARNING, and nothing about the program."""
    known = claims_of(verified) if claims is None else claims
    ledger = Ledger()
    vouch(ledger, verified)
    judge_tcb(ledger, verified, TcbPolicy(place="no policy"))
    judge_debug(ledger, known, "", "no policy")
    ledger.cap(Tier.WARNING)
    ledger.note(
        "Which program it is", CheckState.UNCHECKED, detail=NOBODY_SAID, set_by="no policy",
        fix="write a policy: cloister policy init --from EVIDENCE",
        cost="any program at all may have produced this evidence, the attacker's too",
    )  # fmt: skip
    return conclude(ledger, verified, known, "")


def conclude(
    ledger: Ledger, verified: VerifiedEvidence[object], claims: Mapping[str, Claim], policy_id: str
) -> Appraisal:
    """The appraisal that the ledger amounts to."""
    vector = TrustVector(**ledger.values)
    return Appraisal(
        tee=verified.tee, status=max(ledger.status, vector.worst()), vector=vector, tcb=verified.tcb,
        claims=dict(claims), explanations=(verified, Notes(ledger.noted)),
        unchecked=(*verified.unchecked, *ledger.unchecked), policy_id=policy_id, at=verified.at,
        anchor_kind=str(verified.anchor.kind), anchor=verified.anchor.name,
    )  # fmt: skip
