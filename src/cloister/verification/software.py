"""How evidence of a software enclave is verified (docs/formats/software-evidence.md; numbered as its explanation is).

1. The host's attestation key, which the caller has pinned as a software anchor and handed over, signed the evidence.
2. The guard pair was armed, unless the caller allows evidence without it.
3. The report data contains the caller's nonce.

What this proves is what the host's kernel and administrator let it prove: the host's key vouches that Cloister's
runtime started this program. `TrustAnchors.hardware()` refuses it always, and an anchor of kind `hardware` is not
believed here.

Not checked here: which program it is (`measurement`), whether unmeasured code came in (`admission`, `loaded`), which
runtime and kernel it was. That is appraisal. Nobody can check whether the host's root reads the enclave by perf, BPF or
a kernel module.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from cloister import _cose_crypto, _crypto
from cloister.endorse.anchors import AnchorKind, TrustAnchor, TrustAnchors, pin_of
from cloister.endorse.store import Endorsements
from cloister.errors import ChainInvalid, VerificationError
from cloister.evidence.software import Guard, SoftwareEvidence
from cloister.model import Challenge, Tee, Unchecked
from cloister.verification.pinned_keys import not_pinned, pinned
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

__all__ = ["RECIPE", "verify"]


@dataclass(slots=True, kw_only=True)
class Case:
    """One verification: what was handed in, then what the steps found."""

    evidence: SoftwareEvidence
    anchors: TrustAnchors
    endorsements: Endorsements
    challenge: Challenge | Unchecked
    allow: Allowances
    anchor: TrustAnchor = field(init=False)


RECIPE: Recipe[Case] = Recipe("SOFTWARE")


@RECIPE.step(
    "Signed by a pinned host key",
    source="docs/formats/software-evidence.md; RFC 9052 4.4",
    fix="get the host's attestation key from its administrator and pin it as a software anchor",
    cost="anybody can write such evidence: it says whatever its author likes",
)
def signature(case: Case) -> Outcome:
    """The key that the evidence names is pinned, and signed it."""
    evidence = case.evidence
    keys = pinned(case.endorsements.keys, case.anchors, Tee.SOFTWARE)
    named = next(((spki, anchor) for spki, anchor in keys if pin_of(spki) == evidence.key_id), None)
    if named is None:
        at_hand = bool(keys) or evidence.key_id in map(pin_of, case.endorsements.keys)
        raise not_pinned("the host's key", case.anchors, Tee.SOFTWARE, at_hand=at_hand, actual=evidence.key_id)
    spki, case.anchor = named
    if case.anchor.kind is AnchorKind.HARDWARE:
        raise ChainInvalid(
            "the host's key is pinned as a hardware anchor: no hardware vouches for a software enclave",
            expected=AnchorKind.SOFTWARE, actual=case.anchor.kind, set_by="trust anchors",
        )  # fmt: skip
    _cose_crypto.verify_sign1(evidence.message, _crypto.load_spki(spki), what="the host's signature")
    return Compared(("signed by", case.anchor.name), evidence.key_id, "trust anchors")


@RECIPE.step(
    "Guarded",
    source="docs/formats/software-evidence.md, guard",
    fix="start the enclave without --unsafe-no-guard",
    cost="the host's root can attach a debugger and make the program write out its secrets",
)
def guarded(case: Case) -> Outcome:
    """The guard pair is armed."""
    guard = case.evidence.guard
    if guard is Guard.ARMED:
        return Compared(Guard.ARMED, guard)
    if case.allow.unsafe_allow_debug:
        return Unchecked("the enclave runs without its guard; the caller allows it (unsafe_allow_debug)")
    raise VerificationError("the enclave runs without its guard: root can debug it", expected=Guard.ARMED, actual=guard)


@RECIPE.step(
    "Answers the challenge",
    source="RFC 9334, section 10",
    fix="ask the enclave for new evidence over this nonce",
    cost="old evidence can be replayed by whoever recorded it",
)
def fresh(case: Case) -> Outcome:
    """The report data is the nonce, zero-padded."""
    return freshness(case.challenge, case.evidence.report_data, field_name="the report data")


def conclude(case: Case) -> tuple[TrustAnchor, Tcb, Mapping[str, object]]:
    """The anchor; nobody publishes a TCB standing."""
    return case.anchor, Tcb(), {}


def verify(
    evidence: SoftwareEvidence,
    *,
    anchors: TrustAnchors,
    endorsements: Endorsements,
    at: datetime,
    challenge: Challenge | Unchecked,
    allow: Allowances = Allowances(),  # noqa: B008 - immutable
) -> VerifiedEvidence[SoftwareEvidence]:
    """Verify software evidence against a nonce, with these anchors and the host keys in `endorsements.keys`.

    Nothing in it has dates: `at` is only noted.
    """
    case = Case(evidence=evidence, anchors=anchors, endorsements=endorsements, challenge=challenge, allow=allow)
    return verified(RECIPE, case, tee=Tee.SOFTWARE, evidence=evidence, at=at, conclude=conclude)
