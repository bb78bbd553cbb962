"""Attacks on SNP evidence: whatever is flipped, exchanged or replayed, AMD's roots never vouch for it."""

from typing import Any

import pytest
from tests.forge.amd import NOW, TCBS, Authority, Ek, issue, platform, rsa_key, signed_report
from tests.samples.conftest import EVIDENCE

from cloister._x509 import Certificate
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import (
    ChainInvalid,
    CloisterError,
    EndorsementUnavailable,
    NotFresh,
    ParseError,
    SignatureInvalid,
    VerificationError,
)
from cloister.evidence import snp as evidence
from cloister.evidence.sev_keys import EcSignature
from cloister.evidence.snp import Product, Report, SigningKey
from cloister.model import Challenge, Tee, Unchecked
from cloister.verification import snp
from cloister.verification.recipe import Allowances

MILAN = platform()
VCEK = MILAN.ek()
NONCE = b"asked just now"
GIVEN = MILAN.endorsements(VCEK)
UNASKED = Unchecked("not asked in this test")


def verify(report: Report, **changes: Any) -> None:
    settings: dict[str, Any] = {
        "anchors": MILAN.anchors, "endorsements": GIVEN, "at": NOW, "challenge": Challenge(NONCE),
    } | changes  # fmt: skip
    snp.verify(report, **settings)


def made(ek: Ek | None = VCEK, **fields: Any) -> Report:
    return signed_report(ek, **{"nonce": NONCE} | fields)


def test_the_control_this_report_does_verify() -> None:
    verify(made())


@pytest.mark.parametrize("product", list(Product))
def test_the_hardware_anchors_refuse_forged_and_emulated_evidence(product: Product) -> None:
    stand = platform(product)
    report = signed_report(stand.ek(), product=product, nonce=NONCE)
    with pytest.raises(ChainInvalid, match="not a trust anchor"):
        verify(report, anchors=TrustAnchors.hardware(), endorsements=stand.endorsements(stand.ek()))


def test_handing_over_a_root_does_not_make_it_hardware() -> None:
    found = snp.verify(
        made(), anchors=TrustAnchors.hardware() | MILAN.anchors, endorsements=GIVEN, at=NOW, challenge=Challenge(NONCE)
    )
    assert found.anchor.kind is AnchorKind.TESTING


def test_a_root_that_is_trusted_for_another_tee_does_not_vouch() -> None:
    anchors = TrustAnchors.testing(MILAN.ark.certificate.spki, tees=[Tee.SEV, Tee.SGX])
    with pytest.raises(ChainInvalid, match="not a trust anchor"):
        verify(made(), anchors=anchors)


def test_a_certificate_that_signs_itself_vouches_for_nothing() -> None:
    """An attacker's own authorities, with AMD's names, beside the genuine ones."""
    attacker = platform(world="attacker")
    report = made(attacker.ek(key="attacker"))
    for given in (attacker.endorsements(attacker.ek(key="attacker")), GIVEN):
        mixed = given | attacker.endorsements(attacker.ek(key="attacker")) | Endorsements(crls=GIVEN.crls)
        with pytest.raises((ChainInvalid, SignatureInvalid, EndorsementUnavailable)):
            verify(report, endorsements=mixed)


def test_an_endorsement_key_may_not_issue_another() -> None:
    """A certificate without basicConstraints that bears the authority's name, above one that fits the report."""
    key = rsa_key("impostor")
    impostor = issue(MILAN.ask.name, key.public_key(), MILAN.ark.name, MILAN.ark.key, ca=False)
    child = MILAN.ek(key="child", issuer=Authority(key=key, name=MILAN.ask.name, certificate=impostor))
    certificates = (child.certificate, impostor, MILAN.ark.certificate)
    with pytest.raises(ChainInvalid):
        verify(made(child), endorsements=Endorsements(certificates=certificates, crls=GIVEN.crls))


def test_an_authority_may_not_have_others_below_it() -> None:
    """AMD's have a path length of 0."""
    key = rsa_key("impostor")
    impostor = issue(MILAN.ask.name, key.public_key(), MILAN.ask.name, MILAN.ask.key, ca=True)
    child = MILAN.ek(key="child", issuer=Authority(key=key, name=MILAN.ask.name, certificate=impostor))
    with pytest.raises(ChainInvalid):
        verify(made(child), endorsements=MILAN.endorsements(child) | Endorsements(certificates=(impostor,)))


def test_every_bit_of_a_report_matters() -> None:
    """A flip in any byte: each is signed, part of the signature, or reserved."""
    data = made().serialize()
    for offset in range(len(data)):
        altered = bytearray(data)
        altered[offset] ^= 1 << offset % 8
        with pytest.raises((ParseError, VerificationError, EndorsementUnavailable)):
            verify(evidence.parse(bytes(altered)), challenge=UNASKED)


