"""How a Keystone report is verified (Keystone's sdk/src/verifier/report.cpp; numbered as its explanation is).

1. The device signed the security monitor's report, with a key that the caller has pinned.
2. The security monitor, with the key in that report, signed the enclave's report.
3. The signed data contains the caller's nonce.

The signatures are Ed25519 over SHA3-512 (`cloister._ed25519_sha3`): a report signed as RFC 8032 says is refused. The
report names its device's key, but nothing signs that name: it only says which pinned key to try first, as in Keystone's
own verifier, which ignores it. Device keys have no certificates: who pins one vouches for the device.

Not checked here: which enclave and which security monitor these are (that is appraisal); whether the device's key was
withdrawn (nobody publishes that); whether memory is protected from whoever opens the device (Keystone's monitor alone
does not encrypt it). Keystone has no debug mode that a report could confess.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from cloister import _ed25519_sha3
from cloister._ed25519_sha3 import spki_of_ed25519
from cloister.endorse.anchors import TrustAnchor, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import SignatureInvalid
from cloister.evidence.keystone import KeystoneReport
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

    report: KeystoneReport
    anchors: TrustAnchors
    endorsements: Endorsements
    challenge: Challenge | Unchecked
    anchor: TrustAnchor = field(init=False)
    device_key: bytes = b""


RECIPE: Recipe[Case] = Recipe("KEYSTONE")


@RECIPE.step(
    "Security monitor signed by a pinned device",
    source="Keystone sm/src/attest.c and bootrom/bootloader.c",
    fix="get this device's public key from its owner and pin it",
    cost="anybody can write such a report: it says whatever its author likes",
)
def device_signature(case: Case) -> Outcome:
    """Try the pinned keys, first the one that the report names."""
    monitor, named = case.report.monitor, case.report.device_key
    keys = pinned((spki_of_ed25519(named), *case.endorsements.keys), case.anchors, Tee.KEYSTONE)
    for spki, anchor in keys:
        if spki == spki_of_ed25519(spki[-32:]) and _monitor_signed(spki[-32:], monitor.signature, monitor.signed):
            case.anchor, case.device_key = anchor, spki[-32:]
            return Compared(("signed by", anchor.name), case.device_key, "trust anchors")
    if not keys or _monitor_signed(named, monitor.signature, monitor.signed):
        raise not_pinned("the device's key", case.anchors, Tee.KEYSTONE, at_hand=True, actual=named)
    raise SignatureInvalid(
        "the security monitor's report does not verify under any pinned device key",
        expected=[spki[-32:] for spki, _ in keys], actual=named, set_by="trust anchors",
    )  # fmt: skip


@functools.lru_cache(maxsize=1024)
def _monitor_signed(device_key: bytes, signature: bytes, signed: bytes) -> bool:
    """Whether the device signed this monitor. Remembered: it is the same in every report until the monitor changes."""
    try:
        _ed25519_sha3.verify(device_key, signature, signed, what="the security monitor's report")
    except SignatureInvalid:
        return False
    return True


@RECIPE.step(
    "Enclave's report signed by the security monitor",
    source="Keystone sm/src/attest.c",
    fix="ask the enclave for a new report; this one was altered, or signed with RFC 8032's Ed25519",
    cost="anybody can alter what the report says about the enclave",
)
def enclave_signature(case: Case) -> Outcome:
    """The monitor's key signed hash, length and data of the enclave."""
    enclave, key = case.report.enclave, case.report.monitor.public_key
    _ed25519_sha3.verify(key, enclave.signature, enclave.signed, what="the enclave's report")
    return Compared("signed by the security monitor", key)


@RECIPE.step(
    "Answers the challenge",
    source="RFC 9334, section 10",
    fix="ask the enclave for a new report over this nonce",
    cost="an old report can be replayed by whoever recorded it",
)
def fresh(case: Case) -> Outcome:
    """The signed data is the nonce, zero-padded. What stands behind it is not looked at: nobody signed it."""
    return freshness(case.challenge, case.report.enclave.signed_data, field_name="the enclave's data")


def conclude(case: Case) -> tuple[TrustAnchor, Tcb, Mapping[str, object]]:
    """The anchor; nobody publishes a TCB standing. `device_key` is the one that verified, not the one named."""
    return case.anchor, Tcb(), {"device_key": case.device_key.hex()}


def verify(
    evidence: KeystoneReport,
    *,
    anchors: TrustAnchors,
    endorsements: Endorsements,
    at: datetime,
    challenge: Challenge | Unchecked,
    allow: Allowances = Allowances(),  # noqa: B008 - immutable
) -> VerifiedEvidence[KeystoneReport]:
    """Verify a Keystone report against a nonce, with these anchors and the device keys in `endorsements.keys`.

    Nothing in it has dates: `at` is only noted. Nor is there anything that `allow` could allow.
    """
    del allow
    case = Case(report=evidence, anchors=anchors, endorsements=endorsements, challenge=challenge)
    return verified(RECIPE, case, tee=Tee.KEYSTONE, evidence=evidence, at=at, conclude=conclude)
