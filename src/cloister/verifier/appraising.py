"""Applying a policy, in either language or none, to everything that one envelope contained."""

from cloister.appraise.appraisal import Appraisal
from cloister.appraise.judge import judge, judge_without_policy
from cloister.appraise.judge_rego import judge_by_rego
from cloister.appraise.policy import HARDWARE_ONLY, EvidencePolicy
from cloister.appraise.reference import ReferenceValues
from cloister.appraise.rego import RegoPolicy
from cloister.endorse.anchors import AnchorKind
from cloister.model import Unchecked
from cloister.verifier.verdict import Authentic

__all__ = ["appraise_all"]


def appraise_all(
    authentic: Authentic,
    policy: EvidencePolicy | RegoPolicy | Unchecked,
    references: ReferenceValues,
    *,
    accept_anchors: frozenset[AnchorKind] = HARDWARE_ONLY,
) -> tuple[Appraisal, ...]:
    """One appraisal a part, in order. `accept_anchors` is for Rego, which does not speak of anchors."""
    if isinstance(policy, Unchecked):
        return tuple(judge_without_policy(part) for part in authentic.parts)
    if isinstance(policy, RegoPolicy):
        return tuple(judge_by_rego(part, policy, references, accept_anchors=accept_anchors) for part in authentic.parts)
    return tuple(judge(part, policy, references) for part in authentic.parts)
