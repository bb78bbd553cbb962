"""Attacks on evidence of the emulated AMD: the hardware roots never vouch for it, and one fault each is refused."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from tests.forge.amd import NOW, signed_report

import cloister
from cloister._x509 import Certificate, Crl
from cloister.emulate.vendors.amd import AmdManufacturer, EndorsementKey, sign_report
from cloister.emulate.vendors.amd_sev import certificate_record, changed, sign_certificate
from cloister.emulate.vendors.amd_sev_platform import SevPlatform
from cloister.emulate.vendors.amd_sev_session import TransportKeys, launch_measurement
from cloister.emulate.vendors.keystore import Keystore
from cloister.emulate.vendors.x509 import p384
from cloister.endorse import cache
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.importing import import_files
from cloister.endorse.store import Endorsements
from cloister.errors import (
    BindingInvalid,
    ChainInvalid,
    CloisterError,
    EndorsementUnavailable,
    NotFresh,
    ParseError,
    Revoked,
    SignatureInvalid,
    VerificationError,
)
from cloister.evidence.sev import SevAttestation, SevLaunch, parse
from cloister.evidence.sev_chain import SevChain, Usage
from cloister.evidence.snp import SIGNED, Product, SigningKey
from cloister.model import Unchecked
from cloister.verification import sev

NONCE = b"sixteen at most."
HIGHER = bytes([5, 0, 0, 0, 0, 0, 25, 220])


@dataclass(frozen=True, kw_only=True)
class Stand:
    """A manufacturer, one chip's key, and a report that verifies."""

    amd: AmdManufacturer
    vcek: EndorsementKey

    def body(self, **fields: Any) -> bytes:
        chip = self.amd.chip_id().ljust(64, b"\0")
        return signed_report(None, **{"product": self.amd.product, "nonce": NONCE, "chip_id": chip} | fields).signed

    def report(self, key: EndorsementKey | None = None, **fields: Any) -> bytes:
        return sign_report(self.body(**fields), (key or self.vcek).key)

    def verify(self, report: bytes, *keys: EndorsementKey, **changes: Any) -> None:
        files = self.amd.collateral(*(keys or (self.vcek,)), at=NOW)
        settings: dict[str, Any] = {
            "nonce": NONCE, "at": NOW, "anchors": TrustAnchors.testing(self.amd.ark.certificate.spki),
            "endorsements": given(files),
        } | changes  # fmt: skip
        cloister.verify(report, **settings)


def given(files: dict[str, bytes]) -> Endorsements:
    return cache.endorsements(import_files(files.items()))


