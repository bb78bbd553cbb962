"""Attacks on TPM quotes: flipped, exchanged, replayed or self-made ones never verify under the right anchors."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.forge.tpm import BOOT, NONCE, Measured, TpmForge, attest, event_log, extended
from tests.forge.x509 import NOW, Authority, issue

from cloister.appraise.tpm import claims
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import (
    BindingInvalid,
    ChainInvalid,
    CloisterError,
    NotFresh,
    ParseError,
    SignatureInvalid,
    VerificationError,
)
from cloister.evidence import tpm as evidence
from cloister.evidence.tpm import TpmQuote, of_parts
from cloister.evidence.tpm_key import parse_key
from cloister.model import Challenge, Tee, Unchecked
from cloister.verification import tpm
from cloister.verification.recipe import Allowances, VerifiedEvidence

FORGE, ATTACKER, ECC = TpmForge(), TpmForge(), TpmForge("ecdsa")
PCRS = {"sha256": extended()}
MESSAGE = attest(PCRS)
SIGNATURE = FORGE.sign(MESSAGE)


def verify(quote: TpmQuote, forge: TpmForge = FORGE, **changes: Any) -> VerifiedEvidence[TpmQuote]:
    settings: dict[str, Any] = {
        "anchors": forge.anchors, "endorsements": Endorsements(), "at": NOW, "challenge": Challenge(NONCE)
    }  # fmt: skip
    return tpm.verify(quote, **settings | changes)


def parts(message: bytes = MESSAGE, signature: bytes = SIGNATURE, **changes: Any) -> TpmQuote:
    settings: dict[str, Any] = {"key": FORGE.spki, "pcrs": PCRS, "event_log": event_log(banks=("sha256",))}
    return of_parts(message, signature, **settings | changes)


def test_the_control_this_quote_does_verify() -> None:
    verify(parts())
    verify(ECC.quote(), ECC)


def test_the_hardware_anchors_know_no_tpm() -> None:
    """No vendor's root vouches for TPMs unless somebody hands it over: which TPM to believe is the owner's to say."""
    for forge in (FORGE, ECC):
        with pytest.raises(ChainInvalid):
            verify(forge.quote(), anchors=TrustAnchors.hardware())


def test_a_key_pinned_for_another_kind_of_evidence_vouches_for_no_tpm() -> None:
    for tee in set(Tee) - {Tee.TPM}:
        with pytest.raises(ChainInvalid):
            verify(parts(), anchors=TrustAnchors.testing(FORGE.spki, tees=[tee]))


def test_a_key_of_ones_own_is_refused_however_it_is_handed_over() -> None:
    own = ATTACKER.quote()
    certificate = issue("AK", ATTACKER.ec.public_key(), Authority("a root of one's own"))
    for quote in (own, ATTACKER.quote(key=ATTACKER.public_area()), ATTACKER.quote(key=b"")):
        for given in (Endorsements(), Endorsements(keys=(ATTACKER.spki,), certificates=(certificate,))):
            with pytest.raises(CloisterError) as caught:
                verify(quote, endorsements=given)
            assert not isinstance(caught.value, ParseError)


def test_the_pinned_key_beside_a_quote_by_another() -> None:
    stolen = replace(ATTACKER.quote(), key=parse_key(FORGE.spki))
    with pytest.raises(SignatureInvalid):
        verify(stolen)
    with pytest.raises(SignatureInvalid):
        verify(replace(stolen, key=None), endorsements=Endorsements(keys=(FORGE.spki,)))


def test_a_self_signed_certificate_vouches_for_nothing() -> None:
    root = Authority("a CA that is nobody's")
    leaf = issue("AK", ECC.ec.public_key(), root)
    given = Endorsements(certificates=(leaf, root.certificate))
    with pytest.raises(ChainInvalid, match="not a trust anchor"):
        verify(ECC.quote(), anchors=FORGE.anchors, endorsements=given, allow=Allowances(unsafe_skip_revocation=True))


def test_a_certificate_may_not_be_another_certificates_issuer() -> None:
    """Whoever has one genuine attestation key's certificate cannot certify keys with it."""
    root = Authority("TPM maker")
    device = Authority("a genuine device", root)
    device.certificate = issue("a genuine device", device.key.public_key(), root)  # no CA
    leaf = issue("AK", ECC.ec.public_key(), device)
    given = Endorsements(certificates=(leaf, device.certificate, root.certificate))
    anchors = TrustAnchors.testing(root.certificate.spki, tees=[Tee.TPM])
    with pytest.raises(ChainInvalid):
        verify(ECC.quote(), anchors=anchors, endorsements=given, allow=Allowances(unsafe_skip_revocation=True))


