"""Verified evidence of any TEE that says nothing by itself: what it claims is handed to `judge` beside it."""

from datetime import UTC, datetime

from cloister.endorse.anchors import AnchorKind, TrustAnchor
from cloister.model import Tee
from cloister.verification.recipe import Compared, Outcome, Recipe, Tcb, VerifiedEvidence, verified

__all__ = ["AT", "plainly_verified"]

AT = datetime(2025, 6, 1, 12, tzinfo=UTC)
GOOD = Tcb(status="UpToDate")
RECIPE: Recipe[None] = Recipe("PLAIN")


@RECIPE.step("Is plain", source="-", fix="-", cost="-")
def is_plain(_case: None) -> Outcome:
    """Nothing to find out."""
    return Compared("plain", "plain")


def plainly_verified(tee: Tee, *, kind: AnchorKind = AnchorKind.HARDWARE, tcb: Tcb = GOOD) -> VerifiedEvidence[object]:
    """Evidence of that TEE under an anchor of that kind, on a platform of that standing."""
    anchor = TrustAnchor(name=f"{kind} root", tees=frozenset(Tee), kind=kind, spki_sha256=bytes(32))
    return verified(RECIPE, None, tee=tee, evidence=object(), at=AT, conclude=lambda _case: (anchor, tcb, {}))
