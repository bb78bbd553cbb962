"""Verdicts as JSON: what `cloister verify --json` prints. docs/verify-output.md describes every field."""

from collections.abc import Sequence
from typing import Any, Final

from cloister.errors import CloisterError, EndorsementUnavailable, ParseError, VerificationError
from cloister.verification.recipe import Check, CheckState
from cloister.verifier.verdict import Verdict

__all__ = ["NOT_AUTHENTIC", "UNDECIDED", "crash_document", "failure_document", "status_of", "verdict_document"]

VERSION: Final = 1
"""Of the documents. Fields are only added while it stays."""

NOT_AUTHENTIC: Final = "not authentic"
UNDECIDED: Final = "undecided"
MALFORMED: Final = "malformed"
CRASHED: Final = "crashed"


def verdict_document(verdict: Verdict) -> dict[str, Any]:
    """A verdict; the primary evidence at the top, further parts under `parts`."""
    primary, *others = verdict.appraisals
    return {
        "version": VERSION,
        "status": str(verdict.status),
        "tee": str(verdict.tee),
        "container": list(verdict.authentic.envelope.path),
        "tcb_status": verdict.tcb_status,
        "advisories": list(verdict.advisories),
        "anchor": primary.anchor,
        "anchor_kind": primary.anchor_kind,
        "at": f"{primary.at:%Y-%m-%dT%H:%M:%SZ}",
        "policy": primary.policy_id,
        "trust_vector": primary.vector.claimed(),
        "claims": dict(primary.claims),
        "checks": [check_document(one) for one in verdict.checks],
        "unchecked": list(verdict.unchecked),
        "parts": [
            {
                "tee": str(one.tee), "status": str(one.status), "tcb_status": one.tcb.status,
                "advisories": list(one.tcb.advisories), "anchor": one.anchor, "anchor_kind": one.anchor_kind,
                "trust_vector": one.vector.claimed(), "claims": dict(one.claims),
            }
            for one in others
        ],
    }  # fmt: skip


def failure_document(error: CloisterError, *, container: Sequence[str] = ()) -> dict[str, Any]:
    """What an exception says: no verdict, and the reason. `container` is what was opened before it."""
    checks = getattr(error, "checks", ())
    failed = [one for one in checks if one.state in {CheckState.FAILED, CheckState.UNDECIDED}]
    document: dict[str, Any] = {
        "version": VERSION,
        "status": status_of(error),
        "container": list(container),
        "reason": str(error),
        "failed": failed[0].number if failed else "",
    }
    if isinstance(error, ParseError):
        document |= {"record": error.record, "field": error.field, "offset": error.offset}
    return document | {
        "checks": [check_document(one) for one in checks],
        "unchecked": [f"{one.title}: {one.detail}" for one in checks if one.state is CheckState.UNCHECKED],
    }


def crash_document(reason: str) -> dict[str, Any]:
    """What is said of a record at which Cloister itself failed: nothing was decided."""
    return {
        "version": VERSION, "status": CRASHED, "container": [], "reason": reason, "failed": "", "checks": [],
        "unchecked": [],
    }  # fmt: skip


def status_of(error: CloisterError) -> str:
    """The word for an exception, where an appraisal would have its status."""
    if isinstance(error, VerificationError):
        return NOT_AUTHENTIC
    if isinstance(error, EndorsementUnavailable):
        return UNDECIDED
    return MALFORMED


def check_document(check: Check) -> dict[str, str]:
    """One check; empty members are left out."""
    members = {
        "number": check.number, "title": check.title, "state": str(check.state), "expected": check.expected,
        "actual": check.actual, "set_by": check.set_by, "detail": check.detail, "fix": check.fix, "cost": check.cost,
    }  # fmt: skip
    return {name: value for name, value in members.items() if value not in {"", "-"}}