def flips(data: bytes) -> Iterator[bytes]:
    for at in range(len(data)):
        for bit in range(8):
            yield data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def refused(message: bytes = MESSAGE, signature: bytes = SIGNATURE, **changes: Any) -> None:
    with pytest.raises((ParseError, VerificationError)):
        verify(parts(message, signature, **changes))


def test_no_flipped_bit_of_the_statement_verifies() -> None:
    count = 0
    for altered in flips(MESSAGE):
        refused(altered)
        count += 1
    assert count == 8 * len(MESSAGE)


def test_no_flipped_bit_of_the_signature_verifies() -> None:
    for altered in flips(SIGNATURE):
        refused(signature=altered)


def test_no_flipped_bit_of_an_ecdsa_signature_verifies() -> None:
    quote = ECC.quote()
    for altered in flips(quote.signature.serialize()):
        with contextlib.suppress(ParseError):
            other = of_parts(quote.attest.signed, altered, key=ECC.spki)
            with pytest.raises(VerificationError):
                verify(other, ECC)


def test_no_flipped_bit_of_the_key_verifies() -> None:
    for altered in flips(FORGE.spki):
        refused(key=altered)
    area = FORGE.public_area()
    anchored = parse_key(area).spki
    for altered in flips(area):
        with contextlib.suppress(ParseError, VerificationError):
            found = verify(parts(key=altered))
            # What names the key's other properties is not the key: it counts only where the quote proves it.
            assert found.facts["ak"] == anchored
            assert any("Key attests only" in line for line in found.unchecked)


def test_no_flipped_bit_of_a_pcr_value_verifies() -> None:
    for index in range(24):
        for altered in list(flips(PCRS["sha256"][index]))[::37]:
            refused(pcrs={"sha256": PCRS["sha256"] | {index: altered}})


def measured(found: VerifiedEvidence[TpmQuote]) -> dict[str, list[bytes]]:
    """The digests of every register that counts as proven."""
    log, proven = found.evidence.event_log, found.facts["event_log_proven"]
    assert log is not None
    assert isinstance(proven, tuple)
    events = [one for one in log.events if one.type != 3]
    return {name: [one.digest("sha256") for one in events if name == f"sha256 pcr{one.register}"] for name in proven}


def test_no_flipped_bit_of_the_event_log_changes_what_is_proven() -> None:
    """Harmless flips: types, data that is not what was hashed, the platform class in the log's head.

    Harmless too: an event moved to a register that the quote does not select. Its own register is left without events
    and is then not among those that are proven.
    """
    log = event_log(banks=("sha256",))
    genuine = measured(verify(parts(event_log=log)))
    assert len(genuine) == 10
    survived = 0
    for altered in flips(log):
        with contextlib.suppress(ParseError, VerificationError):
            found = measured(verify(parts(event_log=altered)))
            assert {name: genuine[name] for name in found} == found
            assert genuine.keys() - found.keys() <= {
                "sha256 pcr8",
                "sha256 pcr9",
            }  # what the firmware owns is always there
            survived += 1
    assert 0 < survived < 4 * len(log)


def test_events_that_extend_nothing_prove_nothing() -> None:
    """An attacker may put EV_NO_ACTION events anywhere; they never show among what is proven."""
    log = event_log((*BOOT, Measured(4, 3, b"trust me")), banks=("sha256",))
    assert "trust me" not in str(claims(verify(parts(event_log=log)))["events"])


def test_events_left_out_are_missed() -> None:
    for place in range(len(BOOT)):
        shorter = event_log(BOOT[:place] + BOOT[place + 1 :], banks=("sha256",))
        if BOOT[place].register < 8:
            with pytest.raises(BindingInvalid):
                verify(parts(event_log=shorter))


