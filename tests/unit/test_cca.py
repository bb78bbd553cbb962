"""Arm CCA tokens: every field, every refusal for its own reason, the recipe, the claims, the measurements."""

import hashlib
from collections.abc import Callable
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.forge.arm import GONE, ArmForge, digest
from tests.forge.cose import cose_key_of
from tests.forge.x509 import NOW, spki

from cloister.appraise import cca as appraise
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import (
    BindingInvalid,
    ChainInvalid,
    EndorsementUnavailable,
    NotFresh,
    ParseError,
    SignatureInvalid,
    VerificationError,
)
from cloister.evidence.cca import CcaToken, looks_like, parse
from cloister.measure.cca import RealmInitialMeasurement, RealmParameters, extend
from cloister.model import Challenge, Digest, MeasurementKind, Tee, Unchecked
from cloister.verification import cca
from cloister.verification.recipe import Allowances, CheckState, VerifiedEvidence

FORGE = ArmForge()
NONCE = b"a nonce of the caller"
FORMS: dict[str, dict[str, Any]] = {
    "CMW collection": {},
    "CMW collection, older realm token": {"legacy": True},
    "CMW collection, tokens not in byte strings": {"embedded": True},
    "EAT collection": {"collection": 399},
    "EAT collection, older realm token": {"collection": 399, "legacy": True},
    "EAT collection, tokens not in byte strings": {"collection": 399, "embedded": True},
}


def verify(token: bytes | CcaToken, **changes: Any) -> VerifiedEvidence[CcaToken]:
    given: dict[str, Any] = {"anchors": FORGE.anchors, "endorsements": FORGE.endorsements}
    given["challenge"] = Challenge(NONCE)
    return cca.verify(parse(token) if isinstance(token, bytes) else token, at=NOW, **given | changes)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_written_and_verified(form: str) -> None:
    data = FORGE.token(nonce=NONCE, **FORMS[form])
    token = parse(data)
    assert looks_like(data)
    assert token.tee is Tee.CCA
    assert token.collection == FORMS[form].get("collection", 907)
    assert token.embedded is FORMS[form].get("embedded", False)
    assert token.serialize() == data
    assert not token.variant
    assert verify(token).evidence is token


def test_all_claims_are_read() -> None:
    token = parse(FORGE.token(nonce=NONCE))
    platform, realm = token.platform_claims, token.realm_claims
    assert platform.implementation_id == digest("platform implementation")
    assert platform.instance_id == b"\x01" + digest("platform instance")
    assert platform.config == b"\xcf\xcf\xcf\xcf"
    assert (platform.lifecycle, platform.lifecycle_state) == (0x3000, "secured")
    assert platform.verification_service == "https://verifier.example/"
    assert platform.hash_algorithm == realm.hash_algorithm == "sha-256"
    first, second = platform.software_components
    assert (first.kind, first.version, first.measurement) == ("BL2", "1.2.3", digest("BL2"))
    assert (first.signer_id, first.hash_algorithm) == (digest("signer"), "sha-256")
    assert (second.kind, second.version, second.hash_algorithm) == ("", "", "")
    assert realm.challenge == NONCE.ljust(64, b"\0")
    assert realm.personalization_value.startswith(b"a realm's")
    assert realm.initial_measurement == digest("realm")
    assert realm.extensible_measurements[3] == digest("register 3")
    assert realm.public_key == cose_key_of(FORGE.realm_key)
    assert realm.instance_id == b"\x01" + digest("realm instance")
    assert realm.mec_policy == "private"
    assert platform.other == realm.other == first.other == {}


def test_older_tokens_say_less() -> None:
    realm = {256: GONE, 44243: GONE}
    token = parse(FORGE.token(legacy=True, realm=realm, platform={2400: GONE}))
    assert (token.realm_claims.profile, token.realm_claims.instance_id, token.realm_claims.mec_policy) == (
        "",
        b"",
        None,
    )
    assert len(token.realm_claims.public_key) == 97
    assert token.platform_claims.verification_service == ""


