"""Attacks on Intel evidence: whatever is flipped, exchanged or replayed, the pinned root never vouches for it."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.forge.intel import DEBUG_SGX, DEBUG_TD, IntelForge, enclave_report, point, raw_signature, td_report
from tests.forge.x509 import NOW, Authority, ec_key, issue

from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import ChainInvalid, CloisterError, NotFresh, VerificationError
from cloister.evidence import sgx as sgx_evidence
from cloister.evidence import tdx as tdx_evidence
from cloister.model import Challenge, Tee, Unchecked
from cloister.verification import sgx, tdx
from cloister.verification.dcap import pck_certificates

FORGE = IntelForge()
SGX_GIVEN, TDX_GIVEN = FORGE.endorsements(), FORGE.endorsements(Tee.TDX)
UNASKED = Unchecked("not asked in this test")


def verify(data: bytes, anchors: TrustAnchors, **changes: Any) -> None:
    settings: dict[str, Any] = {"anchors": anchors, "at": NOW, "challenge": UNASKED} | changes
    if tdx_evidence.looks_like(data):
        tdx.verify(tdx_evidence.parse(data), endorsements=TDX_GIVEN, **settings)
    else:
        sgx.verify(sgx_evidence.parse(data), endorsements=SGX_GIVEN, **settings)


@pytest.mark.parametrize("make", [FORGE.sgx_quote, FORGE.tdx_quote])
def test_the_control_these_quotes_do_verify(make: Any) -> None:
    verify(make(), FORGE.anchors)


@pytest.mark.parametrize("make", [FORGE.sgx_quote, FORGE.tdx_quote])
def test_the_hardware_anchors_refuse_forged_and_emulated_evidence(make: Any) -> None:
    with pytest.raises(ChainInvalid, match="not a trust anchor"):
        verify(make(), TrustAnchors.hardware())


def test_the_hardware_anchors_are_hardware_only() -> None:
    anchors = TrustAnchors.hardware()._by_pin.values()
    assert {one.kind for one in anchors} == {AnchorKind.HARDWARE}


def test_handing_over_a_root_does_not_make_it_hardware() -> None:
    mixed = TrustAnchors.hardware() | FORGE.anchors
    found = sgx.verify(
        sgx_evidence.parse(FORGE.sgx_quote()), anchors=mixed, endorsements=SGX_GIVEN, at=NOW, challenge=UNASKED
    )
    assert found.anchor.kind is AnchorKind.TESTING


def test_debug_enclaves_and_tds_are_refused() -> None:
    for quote in (
        FORGE.sgx_quote(body=enclave_report(attributes=DEBUG_SGX)),
        FORGE.tdx_quote(body=td_report(tdattributes=DEBUG_TD)),
    ):
        with pytest.raises(VerificationError, match="debug"):
            verify(quote, FORGE.anchors)


def test_a_recorded_quote_does_not_answer_a_new_challenge() -> None:
    recorded = FORGE.sgx_quote(body=enclave_report(report_data=b"yesterday".ljust(64, b"\0")))
    verify(recorded, FORGE.anchors, challenge=Challenge(b"yesterday"))
    for nonce in (b"today", b"yesterday!", b"yester", b"\1", b"yesterday".ljust(65, b"\0")):
        with pytest.raises(NotFresh):
            verify(recorded, FORGE.anchors, challenge=Challenge(nonce))
    with pytest.raises(ValueError, match="zeros"):
        Challenge(bytes(1))


UNSIGNED = "the PEM text between and around the certificates: what is read is the DER inside, whose bytes are signed"


@pytest.mark.parametrize("make", [FORGE.sgx_quote, FORGE.tdx_quote])
def test_no_flipped_bit_verifies(make: Any) -> None:
    """Every bit up to the certification data, and every bit of that but what only spaces the PEM text."""
    quote = make()
    start = quote.index(b"-----BEGIN")
    chain = pck_certificates(quote[start:])
    for position in range(len(quote)):
        for bit in range(8) if position < start else (position % 8,):
            flipped = bytearray(quote)
            flipped[position] ^= 1 << bit
            try:
                verify(bytes(flipped), FORGE.anchors)
            except CloisterError:
                continue
            assert position >= start, f"byte {position}, bit {bit} is under no signature"
            assert pck_certificates(bytes(flipped[start:])) == chain, UNSIGNED


def test_a_quote_put_together_from_two_platforms() -> None:
    """The body and signature of one, the certificate of the other."""
    other = IntelForge()
    stranger = sgx_evidence.parse(other.sgx_quote())
    ours = sgx_evidence.parse(FORGE.sgx_quote())
    mixed = replace(
        stranger, signature=replace(stranger.signature, certification_data=ours.signature.certification_data)
    )
    with pytest.raises(VerificationError):
        verify(mixed.serialize(), FORGE.anchors)


def test_an_attestation_key_of_the_attacker_s() -> None:
    """The quoting enclave's genuine report over its own key, with a body signed by another key."""
    key, ours = ec_key(), sgx_evidence.parse(FORGE.sgx_quote())
    body = enclave_report(mrenclave=b"\xee" * 32)
    forged = replace(ours, body=body)
    forged = replace(forged, signature=replace(
        ours.signature, attestation_key=point(key), signature=raw_signature(key, forged.signed)))  # fmt: skip
    with pytest.raises(VerificationError, match="did not vouch"):
        verify(forged.serialize(), FORGE.anchors)