@pytest.mark.skipif(not EVIDENCE.is_dir(), reason=f"no evidence samples at {EVIDENCE}")
@pytest.mark.parametrize("name", ["dstack-sev-snp-attestation", "veraison-sevsnp-tsm-report", "trustee-hcl-report"])
def test_every_bit_of_a_genuine_report_matters(name: str) -> None:
    data = (EVIDENCE / "amd-sev-snp" / name / "report.bin").read_bytes()
    key = Certificate.parse((EVIDENCE / "amd-sev-snp" / name / "vcek.der").read_bytes())
    authorities = tuple(Certificate.parse(one.read_bytes()) for one in (EVIDENCE / "collateral-amd").glob("*.der"))
    settings: dict[str, Any] = {
        "anchors": TrustAnchors.hardware(), "endorsements": Endorsements(certificates=(key, *authorities)),
        "at": key.not_before, "challenge": UNASKED, "allow": Allowances(unsafe_skip_revocation=True),
    }  # fmt: skip
    verify(evidence.parse(data), **settings)
    for offset in range(len(data)):
        altered = bytearray(data)
        altered[offset] ^= 1 << offset % 8
        with pytest.raises((ParseError, VerificationError, EndorsementUnavailable)):
            verify(evidence.parse(bytes(altered)), **settings)


def test_every_bit_of_the_endorsement_keys_certificate_matters() -> None:
    """Every fifth byte. A report never verifies under it; which error it is depends on what was hit."""
    one = VCEK.certificate
    for offset in range(0, len(one.encoded), 5):
        altered = bytearray(one.encoded)
        altered[offset] ^= 1 << offset % 8
        with pytest.raises(CloisterError):
            verify_under(bytes(altered))


def verify_under(certificate: bytes) -> None:
    certificates = (Certificate.parse(certificate), *MILAN.authorities)
    verify(made(), endorsements=Endorsements(certificates=certificates, crls=GIVEN.crls))


def test_a_recorded_report_does_not_answer_a_new_challenge() -> None:
    recorded = made(nonce=b"yesterday")
    verify(recorded, challenge=Challenge(b"yesterday"))
    for nonce in (b"today", b"yesterday!", b"yester", b"\1", b"yesterday".ljust(65, b"\0")):
        with pytest.raises(NotFresh):
            verify(recorded, challenge=Challenge(nonce))


def test_debug_guests_are_refused_whatever_else_they_say() -> None:
    for policy in (0xB0000, 0x30000 | 1 << 19 | 1 << 20, 0xB0137):
        with pytest.raises(VerificationError, match="debug"):
            verify(made(policy=policy))


def test_signatures_out_of_range_are_refused() -> None:
    """Zeros, the group's order, and numbers of 72 bytes."""
    order = int("ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16)
    good = made().signature
    extremes = [0, order, order + int.from_bytes(good.r, "little"), (1 << 576) - 1]
    for number in extremes:
        value = number.to_bytes(72, "little")
        for r, s in ((value, good.s), (good.r, value), (value, value)):
            with pytest.raises(SignatureInvalid):
                verify(made(signature=EcSignature(r=r, s=s)))


def test_a_chips_report_cannot_be_passed_off_as_a_providers() -> None:
    """The signer's field is signed; the certificate must be of the kind that it names."""
    report = made(VCEK, signer_info=SigningKey.VLEK << 2)
    with pytest.raises(EndorsementUnavailable, match="no VLEK certificate"):
        verify(report)
    vlek = MILAN.ek(SigningKey.VLEK, key="ek")
    with pytest.raises(EndorsementUnavailable, match="no VCEK certificate"):
        verify(made(), endorsements=MILAN.endorsements(vlek))


def test_an_old_tcb_cannot_hide_behind_a_new_certificate() -> None:
    """The TCB in the report is what the certificate's is compared with, in both directions."""
    newer = bytes([4, 0, 0, 0, 0, 0, 30, 250])
    for reported, certified in ((TCBS[Product.MILAN], newer), (newer, TCBS[Product.MILAN])):
        report, given = made(reported_tcb=reported, current_tcb=newer), MILAN.endorsements(MILAN.ek(tcb=certified))
        with pytest.raises(EndorsementUnavailable, match="for another TCB"):
            verify(report, endorsements=given)


def test_garbage_among_the_certificates_does_not_hide_the_genuine_one() -> None:
    """Certificates that claim to be for this chip, made by anyone, in any number and order."""
    fakes = [platform(world=f"garbage {i}").ek(key=f"garbage {i}") for i in range(3)]
    same_key = platform(world="garbage 0").ek()
    for eks in ((*fakes, VCEK), (VCEK, *fakes), (same_key, *fakes, VCEK)):
        verify(made(), endorsements=MILAN.endorsements(*eks))
