"""Whether a person believes what an enclave shows: the same verifier and policies as everywhere else."""

from cloister.app.console.calling import Judge
from cloister.appraise.vector import Tier
from cloister.errors import Denied
from cloister.model import Challenge
from cloister.verification.recipe import Check, CheckState
from cloister.verifier.many import Job

__all__ = ["judge_by", "unsafe_judge"]


def judge_by(job: Job) -> Judge:
    """By a policy, whose verdict must be affirming."""

    def judge(evidence: bytes, challenge: Challenge) -> None:
        verdict = job.verifier.appraise(
            evidence, at=job.at, challenge=challenge, policy=job.policy, references=job.references, allow=job.allow,
            accept_anchors=job.accept_anchors,
        )  # fmt: skip
        if verdict.status is not Tier.AFFIRMING:
            failed = [_said(one) for one in verdict.checks if one.state is CheckState.FAILED]
            raise Denied(f"what runs there is not what you asked for: {'; '.join(failed) or verdict.status}")

    return judge


def _said(check: Check) -> str:
    """A check that failed, in a line."""
    compared = f"expected {check.expected}, found {check.actual}" if check.expected else ""
    return ", ".join(part for part in (check.title, check.detail, compared) if part)


def unsafe_judge(_evidence: bytes, _challenge: Challenge) -> None:
    """Whatever it is. For trying things out."""