@pytest.fixture(scope="module", params=list(Product))
def stand(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Stand:
    made = AmdManufacturer(Keystore(tmp_path_factory.mktemp("amd") / "emulated"), request.param, key_bits=2048)
    return Stand(amd=made, vcek=made.vcek(made.chip_id(), made.model.tcb, at=NOW))


@pytest.fixture(scope="module")
def milan(tmp_path_factory: pytest.TempPathFactory) -> Stand:
    made = AmdManufacturer(Keystore(tmp_path_factory.mktemp("milan") / "emulated"), key_bits=2048)
    return Stand(amd=made, vcek=made.vcek(made.chip_id(), made.model.tcb, at=NOW))


@pytest.fixture(scope="module")
def attacker(tmp_path_factory: pytest.TempPathFactory) -> AmdManufacturer:
    """Another emulated AMD, with the same names."""
    return AmdManufacturer(Keystore(tmp_path_factory.mktemp("attacker") / "emulated"), key_bits=2048)


def test_the_control_these_reports_do_verify(stand: Stand) -> None:
    stand.verify(stand.report())


def test_the_hardware_roots_refuse_them(stand: Stand) -> None:
    with pytest.raises(ChainInvalid, match="not a trust anchor"):
        stand.verify(stand.report(), anchors=TrustAnchors.hardware())


def test_they_are_never_hardware_whatever_is_believed(milan: Stand) -> None:
    both = TrustAnchors.hardware() | TrustAnchors.testing(milan.amd.ark.certificate.spki)
    verdict = cloister.verify(
        milan.report(), nonce=NONCE, at=NOW, anchors=both, endorsements=given(milan.amd.collateral(milan.vcek, at=NOW))
    )
    assert verdict.authentic.parts[0].anchor.kind is AnchorKind.TESTING


def test_every_byte_of_a_report_matters(milan: Stand) -> None:
    report = milan.report()
    collateral = given(milan.amd.collateral(milan.vcek, at=NOW))
    for position in range(len(report)):
        altered = bytearray(report)
        altered[position] ^= 1 << position % 8
        with pytest.raises((ParseError, VerificationError, EndorsementUnavailable)):
            milan.verify(bytes(altered), endorsements=collateral)


def test_signed_reserved_and_signature_bytes_are_told_apart(milan: Stand) -> None:
    """A flip in what the firmware signed, where nothing else would notice, is noticed by the signature alone."""
    report = milan.report()
    for position in (0x90, 0xC0, 0xE0, 0x140, SIGNED, SIGNED + 72):
        altered = bytearray(report)
        altered[position] ^= 1
        with pytest.raises(SignatureInvalid, match="signature over the report"):
            milan.verify(bytes(altered))


def other_chip(stand: Stand) -> EndorsementKey:
    return stand.amd.vcek(stand.amd.chip_id("another"), stand.amd.model.tcb, at=NOW)


def attackers_key(stand: Stand, attacker: AmdManufacturer) -> EndorsementKey:
    return attacker.vcek(stand.amd.chip_id(), stand.amd.model.tcb, at=NOW)


def with_key(certificate: Certificate, key: EndorsementKey) -> EndorsementKey:
    return replace(key, certificate=certificate)


FAULTS: dict[str, tuple[type[CloisterError], Callable[[Stand, AmdManufacturer], None]]] = {
    "signed by another chip of the same factory": (
        SignatureInvalid, lambda stand, _: stand.verify(stand.report(other_chip(stand))),
    ),
    "another chip's certificate": (
        EndorsementUnavailable,
        lambda stand, _: stand.verify(stand.report(other_chip(stand)), other_chip(stand)),
    ),
    "signed by the key of another TCB": (
        SignatureInvalid,
        lambda stand, _: stand.verify(stand.report(stand.amd.vcek(stand.amd.chip_id(), HIGHER, at=NOW))),
    ),
    "a certificate for another TCB": (
        EndorsementUnavailable,
        lambda stand, _: stand.verify(stand.report(), stand.amd.vcek(stand.amd.chip_id(), HIGHER, at=NOW)),
    ),
    "a TCB that the report overstates": (
        EndorsementUnavailable,
        lambda stand, _: stand.verify(stand.report(reported_tcb=HIGHER, current_tcb=HIGHER)),
    ),
    "a provider's key for a chip's report": (
        EndorsementUnavailable,
        lambda stand, _: stand.verify(
            stand.report(), stand.amd.vlek("CN=x", stand.amd.model.tcb, at=NOW)),
    ),
    "a chip's key for a provider's report": (
        EndorsementUnavailable,
        lambda stand, _: stand.verify(stand.report(signer_info=SigningKey.VLEK << 2)),
    ),
    "the same chip as another factory has it": (
        ChainInvalid,
        lambda stand, attacker: stand.verify(
            stand.report(attackers_key(stand, attacker)), attackers_key(stand, attacker)),
    ),
    "another factory's signature under this certificate": (
        SignatureInvalid, lambda stand, attacker: stand.verify(stand.report(attackers_key(stand, attacker))),
    ),
    "another factory's collateral and root beside it": (
        ChainInvalid,
        lambda stand, attacker: stand.verify(
            stand.report(attackers_key(stand, attacker)),
            endorsements=given(attacker.collateral(attackers_key(stand, attacker), at=NOW))),
    ),
    "a debug guest": (VerificationError, lambda stand, _: stand.verify(stand.report(policy=0xB0000))),
    "a report that the host asked for": (BindingInvalid, lambda stand, _: stand.verify(stand.report(vmpl=0xFFFFFFFF))),
    "another nonce": (NotFresh, lambda stand, _: stand.verify(stand.report(nonce=b"yesterday"))),
    "an authority that was revoked": (
        Revoked,
        lambda stand, _: stand.verify(stand.report(), endorsements=given(
            stand.amd.collateral(stand.vcek, at=NOW, revoked=[stand.amd.ask.certificate]))),
    ),
    "a list that has run out": (
        EndorsementUnavailable,
        lambda stand, _: stand.verify(stand.report(), endorsements=given(
            stand.amd.collateral(stand.vcek, at=NOW - timedelta(days=366)))),
    ),
    "another factory's list": (
        EndorsementUnavailable,
        lambda stand, attacker: stand.verify(stand.report(), endorsements=Endorsements(
            certificates=given(stand.amd.collateral(stand.vcek, at=NOW)).certificates, crls=(attacker.crl(at=NOW),))),
    ),
    "a certificate that has run out": (
        EndorsementUnavailable,
        lambda stand, _: stand.verify(
            stand.report(), with_key(
                stand.amd.vcek(stand.amd.chip_id(), stand.amd.model.tcb, at=NOW - timedelta(days=8 * 365)).certificate,
                stand.vcek)),
    ),
    "no collateral": (
        EndorsementUnavailable, lambda stand, _: stand.verify(stand.report(), endorsements=Endorsements()),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_one_fault_is_refused(milan: Stand, attacker: AmdManufacturer, name: str) -> None:
    with pytest.raises(FAULTS[name][0]) as caught:
        FAULTS[name][1](milan, attacker)
    assert type(caught.value) is FAULTS[name][0]


@pytest.mark.parametrize("part", ["vcek", "ask", "ark"])
def test_every_byte_of_a_certificate_matters(milan: Stand, part: str) -> None:
    """Every third byte, in each certificate of the chain."""
    genuine = {
        "vcek": milan.vcek.certificate, "ask": milan.amd.ask.certificate, "ark": milan.amd.ark.certificate,
    }  # fmt: skip
    encoded = {name: one.encoded for name, one in genuine.items()}
    crl, report = milan.amd.crl(at=NOW), milan.report()
    verify_with(milan, report, encoded, crl)
    for position in range(0, len(encoded[part]), 3):
        altered = bytearray(encoded[part])
        altered[position] ^= 1 << position % 8
        with pytest.raises(CloisterError):
            verify_with(milan, report, encoded | {part: bytes(altered)}, crl)


def verify_with(stand: Stand, report: bytes, encoded: dict[str, bytes], crl: Crl) -> None:
    certificates = tuple(Certificate.parse(one) for one in encoded.values())
    stand.verify(report, endorsements=Endorsements(certificates=certificates, crls=(crl,)))


# ---------------------------------------------------------------- before SNP

DIGEST = bytes(range(32))
POLICY = 5


@pytest.fixture(scope="module")
def platform(milan: Stand) -> SevPlatform:
    return SevPlatform.of(milan.amd, milan.amd.chip_id())


def attested(platform: SevPlatform, chain: SevChain | None = None, policy: int = POLICY) -> bytes:
    return SevAttestation(report=platform.attest(NONCE, DIGEST, policy), chain=chain or platform.chain).serialize()


def verify_sev(stand: Stand, evidence: bytes, **changes: Any) -> None:
    root = TrustAnchors.testing(stand.amd.ark.certificate.spki)
    settings: dict[str, Any] = {"nonce": NONCE, "at": NOW, "anchors": root, "endorsements": Endorsements()} | changes
    cloister.verify(evidence, **settings)


def test_the_control_a_sev_report_does_verify(milan: Stand, platform: SevPlatform) -> None:
    verify_sev(milan, attested(platform))


def test_the_hardware_roots_refuse_sev_reports(milan: Stand, platform: SevPlatform) -> None:
    with pytest.raises(ChainInvalid, match="not a trust anchor"):
        verify_sev(milan, attested(platform), anchors=TrustAnchors.hardware())


def test_a_flipped_bit_in_sev_evidence_is_noticed(milan: Stand, platform: SevPlatform) -> None:
    """Every eleventh byte, over report and certificates."""
    evidence = attested(platform)
    for position in range(0, len(evidence), 11):
        altered = bytearray(evidence)
        altered[position] ^= 1 << position % 8
        with pytest.raises((ParseError, VerificationError)):
            verify_sev(milan, bytes(altered))


@pytest.mark.parametrize("part", ["pdh", "pek", "oca", "cek", "ask", "ark"])
def test_no_certificate_can_be_exchanged(
    milan: Stand, platform: SevPlatform, attacker: AmdManufacturer, part: str
) -> None:
    """Each by that of another platform under another root."""
    other = SevPlatform.of(attacker, attacker.chip_id())
    chain = replace(platform.chain, **{part: getattr(other.chain, part)})
    with pytest.raises(ChainInvalid):
        verify_sev(milan, attested(platform, chain))


@pytest.mark.parametrize("part", ["pdh", "pek", "cek"])
def test_no_certificate_of_another_chip_of_the_same_factory_fits(
    milan: Stand, platform: SevPlatform, part: str
) -> None:
    other = SevPlatform.of(milan.amd, milan.amd.chip_id("another"))
    chain = replace(platform.chain, **{part: getattr(other.chain, part)})
    with pytest.raises(ChainInvalid):
        verify_sev(milan, attested(platform, chain))
    with pytest.raises(SignatureInvalid):
        verify_sev(milan, attested(other, platform.chain))


def test_an_owner_cannot_make_a_pek_of_its_own(milan: Stand, platform: SevPlatform) -> None:
    """The OCA is anybody's; without the chip's CEK it vouches for nothing."""
    owner, key = p384(), p384()
    owned = platform.owned_by(owner)
    pek = sign_certificate(
        certificate_record(Usage.PEK, key.public_key()), {Usage.OCA: owner, Usage.CEK: owner}
    )  # fmt: skip
    pdh = sign_certificate(certificate_record(Usage.PDH, p384().public_key()), {Usage.PEK: key})
    forged = replace(owned, keys=dict(owned.keys) | {Usage.PEK: key})
    with pytest.raises(ChainInvalid, match="the CEK's signature on the PEK"):
        verify_sev(milan, attested(forged, replace(owned.chain, pek=pek, pdh=pdh)))


def test_a_debug_guest_and_another_nonce(milan: Stand, platform: SevPlatform) -> None:
    with pytest.raises(VerificationError, match="debug"):
        verify_sev(milan, attested(platform, policy=POLICY & ~1))
    with pytest.raises(NotFresh):
        verify_sev(milan, attested(platform), nonce=b"another")


def test_a_launch_that_the_host_lied_about(milan: Stand, platform: SevPlatform) -> None:
    """The owner's digest, version and policy are what counts; whoever has not the TIK cannot make the measure."""
    keys = TransportKeys.joined(bytes(range(32)))
    good = launch_measurement(keys, DIGEST, mnonce=bytes(16), policy=POLICY, api=(1, 55), build=20)
    owner = sev.GuestOwner(tik=keys.tik, pdh=platform.chain.pdh.serialize(), launch_digests=(DIGEST,))
    settings: dict[str, Any] = {
        "anchors": TrustAnchors.testing(milan.amd.ark.certificate.spki), "endorsements": Endorsements(), "at": NOW,
        "challenge": Unchecked("the TIK was made for this launch"), "owner": owner,
    }  # fmt: skip
    sev.verify(parse(SevLaunch(measurement=good, chain=platform.chain).serialize()), **settings)
    other_keys = TransportKeys.joined(bytes(32))
    lies = [
        changed(good, api_minor=54), changed(good, build=21), changed(good, policy=POLICY | 8),
        changed(good, mnonce=b"\1" * 16), changed(good, measure=bytes(32)),
        launch_measurement(keys, bytes(32), mnonce=bytes(16), policy=POLICY, api=(1, 55), build=20),
        launch_measurement(other_keys, DIGEST, mnonce=bytes(16), policy=POLICY, api=(1, 55), build=20),
    ]  # fmt: skip
    for lie in lies:
        with pytest.raises(BindingInvalid, match="under this TIK"):
            sev.verify(parse(SevLaunch(measurement=lie, chain=platform.chain).serialize()), **settings)
    moved = replace(platform.chain, pdh=platform.with_new_pdh().chain.pdh)
    with pytest.raises(BindingInvalid, match="another platform's PDH"):
        sev.verify(parse(SevLaunch(measurement=good, chain=moved).serialize()), **settings)
    with pytest.raises(ChainInvalid):
        sev.verify(
            parse(SevLaunch(measurement=good, chain=platform.chain).serialize()),
            **settings | {"anchors": TrustAnchors.hardware()},
        )
