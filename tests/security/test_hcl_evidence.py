"""Attacks on Azure's bundle: nobody gets a vTPM key believed that the processor did not vouch for."""

import contextlib
import json
from typing import Any

import pytest
from tests.forge.tpm import NONCE, TAKEN, TpmForge, hardware_report, runtime_data
from tests.forge.x509 import NOW

from cloister.endorse.anchors import AnchorKind, TrustAnchor, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import BindingInvalid, ChainInvalid, NotFresh, ParseError, SignatureInvalid, VerificationError
from cloister.evidence import snp
from cloister.evidence.snp import Report
from cloister.evidence.tpm import of_parts
from cloister.model import Challenge, Tee
from cloister.verification import tpm
from cloister.verification.hcl import verify_bound_quote
from cloister.verification.recipe import Compared, Outcome, Tcb, VerifiedEvidence, verified

FORGE, ATTACKER = TpmForge(), TpmForge()
RUNTIME, QUOTE = runtime_data(FORGE), FORGE.quote(key=b"")
ASKED = Challenge(NONCE)


def test_the_control_this_bundle_does_verify() -> None:
    verify_bound_quote(QUOTE, hardware_report(RUNTIME), RUNTIME, challenge=ASKED)


def test_a_verified_report_cannot_be_made_by_hand() -> None:
    genuine = hardware_report(RUNTIME)
    made: dict[str, Any] = {
        "tee": Tee.SNP, "evidence": genuine.evidence, "anchor": genuine.anchor, "at": NOW, "tcb": Tcb(),
        "recipe": TAKEN, "outcomes": (),
    }  # fmt: skip
    with pytest.raises(TypeError, match="is made by"):
        VerifiedEvidence[Report](**made)


def test_an_unverified_report_vouches_for_nothing() -> None:
    report: Any = hardware_report(RUNTIME).evidence
    with pytest.raises(VerificationError, match="needs a verified SNP report"):
        verify_bound_quote(QUOTE, report, RUNTIME, challenge=ASKED)


def test_a_report_under_test_anchors_makes_the_quote_worth_no_more() -> None:
    found = verify_bound_quote(QUOTE, hardware_report(RUNTIME), RUNTIME, challenge=ASKED)
    assert found.anchor.kind is AnchorKind.TESTING


def test_the_tpm_recipe_alone_does_not_believe_such_a_key() -> None:
    with pytest.raises(ChainInvalid):
        tpm.verify(
            FORGE.quote(), anchors=TrustAnchors.hardware(), endorsements=Endorsements(keys=(FORGE.spki,)), at=NOW,
            challenge=ASKED,
        )  # fmt: skip


def test_a_genuine_report_beside_a_key_of_ones_own() -> None:
    """The attacker has a genuine report and its runtime data, and a TPM in software."""
    report = hardware_report(RUNTIME)
    for quote in (ATTACKER.quote(), ATTACKER.quote(key=b""), ATTACKER.quote(key=FORGE.spki)):
        with pytest.raises((BindingInvalid, SignatureInvalid)):
            verify_bound_quote(quote, report, RUNTIME, challenge=ASKED)
    with pytest.raises(BindingInvalid, match="does not vouch for this runtime data"):
        verify_bound_quote(ATTACKER.quote(), report, runtime_data(ATTACKER), challenge=ASKED)


@pytest.mark.parametrize("vmpl", [1, 2, 3])
def test_an_operating_system_that_asks_for_its_own_report(vmpl: int) -> None:
    """Inside the VM anybody can have a report with any report data made, for a lower level than the paravisor's."""
    own = runtime_data(ATTACKER)
    with pytest.raises(BindingInvalid, match="not asked for by the paravisor"):
        verify_bound_quote(ATTACKER.quote(), hardware_report(own, vmpl=vmpl), own, challenge=ASKED)


def test_a_second_key_slipped_into_the_runtime_data() -> None:
    keys = [json.loads(runtime_data(one))["keys"][0] for one in (FORGE, ATTACKER)]
    for order in (keys, keys[::-1]):
        both = runtime_data(FORGE, keys=order)
        with pytest.raises(ParseError, match="2 keys"):
            verify_bound_quote(ATTACKER.quote(), hardware_report(both), both, challenge=ASKED)


def test_no_flipped_bit_of_the_runtime_data_verifies() -> None:
    report = hardware_report(RUNTIME)
    for at in range(len(RUNTIME)):
        for bit in range(8):
            altered = RUNTIME[:at] + bytes([RUNTIME[at] ^ 1 << bit]) + RUNTIME[at + 1 :]
            with pytest.raises(BindingInvalid):
                verify_bound_quote(QUOTE, report, altered, challenge=ASKED)


def test_no_flipped_bit_of_the_signature_verifies() -> None:
    report, signature = hardware_report(RUNTIME), QUOTE.signature.serialize()
    for at in range(len(signature)):
        altered = signature[:at] + bytes([signature[at] ^ 1]) + signature[at + 1 :]
        with contextlib.suppress(ParseError):
            quote = of_parts(QUOTE.attest.signed, altered)
            with pytest.raises(VerificationError):
                verify_bound_quote(quote, report, RUNTIME, challenge=ASKED)


def test_a_hash_that_covers_half_the_report_data_only() -> None:
    """The other half must be zeros: a program that hashes something else into it is not this paravisor."""
    report = hardware_report(RUNTIME)
    data = bytearray(report.evidence.serialize())
    data[0x50 + 40] = 1
    altered = snp.parse(bytes(data))
    anchor = TrustAnchor(name="x", tees=frozenset({Tee.SNP}), kind=AnchorKind.TESTING, spki_sha256=bytes(32))
    case: list[Outcome] = [Compared("-", "-")]
    half = verified(TAKEN, case, tee=Tee.SNP, evidence=altered, at=NOW, conclude=lambda _: (anchor, Tcb(), {}))
    with pytest.raises(BindingInvalid):
        verify_bound_quote(QUOTE, half, RUNTIME, challenge=ASKED)


def test_a_recorded_bundle_does_not_answer_a_new_challenge() -> None:
    report = hardware_report(RUNTIME)
    for nonce in (b"today", NONCE + b"\0", NONCE[:-1]):
        with pytest.raises(NotFresh):
            verify_bound_quote(QUOTE, report, RUNTIME, challenge=Challenge(nonce))
