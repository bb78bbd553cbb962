"""How an Arm CCA attestation token is verified (draft-ffm-rats-cca-token, section 7; numbered as its explanation is).

1. The platform token is signed by a platform key (CPAK) that the caller has pinned and handed over.
2. The platform token's challenge is the hash of the realm key claim, over its bytes as given, by the algorithm that
   the realm token names.
3. The realm token is signed by that realm key (RAK).
4. The platform's lifecycle state is `secured`: nobody can debug its firmware; unless the caller allows that.
5. The realm's challenge contains the caller's nonce.

Platform keys have no certificates (section 6), so who pins one vouches for the platform. Every pinned key at hand is
tried: hand over those of the platforms you expect, not a fleet's.

Not checked here: which realm it is (RIM, REMs, RPV), which firmware the platform runs (its software components),
whether a platform key was withdrawn (nobody publishes that), and whether measurements have the length of the hash
that the token names (published test tokens differ). The first two are appraisal.
"""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cloister import _cose_crypto, _crypto
from cloister.endorse.anchors import TrustAnchor, TrustAnchors, pin_of
from cloister.endorse.store import Endorsements
from cloister.errors import BindingInvalid, ParseError, SignatureInvalid, VerificationError
from cloister.evidence.cca import CcaToken
from cloister.evidence.cca_claims import HASHES
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

SECURED: Final = "secured"
DECOMMISSIONED: Final = "decommissioned"


@dataclass(slots=True, kw_only=True)
class Case:
    """One verification: what was handed in, then what the steps found."""

    token: CcaToken
    anchors: TrustAnchors
    endorsements: Endorsements
    challenge: Challenge | Unchecked
    allow: Allowances
    anchor: TrustAnchor = field(init=False)


RECIPE: Recipe[Case] = Recipe("CCA")


@RECIPE.step(
    "Platform token signed by a pinned platform key",
    source="draft-ffm-rats-cca-token 7; RFC 9052 4.4",
    fix="get this platform's attestation key (CPAK) from its manufacturer or owner and pin it",
    cost="anybody can write a platform token: it says whatever its author likes",
)
def platform_signature(case: Case) -> Outcome:
    """Try every pinned key; what verifies decides the anchor."""
    keys = pinned(case.endorsements.keys, case.anchors, Tee.CCA)
    for spki, anchor in keys:
        if _signed_by(case.token, spki):
            case.anchor = anchor
            return Compared(("signed by", anchor.name), pin_of(spki), "trust anchors")
    others = case.endorsements.keys
    if not keys or any(_signed_by(case.token, spki) for spki in others):
        pins = [pin_of(spki) for spki in others]
        raise not_pinned("the platform key (CPAK)", case.anchors, Tee.CCA, at_hand=bool(others), actual=pins)
    raise SignatureInvalid(
        "the platform token's signature does not verify under any pinned platform key",
        expected=[pin_of(spki) for spki, _ in keys], actual="no signature by these", set_by="trust anchors",
    )  # fmt: skip


def _signed_by(token: CcaToken, spki: bytes) -> bool:
    try:
        _cose_crypto.verify_sign1(token.platform, _crypto.load_spki(spki), what="the platform token's signature")
    except SignatureInvalid:
        return False
    return True


@RECIPE.step(
    "Platform token vouches for the realm key",
    source="draft-ffm-rats-cca-token 4.10",
    fix="use a platform token and a realm token of the same attester and boot",
    cost="anybody can put a realm token of their own beside a genuine platform token",
)
def binding(case: Case) -> Outcome:
    """The platform challenge is the hash of the realm key claim."""
    claims = case.token.realm_claims
    expected = hashlib.new(HASHES[claims.public_key_hash_algorithm], claims.public_key).digest()
    actual = case.token.platform_claims.challenge
    if expected != actual:
        raise BindingInvalid(
            "the platform token's challenge is not the hash of the realm key: the two tokens do not belong together",
            expected=expected, actual=actual, set_by="the realm token's key",
        )  # fmt: skip
    return Compared(expected, actual, "the realm token's key")


@RECIPE.step(
    "Realm token signed by the realm key",
    source="draft-ffm-rats-cca-token 7; RFC 9052 4.4",
    fix="ask the attester for a new token; this one was altered",
    cost="anybody can alter what the token says about the realm",
)
def realm_signature(case: Case) -> Outcome:
    """The realm key signed the realm token."""
    claims = case.token.realm_claims
    key = _realm_key(claims.public_key, bool(claims.profile))
    _cose_crypto.verify_sign1(case.token.realm, key, what="the realm token's signature")
    return Compared("signed by the realm key", claims.public_key)


@functools.lru_cache(maxsize=256)
def _realm_key(claim: bytes, is_cose_key: bool) -> _crypto.PublicKey:  # noqa: FBT001 - part of the cache's key
    if not is_cose_key:
        return _crypto.ec_public_key_compressed("P-384", claim)
    try:
        return _cose_crypto.cose_key(claim, "CcaRealmKey")
    except ParseError as error:
        raise SignatureInvalid(f"the realm key cannot be used: {error}", actual=claim) from error


@RECIPE.step(
    "Platform is secured",
    source="draft-ffm-rats-cca-token 4.5.2",
    fix="lock the platform's debug ports and restart it; a decommissioned platform stays refused",
    cost="whoever debugs the platform's firmware can read every realm and sign for it",
)
def secured(case: Case) -> Outcome:
    """The lifecycle state says that nobody can debug the platform."""
    claims = case.token.platform_claims
    state = claims.lifecycle_state
    if state == SECURED:
        return Compared(SECURED, state)
    if case.allow.unsafe_allow_debug and state != DECOMMISSIONED:
        return Unchecked(f"the platform's state is {state}; the caller allows it (unsafe_allow_debug)")
    raise VerificationError(
        f"the platform's lifecycle state is {state}: it is not protected from whoever debugs its firmware",
        expected=SECURED, actual=f"{state} ({claims.lifecycle:#06x})",
    )  # fmt: skip


@RECIPE.step(
    "Answers the challenge",
    source="RFC 9334, section 10; draft-ffm-rats-cca-token 4.8.1",
    fix="ask the attester for a new token over this nonce",
    cost="an old token can be replayed by whoever recorded it",
)
def fresh(case: Case) -> Outcome:
    """The realm challenge is the nonce, zero-padded."""
    return freshness(case.challenge, case.token.realm_claims.challenge, field_name="the realm's challenge")


def conclude(case: Case) -> tuple[TrustAnchor, Tcb, Mapping[str, object]]:
    """The anchor; Arm publishes no TCB standing."""
    return case.anchor, Tcb(), {}


def verify(
    evidence: CcaToken,
    *,
    anchors: TrustAnchors,
    endorsements: Endorsements,
    at: datetime,
    challenge: Challenge | Unchecked,
    allow: Allowances = Allowances(),  # noqa: B008 - immutable
) -> VerifiedEvidence[CcaToken]:
    """Verify a CCA token against a nonce, with these anchors and the platform keys in `endorsements.keys`.

    Nothing in it has dates: `at` is only noted.
    """
    case = Case(token=evidence, anchors=anchors, endorsements=endorsements, challenge=challenge, allow=allow)
    return verified(RECIPE, case, tee=Tee.CCA, evidence=evidence, at=at, conclude=conclude)
