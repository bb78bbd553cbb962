"""Attacks on SEV evidence: whatever is flipped, exchanged or replayed, AMD's roots never vouch for it."""

from dataclasses import replace
from typing import Any

import pytest
from tests.forge.amd import NOW
from tests.forge.amd_sev import DIGEST, TIK, sev_platform

from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import BindingInvalid, ChainInvalid, NotFresh, ParseError, VerificationError
from cloister.evidence import sev as evidence
from cloister.evidence.sev import SevEvidence
from cloister.model import Challenge, Unchecked
from cloister.verification import sev

STAND, ATTACKER = sev_platform(), sev_platform("attacker")
UNASKED = Unchecked("not asked in this test")
OWNER = sev.GuestOwner(tik=TIK, pdh=STAND.chain.pdh.serialize(), launch_digests=(DIGEST.value,))


def verify(given: SevEvidence, **changes: Any) -> None:
    settings: dict[str, Any] = {
        "anchors": STAND.anchors, "endorsements": Endorsements(), "at": NOW, "challenge": UNASKED, "owner": OWNER,
    } | changes  # fmt: skip
    sev.verify(given, **settings)


def test_the_control_this_evidence_does_verify() -> None:
    verify(STAND.attestation())
    verify(STAND.launch())


def test_the_hardware_anchors_refuse_forged_and_emulated_evidence() -> None:
    for given in (STAND.attestation(), STAND.launch()):
        with pytest.raises(ChainInvalid, match="not a trust anchor"):
            verify(given, anchors=TrustAnchors.hardware())


@pytest.mark.parametrize("kind", ["attestation", "launch"])
def test_every_bit_matters(kind: str) -> None:
    """Every byte of the front, every 7th of the certificates: all signed, part of a signature, fixed or reserved."""
    data = getattr(STAND, kind)().serialize()
    front = len(data) - len(STAND.chain.serialize())
    for offset in [*range(front), *range(front, len(data), 7)]:
        altered = bytearray(data)
        altered[offset] ^= 1 << offset % 8
        with pytest.raises((ParseError, VerificationError)):
            verify(evidence.parse(bytes(altered)))


def test_a_genuine_chain_does_not_vouch_for_a_stolen_key() -> None:
    """The host hands the owner a PDH of its own, learns the TIK, and shows a genuine platform's certificates."""
    tricked = replace(OWNER, pdh=ATTACKER.chain.pdh.serialize().replace(b"\1", b"\2", 1))
    with pytest.raises(BindingInvalid, match="another platform's PDH"):
        verify(STAND.launch(), owner=tricked)


def test_a_recorded_report_does_not_answer_a_new_challenge() -> None:
    recorded = STAND.attestation(nonce=b"yesterday")
    verify(recorded, challenge=Challenge(b"yesterday"))
    for nonce in (b"today", b"yesterday!", b"yester", b"\1", b"yesterday".ljust(17, b"\0")):
        with pytest.raises(NotFresh):
            verify(recorded, challenge=Challenge(nonce))


def test_a_measure_of_one_launch_is_none_of_another() -> None:
    """Another nonce of the firmware, another TIK."""
    first = STAND.launch()
    with pytest.raises(BindingInvalid):
        verify(STAND.launch(measure=first.measurement.measure, mnonce=bytes(16)))
    with pytest.raises(BindingInvalid):
        verify(first, owner=replace(OWNER, tik=bytes(16)))


def test_debug_guests_are_refused() -> None:
    for given in (STAND.attestation(policy=0), STAND.launch(policy=0x3E)):
        with pytest.raises(VerificationError, match="debug"):
            verify(given)


def test_certificates_of_two_platforms_do_not_mix() -> None:
    for part in ("pek", "cek", "ask"):
        mixed = replace(STAND.chain, **{part: getattr(ATTACKER.chain, part)})
        with pytest.raises(ChainInvalid):
            verify(replace(STAND.attestation(), chain=mixed))
