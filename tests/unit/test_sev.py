"""SEV evidence and certificates: what is read, what is refused, and for which reason, one fault per case."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.forge.amd import NOW, ec_key, rsa_key
from tests.forge.amd_sev import DIGEST, TIK, SevPlatform, ca_certificate, certificate, sev_platform

from cloister.appraise.sev import claims, measurements
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import (
    BindingInvalid,
    ChainInvalid,
    CloisterError,
    EndorsementUnavailable,
    NotFresh,
    ParseError,
    SignatureInvalid,
    VerificationError,
)
from cloister.evidence import sev as evidence
from cloister.evidence.sev import SevEvidence, SevLaunch
from cloister.evidence.sev_chain import Algorithm, SevCertificate, SevChain, Usage, parse_chain
from cloister.evidence.sev_keys import EcKey, RsaKey
from cloister.model import Challenge, Digest, Tee, Unchecked
from cloister.verification import sev
from cloister.verification.recipe import Allowances, CheckState, VerifiedEvidence
from cloister.verification.sev_chain import root_spki

STAND = sev_platform()
NONCE = b"sixteen at most."
ONCE = Unchecked("the TIK was made for this launch")
OWNER = sev.GuestOwner(tik=TIK, pdh=STAND.chain.pdh.serialize(), launch_digests=(bytes(32), DIGEST.value))


def verify(given: SevEvidence, **changes: Any) -> VerifiedEvidence[SevEvidence]:
    launch = isinstance(given, SevLaunch)
    settings: dict[str, Any] = {
        "anchors": STAND.anchors, "endorsements": Endorsements(), "at": NOW,
        "challenge": ONCE if launch else Challenge(NONCE), "owner": OWNER if launch else None,
    } | changes  # fmt: skip
    return sev.verify(evidence.parse(given.serialize()), **settings)


def with_certificate(**changes: Any) -> SevPlatform:
    """The platform with other certificates."""
    return replace(STAND, chain=replace(STAND.chain, **changes))


# ---------------------------------------------------------------- good ones


def test_a_report_verifies() -> None:
    found = verify(STAND.attestation(nonce=NONCE))
    assert (found.tee, found.anchor.kind) == (Tee.SEV, AnchorKind.TESTING)
    assert found.unchecked == (
        "Dates and revocation: SEV certificates have no dates, and AMD publishes no revocation list about them",
    )
    assert [check.number for check in found.checks] == [f"SEV-{i}" for i in range(1, 6)]


def test_a_launch_measurement_verifies_for_the_owner() -> None:
    found = verify(STAND.launch())
    assert found.facts["launch_digest"] == DIGEST.value
    assert [check.state for check in found.checks] == [CheckState.PASSED] * 4 + [CheckState.UNCHECKED] * 2
    assert [check.number for check in found.checks] == [f"SEV-LAUNCH-{i}" for i in range(1, 7)]


def test_evidence_round_trips() -> None:
    for given in (STAND.attestation(nonce=NONCE), STAND.launch()):
        data = given.serialize()
        assert evidence.looks_like(data)
        assert evidence.parse(data) == given
    assert not evidence.looks_like(STAND.chain.serialize())


def test_an_owner_may_have_an_rsa_certificate() -> None:
    key = rsa_key("owner")
    numbers = key.public_key().public_numbers()
    pubkey = RsaKey(
        modulus_size=2048, pubexp=numbers.e.to_bytes(512, "little"), modulus=numbers.n.to_bytes(512, "little")
    ).serialize()
    oca = certificate(Usage.OCA, ec_key("x"), {Usage.OCA: key}, pubkey=pubkey, pubkey_algo=Algorithm.RSA_SHA256)
    pek = certificate(Usage.PEK, ec_key("sev/pek"), {Usage.CEK: ec_key("/sev/cek"), Usage.OCA: key})
    verify(with_certificate(oca=oca, pek=pek).attestation(nonce=NONCE))


def test_claims() -> None:
    said = claims(verify(STAND.attestation(nonce=NONCE, policy=0x3700_0000 | 0x0001_0000 | 0x05)))
    assert (said["policy_nodbg"], said["policy_noks"], said["policy_es"], said["debug"]) == (True, False, True, False)
    assert (said["policy_api"], said["launch_digest"], said["mnonce"]) == ("1.55", DIGEST.value.hex(), NONCE.hex())
    assert (said["ask_key_id"], said["pek_api"]) == ("13" * 16, "1.55")
    launch = claims(verify(STAND.launch()))
    assert (launch["launch_digest"], launch["api"], launch["build"]) == (DIGEST.value.hex(), "1.55", 20)
    assert [one.digest for one in measurements(STAND.attestation())] == [DIGEST]
    assert measurements(STAND.launch()) == ()


# ---------------------------------------------------------------- what the recipes refuse

OTHER = sev_platform("elsewhere")
TO_REFUSE: dict[str, tuple[type[CloisterError], str, Callable[[], object]]] = {
    "another root": (
        ChainInvalid, "ends in an ARK that is not a trust anchor", lambda: verify(OTHER.attestation(nonce=NONCE)),
    ),
    "hardware roots only": (
        ChainInvalid, "not a trust anchor",
        lambda: verify(STAND.attestation(nonce=NONCE), anchors=TrustAnchors.hardware()),
    ),
    "a root that is trusted for SNP only": (
        ChainInvalid, "not a trust anchor",
        lambda: verify(
            STAND.attestation(nonce=NONCE),
            anchors=TrustAnchors.testing(root_spki(STAND.chain), tees=[Tee.SNP]),
        ),
    ),
    "an authority of another root": (
        ChainInvalid, "the ARK's signature on the ASK",
        lambda: verify(with_certificate(ask=OTHER.chain.ask).attestation(nonce=NONCE)),
    ),
    "a chip of another authority": (
        ChainInvalid, "the ASK's signature on the CEK",
        lambda: verify(with_certificate(cek=OTHER.chain.cek).attestation(nonce=NONCE)),
    ),
    "a platform key of another chip": (
        ChainInvalid, "the CEK's signature on the PEK",
        lambda: verify(with_certificate(pek=OTHER.chain.pek).attestation(nonce=NONCE)),
    ),
    "another owner's certificate": (
        ChainInvalid, "the OCA's signature on the PEK",
        lambda: verify(with_certificate(
            oca=certificate(Usage.OCA, ec_key("x"), {Usage.OCA: ec_key("x")})).attestation(nonce=NONCE)),
    ),
    "an owner's certificate that is not its own": (
        ChainInvalid, "the OCA's signature on the OCA",
        lambda: verify(with_certificate(
            oca=certificate(Usage.OCA, ec_key("sev/oca"), {Usage.OCA: ec_key("x")})).attestation(nonce=NONCE)),
    ),
    "an exchange key of another platform": (
        ChainInvalid, "the PEK's signature on the PDH",
        lambda: verify(with_certificate(
            pdh=certificate(Usage.PDH, ec_key("x"), {Usage.PEK: ec_key("x")})).attestation(nonce=NONCE)),
    ),
    "an authority that names another root": (
        ChainInvalid, "names another issuer than the ARK",
        lambda: verify(with_certificate(ask=ca_certificate(
            Usage.ASK, rsa_key("/sev ASK"), rsa_key("/sev ARK"), certifying_id=bytes(15) + b"\1",
        )).attestation(nonce=NONCE)),
    ),
    "a key that is no point": (
        ChainInvalid, "the PEK's key: the public key is not a point",
        lambda: verify(with_certificate(pek=certificate(
            Usage.PEK, ec_key("x"), {Usage.OCA: ec_key("sev/oca"), Usage.CEK: ec_key("/sev/cek")},
            pubkey=EcKey.of(bytes([7]) * 96).serialize(),
        )).attestation(nonce=NONCE)),
    ),
    "a report signed by another key": (
        SignatureInvalid, "the PEK's signature over the report",
        lambda: verify(STAND.attestation(nonce=NONCE, signer="x")),
    ),
    "a guest that may be debugged": (
        VerificationError, "this guest may be debugged", lambda: verify(STAND.attestation(nonce=NONCE, policy=0x0E)),
    ),
    "another nonce": (NotFresh, "MNONCE does not contain", lambda: verify(STAND.attestation(nonce=b"another"))),
    "a nonce that does not fit": (
        NotFresh, "MNONCE does not contain",
        lambda: verify(STAND.attestation(nonce=NONCE), challenge=Challenge(NONCE + b"!")),
    ),
    "a launch measurement for somebody who does not own the guest": (
        EndorsementUnavailable, "only by the guest's owner", lambda: verify(STAND.launch(), owner=None),
    ),
    "a key that was wrapped for another platform": (
        BindingInvalid, "wrapped for another platform's PDH",
        lambda: verify(STAND.launch(), owner=replace(OWNER, pdh=OTHER.chain.pdh.serialize())),
    ),
    "a digest that the owner does not expect": (
        BindingInvalid, "not that of a launch digest that the guest's owner expects",
        lambda: verify(STAND.launch(digest=Digest("sha256", bytes(31) + b"\1"))),
    ),
    "no digest that the owner expects": (
        BindingInvalid, "not that of a launch digest",
        lambda: verify(STAND.launch(), owner=replace(OWNER, launch_digests=())),
    ),
    "a measure under another key": (
        BindingInvalid, "under this TIK", lambda: verify(STAND.launch(tik=bytes(16))),
    ),
    "a measure of zeros": (BindingInvalid, "under this TIK", lambda: verify(STAND.launch(measure=bytes(32)))),
    "a launched guest that may be debugged": (
        VerificationError, "this guest may be debugged", lambda: verify(STAND.launch(policy=0)),
    ),
    "a nonce that launch measurements cannot contain": (
        NotFresh, "MNONCE does not contain", lambda: verify(STAND.launch(), challenge=Challenge(NONCE)),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "reason", "attempt"), TO_REFUSE.values(), ids=TO_REFUSE)
def test_refused(kind: type[CloisterError], reason: str, attempt: Callable[[], object]) -> None:
    with pytest.raises(kind) as caught:
        attempt()
    assert type(caught.value) is kind
    assert reason in str(caught.value)


def test_what_else_is_in_the_measure_is_bound_by_it() -> None:
    """Another version, build or policy than the one that was measured."""
    good = STAND.launch()
    others: tuple[dict[str, Any], ...] = (
        {"api_minor": 54}, {"build": 21}, {"policy": 0x0D}, {"mnonce": bytes(16)}, {"api_major": 0},
    )  # fmt: skip
    for other in others:
        with pytest.raises(BindingInvalid, match="under this TIK"):
            verify(STAND.launch(**other, measure=good.measurement.measure))


def test_debugging_can_be_allowed_knowingly() -> None:
    found = verify(STAND.attestation(nonce=NONCE, policy=0), allow=Allowances(unsafe_allow_debug=True))
    assert any("may be debugged" in line for line in found.unchecked)
    assert claims(found)["debug"] is True


def test_the_owners_secret_is_not_shown() -> None:
    assert TIK.hex() not in repr(OWNER)
    with pytest.raises(BindingInvalid) as caught:
        verify(STAND.launch(tik=bytes(16)))
    shown = str(caught.value) + "".join(str(check) for check in caught.value.checks)
    assert TIK.hex() not in shown


# ---------------------------------------------------------------- formats


def changed(part: str, **fields: Any) -> bytes:
    """A chain in which one certificate has other fields (and so signatures that do not fit any more)."""
    kept = {name: value for name, value in vars(getattr(STAND.chain, part)).items() if not name.startswith("reserved")}
    other = type(getattr(STAND.chain, part))(**kept | fields)
    return replace(STAND.chain, **{part: other}).serialize()


SWAPPED = {"sig_1_usage": Usage.CEK, "sig_2_usage": Usage.CEK}
FORMATS: dict[str, tuple[bytes, str]] = {
    "a key of another use": (changed("pek", pubkey_usage=Usage.CEK), "pubkey_usage"),
    "an algorithm of another use": (changed("pek", pubkey_algo=Algorithm.ECDH_SHA256), "pubkey_algo"),
    "an algorithm that is not defined": (changed("cek", pubkey_algo=7), "pubkey_algo"),
    "a curve that is not defined": (changed("pek", pubkey=b"\3".ljust(1028, b"\0")), "pubkey"),
    "coordinates longer than the curve": (changed("pek", pubkey=b"\2\0\0\0" + b"\1" * 144 + bytes(880)), "pubkey"),
    "bytes behind the key": (changed("pek", pubkey=STAND.chain.pek.pubkey[:-1] + b"\1"), "reserved_94"),
    "a signature missing": (
        changed("pek", sig_1_usage=Usage.INVALID, sig_1_algo=0, sig_1=bytes(512)), "signed by OCA and CEK",
    ),
    "the same signer twice": (changed("pek", **SWAPPED), "signed by OCA and CEK, each once"),
    "a signer that signs nothing": (changed("pdh", sig_1_usage=Usage.PDH), "is no key that signs certificates"),
    "a signer that is not defined": (changed("pdh", sig_1_usage=0x55), "is no key that signs certificates"),
    "an empty place that is not empty": (changed("pdh", sig_2=b"\1".ljust(512, b"\0")), "the place is not empty"),
    "no algorithm for a signature": (changed("pdh", sig_1_algo=Algorithm.ECDH_SHA256), "is no signature algorithm"),
    "bytes behind an ECDSA signature": (changed("pdh", sig_1=STAND.chain.pdh.sig_1[:-1] + b"\1"), "reserved_90"),
    "a certificate version that is not defined": (changed("oca", version=2), "version"),
    "a root that is an authority": (changed("ark", key_usage=Usage.ASK), "is the usage of an ARK"),
    "a modulus of fewer bits": (changed("ask", modulus=b"\1".ljust(256, b"\0")), "is no RSA key of the stated size"),
    "an even exponent": (changed("ask", pubexp=b"\2".ljust(256, b"\0")), "is no RSA key of the stated size"),
    "an exponent of one": (changed("ask", pubexp=b"\1".ljust(256, b"\0")), "is no RSA key of the stated size"),
    "an exponent as long as the modulus": (changed("ask", pubexp=b"\1" * 256), "is no RSA key of the stated size"),
    "bytes behind the chain": (STAND.chain.serialize() + b"\0", "SevChain"),
    "an end too early": (STAND.chain.serialize()[:-1], "SevChain: ARK"),
    "nothing": (b"", "PDH"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "reason"), FORMATS.values(), ids=FORMATS)
def test_refused_as_malformed(data: bytes, reason: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_chain(data)
    assert reason in str(caught.value)


def test_policies_with_bits_that_are_not_defined_are_refused() -> None:
    for given in (STAND.attestation(policy=0x0F | 1 << 6), STAND.launch(policy=0x0F | 1 << 15)):
        with pytest.raises(ParseError, match="policy"):
            evidence.parse(given.serialize())


def test_offsets_in_errors_are_those_in_the_whole_input() -> None:
    at = evidence.SevReport.SIZE + 3 * SevCertificate.SIZE
    data = bytearray(STAND.attestation().serialize())
    data[at + 6] = 1
    with pytest.raises(ParseError) as caught:
        evidence.parse(bytes(data))
    assert (caught.value.field, caught.value.offset) == ("reserved_6", at + 6)


def test_a_chain_is_equal_to_another_by_its_bytes() -> None:
    assert parse_chain(STAND.chain.serialize()) == STAND.chain
    assert isinstance(STAND.chain, SevChain)
