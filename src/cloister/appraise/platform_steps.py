"""The steps about the platform: who vouches for it, how up to date it is, whether its host may look inside."""

from collections.abc import Mapping
from typing import Final

from cloister.appraise.appraisal import Claim
from cloister.appraise.ledger import Ledger
from cloister.appraise.policy import TOLERABLE, EvidencePolicy, TcbPolicy
from cloister.appraise.vector import (
    CONFIGURATION_APPROVED,
    CONFIGURATION_UNAVAILABLE,
    CONFIGURATION_UNSAFE,
    CONFIGURATION_UNSUPPORTABLE,
    HARDWARE_CONTRAINDICATED,
    HARDWARE_GENUINE,
    HARDWARE_UNRECOGNIZED,
    INSTANCE_TRUSTWORTHY,
    INSTANCE_UNRECOGNIZED,
)
from cloister.endorse.anchors import AnchorKind
from cloister.verification.recipe import CheckState, VerifiedEvidence

__all__ = ["judge_anchor", "judge_date", "judge_debug", "judge_tcb", "vouch"]

BEST: Final = frozenset({"", "UpToDate"})
"""TCB statuses that need no tolerance. Empty: this vendor publishes none."""

VOUCHED: Final = frozenset({AnchorKind.HARDWARE, AnchorKind.OWNER})
"""Anchors that say something about hardware. Under the others nothing is claimed about it."""


def vouch(ledger: Ledger, verified: VerifiedEvidence[object]) -> None:
    """What an accepted anchor says: the instance is known, its hardware genuine if the anchor is about hardware."""
    ledger.affirm("instance_identity", INSTANCE_TRUSTWORTHY)
    if verified.anchor.kind in VOUCHED:
        ledger.affirm("hardware", HARDWARE_GENUINE)


def judge_anchor(ledger: Ledger, verified: VerifiedEvidence[object], policy: EvidencePolicy) -> None:
    """Whether an anchor of this kind may vouch for anything."""
    accepted = verified.anchor.kind in policy.accept_anchors
    if accepted:
        vouch(ledger, verified)
    else:
        ledger.lower("instance_identity", INSTANCE_UNRECOGNIZED)
        ledger.lower("hardware", HARDWARE_UNRECOGNIZED)
    kind, name = verified.anchor.kind, verified.anchor.name
    ledger.note(
        "The trust anchor is of an accepted kind", CheckState.PASSED if accepted else CheckState.FAILED,
        expected=sorted(policy.accept_anchors) or "none", actual=f"{kind} ({name})", set_by=policy.anchors_place,
        fix="" if accepted else f'take evidence from real hardware, or add "{kind}" to accept_anchors',
        cost="" if accepted else "a key outside the vendors' hardware can be used by whoever holds it",
    )  # fmt: skip


def judge_tcb(ledger: Ledger, verified: VerifiedEvidence[object], policy: TcbPolicy) -> None:
    """The vendor's standing of the platform."""
    status, title = verified.tcb.status, "The platform is up to date"
    expected = ["UpToDate", *policy.tolerated, *policy.unsafe_tolerated]
    actual = [status or "no status: this vendor publishes none", *verified.tcb.advisories]
    place = policy.tolerated.get(status) or policy.unsafe_tolerated.get(status) or ""
    strange = [] if policy.unsafe_any_advisory else _not_tolerated(verified, policy)
    if status in BEST or (place and not strange):
        detail = f"tolerated by {place}" if place else ""
        ledger.note(title, CheckState.PASSED, expected=expected, actual=actual, set_by=policy.place, detail=detail)
        return
    ledger.lower("hardware", _standing(status, policy))
    ledger.note(
        title, CheckState.FAILED, expected=expected, actual=actual, set_by=place or policy.place,
        detail=f"not tolerated: {', '.join(strange) if place else status}",
        fix="update firmware, microcode and settings as the advisories say; or tolerate them by name in [tcb]",
        cost="what the advisories describe may be used against this platform",
    )  # fmt: skip


def _not_tolerated(verified: VerifiedEvidence[object], policy: TcbPolicy) -> list[str]:
    return [one for one in verified.tcb.advisories if one not in policy.tolerated_advisories]


def _standing(status: str, policy: TcbPolicy) -> int:
    if status in TOLERABLE:
        return policy.on_failure
    return HARDWARE_CONTRAINDICATED if status == "Revoked" else HARDWARE_UNRECOGNIZED


def judge_date(ledger: Ledger, verified: VerifiedEvidence[object], policy: TcbPolicy) -> None:
    """How old the platform's TCB is, if the policy gives a date."""
    if policy.oldest is None:
        return
    date = verified.tcb.date
    recent = date is not None and date >= policy.oldest
    if not recent:
        ledger.lower("hardware", policy.on_failure)
    ledger.note(
        "The platform's TCB is recent enough", CheckState.PASSED if recent else CheckState.FAILED,
        expected=f"{policy.oldest:%Y-%m-%d} or later", actual=f"{date:%Y-%m-%d}" if date else "no date given",
        set_by=policy.oldest_place, fix="" if recent else "update firmware and microcode",
        cost="" if recent else "flaws that were mended before that date are still open",
    )  # fmt: skip


def judge_debug(ledger: Ledger, claims: Mapping[str, Claim], allowed: str, default: str) -> None:
    """Whether the host can look inside by design."""
    debug, title = claims.get("debug"), "It is not debug"
    if debug is False:
        ledger.affirm("configuration", CONFIGURATION_APPROVED)
        ledger.note(title, CheckState.PASSED, expected="false", actual="false", set_by=default)
    elif debug is not True:
        ledger.lower("configuration", CONFIGURATION_UNAVAILABLE)
        ledger.note(title, CheckState.FAILED, expected="false", actual="not said", set_by=default)
    elif allowed:
        ledger.lower("configuration", CONFIGURATION_UNSAFE)
        ledger.note(
            title, CheckState.UNCHECKED, actual="true", detail="debug is allowed (unsafe_allow_debug)", set_by=allowed
        )
    else:
        ledger.lower("configuration", CONFIGURATION_UNSUPPORTABLE)
        ledger.note(
            title, CheckState.FAILED, expected="false", actual="true", set_by=default,
            fix="build and launch it without debug", cost="the host can read and change everything in it",
        )  # fmt: skip
