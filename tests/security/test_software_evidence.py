"""Attacks on software evidence: passing for hardware, every byte altered, keys of the attacker's own."""

from dataclasses import replace
from typing import Any

import cbor2
import pytest
from tests.forge.arm import ArmForge
from tests.forge.cose import sign1, signed
from tests.forge.software import SoftwareForge
from tests.forge.x509 import NOW

from cloister import _cbor
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import ChainInvalid, ParseError, SignatureInvalid, VerificationError
from cloister.evidence import cca, keystone
from cloister.evidence.software import Guard, looks_like, parse
from cloister.model import Challenge, Tee
from cloister.verification import software

FORGE = SoftwareForge()
ATTACKER = SoftwareForge()
NONCE = b"a nonce of the caller"


def verify(data: bytes, **changes: Any) -> object:
    given: dict[str, Any] = {"anchors": FORGE.anchors, "endorsements": FORGE.endorsements}
    return software.verify(parse(data), at=NOW, challenge=Challenge(NONCE), **given | changes)


@pytest.mark.parametrize("given", [FORGE.endorsements, Endorsements()], ids=["key at hand", "no key"])
def test_hardware_anchors_never_accept_it(given: Endorsements) -> None:
    with pytest.raises(ChainInvalid):
        verify(FORGE.evidence(NONCE), anchors=TrustAnchors.hardware(), endorsements=given)


def test_a_host_key_pinned_as_hardware_is_not_believed() -> None:
    """Whoever pins it so by mistake would take the verdict for one about hardware."""
    anchors = TrustAnchors.of([FORGE.spki], kind=AnchorKind.HARDWARE, name="host", tees=Tee)
    with pytest.raises(ChainInvalid, match="no hardware vouches"):
        verify(FORGE.evidence(NONCE), anchors=anchors)


def test_it_passes_for_no_other_tee_s_evidence() -> None:
    data = FORGE.evidence(NONCE)
    for other in (cca, keystone):
        assert not other.looks_like(data)
        with pytest.raises(ParseError):
            other.parse(data)
    for foreign in (ArmForge().token(), sign1(FORGE.key, b"\xa0").serialize(), b""):
        assert not looks_like(foreign)
        with pytest.raises(ParseError):
            parse(foreign)


def test_evidence_under_the_attacker_s_own_key() -> None:
    named_as_ours = ATTACKER.evidence(NONCE, key_id=parse(FORGE.evidence()).key_id)
    with pytest.raises(SignatureInvalid):
        verify(named_as_ours)
    for given in (ATTACKER.endorsements, ATTACKER.endorsements | FORGE.endorsements):
        with pytest.raises(ChainInvalid):
            verify(ATTACKER.evidence(NONCE), endorsements=given)


def test_an_attacker_cannot_claim_the_guard() -> None:
    honest = parse(FORGE.evidence(NONCE, guard=Guard.OFF))
    lying = replace(honest, guard=Guard.ARMED)
    with pytest.raises(SignatureInvalid):
        verify(lying.serialize())


def test_a_flipped_bit_in_any_byte_is_noticed() -> None:
    """Own format, one encoding: there is no byte that a flip could change without harm."""
    data = FORGE.evidence(NONCE, kernel="6.18.0", boot_id=bytes(16), secure_boot=True)
    verify(data)
    for position in range(len(data)):
        for bit in range(8):
            flipped = data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]
            with pytest.raises((ParseError, VerificationError)):
                verify(flipped)


def test_what_the_host_signs_elsewhere_is_no_evidence() -> None:
    """A host that signs other COSE messages with the same key: only this profile's claims are read."""
    claims = cbor2.loads(FORGE.said(NONCE).message.payload) | {265: "tag:cloister,2026:something-else#1"}
    message = replace(FORGE.said(NONCE).message, payload=_cbor.dumps(claims))
    with pytest.raises(ParseError, match="eat_profile"):
        parse(signed(message, FORGE.key).serialize())