def test_another_enclave_on_a_genuine_platform_poses_as_the_quoting_enclave() -> None:
    report = FORGE.qe_report(mrsigner=b"\xbb" * 32)
    with pytest.raises(VerificationError, match="quoting enclave is not the one"):
        verify(FORGE.sgx_quote(qe_report=report), FORGE.anchors)


def test_the_sgx_quoting_enclave_cannot_quote_tds() -> None:
    report = FORGE.qe_report(Tee.SGX)
    with pytest.raises(VerificationError, match="quoting enclave is not the one"):
        verify(FORGE.tdx_quote(qe_report=report), FORGE.anchors)


def test_a_root_of_the_same_name_is_not_the_root() -> None:
    forge = IntelForge()
    forge.root.certificate = issue("Intel SGX Root CA", forge.root.key.public_key(), forge.root, ca=True)
    with pytest.raises(ChainInvalid):
        verify(forge.sgx_quote(), TrustAnchors.hardware())


def test_statements_under_another_root_are_not_used() -> None:
    """An attacker who can put files into the cache can deny, but not make an old platform look new."""
    attacker = IntelForge()
    rosy = attacker.collateral(tcb_info=attacker.tcb_info(tcbEvaluationDataNumber=999))
    given = Endorsements(intel=(rosy, *FORGE.endorsements(tcb_info=FORGE.tcb_info(status="OutOfDate")).intel))
    found = sgx.verify(
        sgx_evidence.parse(FORGE.sgx_quote()), anchors=FORGE.anchors, endorsements=given, at=NOW, challenge=UNASKED
    )
    assert found.tcb.status == "OutOfDate"


def test_a_pck_of_the_attacker_under_a_genuine_pck() -> None:
    """Whoever breaks one platform's PCK must not be able to issue certificates for others."""
    forge = IntelForge()
    attacker = Authority("Intel SGX PCK Platform CA")
    attacker.certificate = issue("Intel SGX PCK Platform CA", attacker.key.public_key(), forge.pck_ca)
    forge.pck_ca = attacker
    forge.pck = forge.pck_certificate(name="Intel SGX PCK Certificate")
    with pytest.raises(ChainInvalid):
        verify(forge.sgx_quote(), forge.anchors)


def test_time_does_not_stand_still() -> None:
    with pytest.raises(CloisterError, match="expired"):
        verify(FORGE.sgx_quote(), FORGE.anchors, at=datetime(2099, 1, 1, tzinfo=UTC))