def test_claims_that_are_not_understood_are_kept() -> None:
    """draft-ffm-rats-cca-token, section 4.11.3: a receiver must not refuse them."""
    token = parse(FORGE.token(nonce=NONCE, platform={99_999: "new"}, realm={"lfa": [1, 2]}))  # type: ignore[dict-item] # a text key
    assert token.platform_claims.other == {99_999: "new"}
    assert token.realm_claims.other == {"lfa": [1, 2]}
    verify(token)


def test_a_longer_encoding_is_read_and_kept() -> None:
    """Section 4.11.1: an attester need not use the shortest encoding, so a reader must not demand it."""
    data = FORGE.token(nonce=NONCE)
    longer = data.replace(b"\xd9\x03\x8b\xa2", b"\xd9\x03\x8b\xb8\x02")
    token = parse(longer)
    assert token.serialize() == longer != data
    verify(token)


COMPONENT: dict[int, object] = {2: digest("RMM"), 5: digest("signer")}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no platform profile": ({"platform": {265: GONE}}, "profile"),
    "another platform profile": ({"platform": {265: "tag:arm.com,2099:cca_platform#9"}}, "profile"),
    "a platform profile that is no text": ({"platform": {265: 1}}, "profile"),
    "no platform challenge": ({"platform": {10: GONE}}, "challenge"),
    "a platform challenge of 33 bytes": ({"platform": {10: bytes(33)}}, "challenge"),
    "a list of platform challenges": ({"platform": {10: [bytes(32)]}}, "challenge"),
    "no implementation": ({"platform": {2396: GONE}}, "implementation_id"),
    "an implementation of 31 bytes": ({"platform": {2396: bytes(31)}}, "implementation_id"),
    "an instance of 32 bytes": ({"platform": {256: bytes(32)}}, "instance_id"),
    "an instance that is not random": ({"platform": {256: b"\x02" + bytes(32)}}, "instance_id"),
    "no configuration": ({"platform": {2401: GONE}}, "config"),
    "no lifecycle": ({"platform": {2395: GONE}}, "lifecycle"),
    "a lifecycle in text": ({"platform": {2395: "secured"}}, "lifecycle"),
    "a negative lifecycle": ({"platform": {2395: -1}}, "lifecycle"),
    "a lifecycle between two states": ({"platform": {2395: 0x3100}}, "lifecycle"),
    "no software": ({"platform": {2399: GONE}}, "software_components"),
    "an empty list of software": ({"platform": {2399: []}}, "software_components"),
    "software in a map": ({"platform": {2399: {1: 2}}}, "software_components"),
    "65 pieces of software": ({"platform": {2399: [COMPONENT] * 65}}, "software_components"),
    "software that is no map": ({"platform": {2399: [1]}}, "claims"),
    "software without a measurement": ({"platform": {2399: [{5: digest("x")}]}}, "measurement"),
    "software without a signer": ({"platform": {2399: [{2: digest("x")}]}}, "signer_id"),
    "software of a numbered type": ({"platform": {2399: [COMPONENT | {1: 7}]}}, "type"),
    "software of a numbered version": ({"platform": {2399: [COMPONENT | {4: 7}]}}, "version"),
    "a platform hash that nobody knows": ({"platform": {2402: "md5"}}, "hash_algorithm"),
    "a verification service that is no text": ({"platform": {2400: b"x"}}, "verification_service"),
    "another realm profile": ({"realm": {265: "tag:arm.com,2099:realm#9"}}, "profile"),
    "no realm profile beside a platform-only one": ({"realm": {265: GONE}}, "profile"),
    "no realm challenge": ({"realm": {10: GONE}}, "challenge"),
    "a realm challenge of 32 bytes": ({"realm": {10: bytes(32)}}, "challenge"),
    "a personalisation value of 32 bytes": ({"realm": {44235: bytes(32)}}, "personalization_value"),
    "a realm hash that nobody knows": ({"realm": {44236: "sha-1"}}, "hash_algorithm"),
    "no realm key": ({"realm": {44237: GONE}}, "public_key"),
    "an older realm key that is no point": ({"legacy": True, "realm": {44237: bytes(96)}}, "public_key"),
    "no RIM": ({"realm": {44238: GONE}}, "initial_measurement"),
    "a RIM of 20 bytes": ({"realm": {44238: bytes(20)}}, "initial_measurement"),
    "three REMs": ({"realm": {44239: [bytes(32)] * 3}}, "extensible_measurements"),
    "five REMs": ({"realm": {44239: [bytes(32)] * 5}}, "extensible_measurements"),
    "a REM of 20 bytes": ({"realm": {44239: [bytes(32)] * 3 + [bytes(20)]}}, "extensible_measurements"),
    "REMs in text": ({"realm": {44239: ["x"] * 4}}, "extensible_measurements"),
    "a key hash that nobody knows": ({"realm": {44240: "sha3-256"}}, "public_key_hash_algorithm"),
    "a realm instance of 8 bytes": ({"realm": {256: bytes(8)}}, "instance_id"),
    "an encryption policy in a list": ({"realm": {44243: []}}, "mec_policy"),
    "another collection": ({"collection": 398}, "tag"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    changes, field = REFUSED[name]
    with pytest.raises(ParseError) as raised:
        parse(FORGE.token(**changes), base=1000)
    assert raised.value.field == field
    assert raised.value.record.startswith("Cca")
    assert raised.value.offset >= 1000


def reshaped(change: Callable[[dict[Any, Any]], object]) -> bytes:
    """A genuine token whose collection was changed."""
    members: dict[Any, Any] = {label: list(one) for label, one in cbor2.loads(FORGE.token()).value.items()}
    return cbor2.dumps(cbor2.CBORTag(907, change(members)))


SHAPES: dict[str, tuple[Callable[[dict[Any, Any]], object], str]] = {
    "a list instead of a map": (lambda members: list(members), "members"),  # noqa: PLW0108 - the table's form
    "no realm token": (lambda members: {44234: members[44234]}, "members"),
    "a third member": (lambda members: members | {1: members[44234]}, "members"),
    "another content format": (lambda members: members | {44234: [61, members[44234][1]]}, "member"),
    "a member without a content format": (lambda members: members | {44234: members[44234][1]}, "member"),
    "a member in three parts": (lambda members: members | {44234: [*members[44234], 1]}, "member"),
    "a member that is text": (lambda members: members | {44234: [263, "token"]}, "structure"),
    "one token in a byte string and one not": (
        lambda members: members | {44241: [263, cbor2.loads(members[44241][1])]}, "structure"),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_no_collection(name: str) -> None:
    change, field = SHAPES[name]
    with pytest.raises(ParseError) as raised:
        parse(reshaped(change))
    assert raised.value.field == field


def test_the_explanation_has_every_step() -> None:
    verified = verify(FORGE.token(nonce=NONCE))
    assert [check.number for check in verified.checks] == [f"CCA-{number}" for number in range(1, 6)]
    assert {check.state for check in verified.checks} == {CheckState.PASSED}
    assert verified.anchor.kind is AnchorKind.TESTING
    assert verified.unchecked == ()


OTHER = ec.generate_private_key(ec.SECP384R1())
NOT_AUTHENTIC: dict[str, tuple[dict[str, Any], type[VerificationError], int]] = {
    "a platform token signed by another key": ({"sign_platform": OTHER}, SignatureInvalid, 1),
    "a platform token about another realm key": ({"platform": {10: bytes(32)}}, BindingInvalid, 2),
    "the hash by another algorithm": ({"platform": {10: bytes(64)}}, BindingInvalid, 2),
    "a realm token signed by another key": ({"sign_realm": OTHER}, SignatureInvalid, 3),
    "a realm token with another's key": ({"realm": {44237: cose_key_of(OTHER)}}, SignatureInvalid, 3),
    "a realm key that is no COSE_Key": ({"realm": {44237: b"\xff"}}, SignatureInvalid, 3),
    "a platform under debug": ({"platform": {2395: 0x4000}}, VerificationError, 4),
    "a platform under recoverable debug": ({"platform": {2395: 0x50FF}}, VerificationError, 4),
    "a platform that is being provisioned": ({"platform": {2395: 0x2000}}, VerificationError, 4),
    "a decommissioned platform": ({"platform": {2395: 0x6000}}, VerificationError, 4),
    "a platform in an unknown state": ({"platform": {2395: 0}}, VerificationError, 4),
    "another nonce": ({"nonce": b"another nonce"}, NotFresh, 5),
    "the nonce with something behind it": ({"nonce": NONCE + b"!"}, NotFresh, 5),
}


@pytest.mark.parametrize("name", NOT_AUTHENTIC)
def test_what_is_not_authentic(name: str) -> None:
    changes, error, step = NOT_AUTHENTIC[name]
    with pytest.raises(error) as raised:
        verify(FORGE.token(**{"nonce": NONCE} | changes))
    assert type(raised.value) is error
    states = [check.state for check in raised.value.checks]  # type: ignore[attr-defined] # Check
    assert states == [CheckState.PASSED] * (step - 1) + [CheckState.FAILED] + [CheckState.NOT_REACHED] * (5 - step)


def test_debug_is_accepted_knowingly_and_named() -> None:
    allow = Allowances(unsafe_allow_debug=True)
    verified = verify(FORGE.token(nonce=NONCE, platform={2395: 0x4001}), allow=allow)
    assert "non_cca_platform_rot_debug" in verified.unchecked[0]
    assert appraise.claims(verified)["debug"] is True
    with pytest.raises(VerificationError, match="decommissioned"):
        verify(FORGE.token(nonce=NONCE, platform={2395: 0x6000}), allow=allow)


def test_freshness_can_be_left_unchecked_knowingly() -> None:
    verified = verify(FORGE.token(), challenge=Unchecked("a recorded token"))
    assert verified.unchecked == ("Answers the challenge: a recorded token",)


def test_a_key_that_is_not_pinned_vouches_for_nothing() -> None:
    token, mine = FORGE.token(nonce=NONCE), Endorsements(keys=(spki(OTHER),))
    with pytest.raises(ChainInvalid):
        verify(token, anchors=TrustAnchors.hardware())
    with pytest.raises(ChainInvalid):
        verify(token, anchors=TrustAnchors.testing(spki(FORGE.platform_key), tees=[Tee.KEYSTONE]))
    with pytest.raises(ChainInvalid):
        verify(token, anchors=TrustAnchors.testing(spki(OTHER)), endorsements=mine | FORGE.endorsements)
    with pytest.raises(ChainInvalid):
        verify(token, endorsements=mine)
    with pytest.raises(ChainInvalid):
        verify(token, anchors=TrustAnchors.hardware(), endorsements=Endorsements())


def test_a_pinned_key_that_is_not_at_hand_decides_nothing() -> None:
    with pytest.raises(EndorsementUnavailable, match="not at hand") as raised:
        verify(FORGE.token(nonce=NONCE), endorsements=Endorsements())
    assert raised.value.checks[0].state is CheckState.UNDECIDED  # type: ignore[attr-defined] # Check


def test_the_right_one_of_several_pinned_keys_is_found() -> None:
    keys = (spki(OTHER), spki(FORGE.platform_key))
    anchors = TrustAnchors.of(keys, kind=AnchorKind.OWNER, name="our platforms", tees=[Tee.CCA])
    assert verify(FORGE.token(nonce=NONCE), anchors=anchors, endorsements=Endorsements(keys=keys)).anchor.spki_sha256


def test_a_platform_key_of_another_curve_verifies() -> None:
    forge = ArmForge(platform_key=ec.generate_private_key(ec.SECP256R1()))
    verify(forge.token(nonce=NONCE), anchors=forge.anchors, endorsements=forge.endorsements)


def test_the_claims() -> None:
    claims = appraise.claims(verify(FORGE.token(nonce=NONCE)))
    assert claims["rim"] == digest("realm").hex()
    assert claims["rem2"] == digest("register 2").hex()
    assert claims["lifecycle"] == "secured"
    assert claims["debug"] is False
    components = claims["software_components"]
    assert isinstance(components, list)
    assert components[1] == f"measurement={digest('RMM').hex()}, signer_id={digest('signer').hex()}"
    older = appraise.claims(verify(FORGE.token(nonce=NONCE, legacy=True, realm={256: GONE, 44243: 0})))
    assert older.keys() == claims.keys() - {"realm_profile", "realm_instance_id"}
    assert older["mec_policy"] == 0


def test_the_measurements() -> None:
    rim, *registers = appraise.measurements(parse(FORGE.token(realm={44236: "sha-512", 44238: bytes(64)})))
    assert (rim.name, rim.kind, rim.digest) == ("rim", MeasurementKind.LAUNCH, Digest("sha512", bytes(64)))
    assert [one.name for one in registers] == ["rem0", "rem1", "rem2", "rem3"]
    assert {one.kind for one in registers} == {MeasurementKind.RUNTIME}


def test_the_rim_of_a_realm() -> None:
    """The vectors of the formulas in TF-RMM, lib/measurement: each call's digest follows from the one before."""
    rim = RealmInitialMeasurement.create(RealmParameters(s2sz=40))
    assert rim.digest.value.hex() == "69c7b37493bb272a73b5540b00de2ddd1d891a6e74f927f9969ce59868b67fd3"
    rim = rim.add_data(0x8000_0000, bytes(4096))
    assert rim.digest.value.hex() == "0eceede614183ce5dd552b62a56ce1978f292aa3ba51c160eef02df5f3cde4d5"
    rim = rim.add_rec(pc=0x8000_0000)
    assert rim.digest.value.hex() == "68a3df14418b4cb1ed236e305e3aaf81fb860d0a423a19746dde84516efc8229"
    rim = rim.set_ram(0x8000_0000, 0x8020_0000)
    assert rim.digest.value.hex() == "44b679d4598db206930cef3c165d81689ebebb7a4c5319fc1159e1d9ed10d031"


def test_everything_that_is_measured_changes_the_rim() -> None:
    def rim(s2sz: int = 40, page: bytes | None = bytes(4096), at: int = 0, pc: int = 0, x0: int = 0) -> bytes:
        parameters = RealmParameters(s2sz=s2sz, hash_algorithm="sha512")
        built = RealmInitialMeasurement.create(parameters).add_data(at, page).add_rec(pc=pc, gprs=[x0])
        return built.digest.value

    assert len(rim()) == 64
    assert len({rim(), rim(s2sz=48), rim(page=b"\1" * 4096), rim(page=None), rim(at=4096), rim(pc=4), rim(x0=1)}) == 7


def test_a_register_is_extended() -> None:
    first = extend(Digest("sha256", bytes(32)), b"an event")
    assert first.value == hashlib.sha256(bytes(32) + b"an event").digest()
    assert extend(first, b"x").value == hashlib.sha256(first.value + b"x").digest()
    for wrong in (b"", bytes(65)):
        with pytest.raises(ValueError, match="1 to 64"):
            extend(first, wrong)


def test_wrong_arguments_are_refused() -> None:
    rim = RealmInitialMeasurement.create(RealmParameters())
    with pytest.raises(ValueError, match="4096"):
        rim.add_data(0, bytes(4095))
    with pytest.raises(ValueError, match="8 registers"):
        rim.add_rec(pc=0, gprs=[0] * 9)