def test_a_quote_over_fewer_pcrs_does_not_take_the_others_along() -> None:
    """PCRs that the quote does not select are the attester's word: values for them are refused, not ignored."""
    few = {index: PCRS["sha256"][index] for index in (0, 1)}
    message = attest({"sha256": few})
    verify(of_parts(message, FORGE.sign(message), key=FORGE.spki, pcrs={"sha256": few}))
    with pytest.raises(BindingInvalid, match="not those that the quote selects"):
        verify(of_parts(message, FORGE.sign(message), key=FORGE.spki, pcrs=PCRS))


@pytest.mark.parametrize("magic", [0, 0xFF544346, 0x474354FF])
def test_what_a_tpm_did_not_make_is_no_quote(magic: int) -> None:
    """A key that is not restricted signs anything; what a restricted one made begins with the TPM's own value."""
    message = attest(PCRS, magic=magic)
    with pytest.raises(ParseError, match="magic"):
        parts(message, FORGE.sign(message))


@pytest.mark.parametrize("kind", [0x8014, 0x8017, 0x8019, 0x801A, 0x801C, 0xC003])
def test_other_things_that_the_same_key_signs_are_no_quotes(kind: int) -> None:
    message = attest(PCRS, kind=kind)
    with pytest.raises(ParseError, match="not a quote"):
        parts(message, FORGE.sign(message))


def test_a_recorded_quote_does_not_answer_a_new_challenge() -> None:
    recorded = FORGE.quote(nonce=b"yesterday")
    verify(recorded, challenge=Challenge(b"yesterday"))
    for nonce in (b"today", b"yesterday!", b"yester", b"yesterday\0", bytes(8) + b"\1"):
        with pytest.raises(NotFresh):
            verify(recorded, challenge=Challenge(nonce))


def test_a_signature_with_a_broken_hash_is_refused_even_under_a_pinned_key() -> None:
    with pytest.raises(SignatureInvalid, match="sha1: refused"):
        verify(FORGE.quote(hash_name="sha1"))


def test_the_signatures_hash_cannot_be_swapped() -> None:
    for hash_name in ("sha384", "sha512"):
        quote = FORGE.quote(hash_name=hash_name)
        swapped = replace(quote, signature=replace(quote.signature, digest="sha256"))
        with pytest.raises(SignatureInvalid):
            verify(swapped)


def test_fields_cannot_be_changed_under_a_signature() -> None:
    """A record made from other fields is other bytes: what is shown is what was signed."""
    quote = parts()
    altered = replace(quote, attest=replace(quote.attest, extra_data=b"another nonce"))
    with pytest.raises(SignatureInvalid):
        verify(altered, challenge=Challenge(b"another nonce"))
    values = replace(quote.attest, pcr_digest=bytes(32))
    with pytest.raises(SignatureInvalid):
        verify(replace(quote, attest=values))


def test_nothing_is_verified_by_asking_for_less() -> None:
    """Leaving parts out is said aloud; it never turns into a pass."""
    bare = of_parts(MESSAGE, SIGNATURE, key=FORGE.spki)
    left_out = " ".join(verify(bare, challenge=Unchecked("no nonce")).unchecked)
    for words in ("PCR values: ", "Event log: ", "Answers the challenge: no nonce", "Key attests only: "):
        assert words in left_out


def test_pinning_makes_no_hardware_of_a_key() -> None:
    owned = TrustAnchors.of([FORGE.spki], kind=AnchorKind.OWNER, name="my TPM", tees=[Tee.TPM])
    assert verify(parts(), anchors=TrustAnchors.hardware() | owned).anchor.kind is AnchorKind.OWNER


def test_the_json_form_gains_nothing() -> None:
    data = parts().serialize()
    verify(evidence.parse(data))
    for at in range(0, len(data), 7):
        altered = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with contextlib.suppress(ParseError, VerificationError):
            found = verify(evidence.parse(altered)).evidence
            assert found.attest == parts().attest
            assert found.pcrs == parts().pcrs
