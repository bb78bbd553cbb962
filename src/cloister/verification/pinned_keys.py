"""Evidence signed by a key without a certificate: the caller pins it as an anchor and hands over the key itself."""

import functools

from cloister.endorse.anchors import TrustAnchor, TrustAnchors
from cloister.errors import ChainInvalid, EndorsementUnavailable
from cloister.model import Tee

__all__ = ["not_pinned", "pinned"]


@functools.lru_cache(maxsize=256)
def pinned(keys: tuple[bytes, ...], anchors: TrustAnchors, tee: Tee) -> tuple[tuple[bytes, TrustAnchor], ...]:
    """Those of `keys` (DER SubjectPublicKeyInfo) that are anchors for this TEE, each once, with their anchors."""
    found = ((spki, anchors.find(tee, spki)) for spki in dict.fromkeys(keys))
    return tuple((spki, anchor) for spki, anchor in found if anchor is not None)


def not_pinned(what: str, anchors: TrustAnchors, tee: Tee, *, at_hand: bool, actual: object) -> Exception:
    """Why no pinned key could be tried, to be raised: nobody decided yet, or the answer is no.

    `what` names the key; `at_hand` says whether any key was handed over, `actual` which.
    """
    expected = anchors.named(tee)
    if at_hand or expected == "none":
        reason = f"{what} is not a trust anchor for {tee}"
        return ChainInvalid(reason, expected=expected, actual=actual, set_by="trust anchors")
    reason = f"{what} is pinned but not at hand: {tee} evidence does not carry it; hand it over with the endorsements"
    return EndorsementUnavailable(reason, expected=expected, actual="no key", set_by="trust anchors")
