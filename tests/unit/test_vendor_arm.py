"""The emulated Arm CCA platform: its tokens verify end to end in every form, and an independent reading agrees."""

import hashlib
import secrets
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from tests.forge.amd import NOW

import cloister
from cloister import cli
from cloister.emulate.vendors.arm import ArmPlatform
from cloister.emulate.vendors.arm_claims import SECURED, Component, PlatformState, RealmState, TokenForm
from cloister.emulate.vendors.arm_cose import cose_key, raw_point, sign1
from cloister.emulate.vendors.keystore import WARNING, Keystore
from cloister.emulate.vendors.x509 import p256, p384
from cloister.endorse.anchors import AnchorKind
from cloister.errors import UsageError
from cloister.evidence.cca import parse
from cloister.model import Tee
from cloister.verifier.trust_files import read_anchors

FORMS = list(TokenForm)
CHALLENGE = bytes(range(1, 65))


def digest(name: str, algorithm: str = "sha256") -> bytes:
    return hashlib.new(algorithm, name.encode()).digest()


STATE = PlatformState(
    implementation_id=digest("emulated implementation"),
    components=tuple(
        Component(kind=name, measurement=digest(name), signer_id=digest("signer")) for name in ("BL2", "BL31", "RMM")
    ),
    verification_service="https://verifier.example/",
)
REALM = RealmState(
    initial_measurement=digest("a realm"),
    extensible_measurements=(digest("0"), digest("1"), digest("2"), digest("3")),
    personalization_value=b"mine".ljust(64, b"\0"),
)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> ArmPlatform:
    return ArmPlatform(Keystore(tmp_path_factory.mktemp("arm") / "emulated"))


def verify(token: bytes, platform: ArmPlatform, nonce: bytes = CHALLENGE) -> cloister.Verdict:
    """With the file that the platform's owner hands over."""
    anchors, given = read_anchors(platform.publish_key(), kind=AnchorKind.TESTING, tees=[Tee.CCA])
    return cloister.verify(token, nonce=nonce, at=NOW, anchors=anchors, endorsements=given)


@pytest.mark.parametrize("form", FORMS)
def test_a_token_verifies_with_the_published_key(platform: ArmPlatform, form: TokenForm) -> None:
    token = platform.cca_token(CHALLENGE, REALM, STATE, form=form)
    verdict = verify(token, platform)
    part = verdict.authentic.parts[0]
    assert (verdict.tee, part.anchor.kind, part.evidence.collection) == (Tee.CCA, AnchorKind.TESTING, form.collection)
    realm, said = part.evidence.realm_claims, part.evidence.platform_claims
    assert (realm.profile, said.profile) == (form.realm_profile, form.platform_profile)
    assert (realm.initial_measurement, realm.extensible_measurements) == (
        REALM.initial_measurement, REALM.extensible_measurements,
    )  # fmt: skip
    assert realm.personalization_value == REALM.personalization_value
    assert (said.implementation_id, said.instance_id) == (STATE.implementation_id, platform.instance_id)
    assert [(one.kind, one.measurement) for one in said.software_components] == [
        (one.kind, one.measurement) for one in STATE.components
    ]
    assert (said.lifecycle, said.verification_service, said.other, realm.other) == (
        SECURED, STATE.verification_service, {}, {},
    )  # fmt: skip
    assert parse(token).variant == b"", "the shortest encoding"


@pytest.mark.parametrize("form", FORMS)
def test_larger_hashes(platform: ArmPlatform, form: TokenForm) -> None:
    realm = RealmState(
        initial_measurement=bytes(range(64)), extensible_measurements=(bytes(64),) * 4, hash_algorithm="sha-512"
    )
    state = PlatformState(
        implementation_id=bytes(32), hash_algorithm="sha-384",
        components=(Component(kind="BL2", measurement=bytes(48), signer_id=bytes(48)),),
    )  # fmt: skip
    verdict = verify(platform.cca_token(CHALLENGE, realm, state, form=form), platform)
    assert verdict.authentic.parts[0].evidence.realm_claims.hash_algorithm == "sha-512"


@pytest.mark.parametrize("form", FORMS)
def test_the_tokens_of_one_boot_share_its_platform_token_and_key(platform: ArmPlatform, form: TokenForm) -> None:
    booted = platform.boot(STATE, form=form)
    nonces = [secrets.token_bytes(64) for _ in range(3)]
    tokens = [booted.cca_token(nonce, REALM) for nonce in nonces]
    for token, nonce in zip(tokens, nonces, strict=True):
        verify(token, platform, nonce)
    assert len({parse(one).platform.serialize() for one in tokens}) == 1
    other = parse(platform.boot(STATE, form=form).cca_token(nonces[0], REALM))
    assert other.realm_claims.public_key != parse(tokens[0]).realm_claims.public_key
    assert other.platform_claims.challenge != parse(tokens[0]).platform_claims.challenge


@pytest.mark.parametrize("form", FORMS)
def test_an_independent_reading_agrees(platform: ArmPlatform, form: TokenForm) -> None:
    """Nothing of Cloister: cbor2, a Sig_structure put together by hand (RFC 9052, section 4.4), ECDSA P-384."""
    outer = cbor2.loads(platform.cca_token(CHALLENGE, REALM, STATE, form=form))
    assert outer.tag == form.collection
    members = {label: one if form.collection == 399 else one[1] for label, one in outer.value.items()}
    if form.collection == 907:
        assert {one[0] for one in outer.value.values()} == {263}
    said = {label: independently(one) for label, one in members.items()}
    cpak = serialization.load_der_public_key(platform.spki)
    realm = said[44241][0]
    key = realm[44237]
    assert said[44234][0][10] == hashlib.sha256(key).digest()
    if form is TokenForm.UNDIVIDED:
        rak = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), key)
    else:
        parts = cbor2.loads(key)
        assert (parts[1], parts[-1]) == (2, 2)
        rak = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), b"\x04" + parts[-2] + parts[-3])
    for label, signer in ((44234, cpak), (44241, rak)):
        assert isinstance(signer, ec.EllipticCurvePublicKey)
        _, structure, signature = said[label]
        der = encode_dss_signature(int.from_bytes(signature[:48]), int.from_bytes(signature[48:]))
        signer.verify(der, structure, ec.ECDSA(hashes.SHA384()))
    assert (realm[10], realm.get(265, "")) == (CHALLENGE, form.realm_profile)


def independently(token: bytes) -> tuple[dict[int, Any], bytes, bytes]:
    """Claims, Sig_structure and signature of a COSE_Sign1."""
    message = cbor2.loads(token)
    assert message.tag == 18
    protected, unprotected, payload, signature = message.value
    assert (cbor2.loads(protected), unprotected, len(signature)) == ({1: -35}, {}, 96)
    return cbor2.loads(payload), cbor2.dumps(["Signature1", protected, b"", payload]), signature


def test_the_command_takes_the_published_key(platform: ArmPlatform, tmp_path: Path) -> None:
    token, collateral = tmp_path / "token.cbor", tmp_path / "collateral"
    token.write_bytes(platform.cca_token(CHALLENGE, REALM, STATE))
    collateral.mkdir()
    words = ["verify", str(token), "--nonce", CHALLENGE.hex(), "--at", NOW.isoformat(), "--collateral", str(collateral)]
    assert cli.main([*words, "--unsafe-trust-root", str(platform.publish_key())]) == 3, (
        "authentic, but without a policy"
    )
    assert cli.main(words) == 5


def test_the_published_key_says_what_it_is_worth(platform: ArmPlatform) -> None:
    assert platform.publish_key().read_text().startswith(WARNING)


def test_a_platform_is_the_same_after_a_restart_and_others_are_others(platform: ArmPlatform) -> None:
    again, other = ArmPlatform(Keystore(platform.keystore.directory)), ArmPlatform(platform.keystore, "another")
    assert (again.spki, again.instance_id) == (platform.spki, platform.instance_id)
    assert other.instance_id != platform.instance_id
    verify(again.cca_token(CHALLENGE, REALM, STATE), platform)


@pytest.mark.parametrize("size", [0, 32, 63, 65])
def test_a_challenge_has_64_bytes(platform: ArmPlatform, size: int) -> None:
    with pytest.raises(UsageError, match="64 bytes"):
        platform.cca_token(bytes(size), REALM, STATE)


@pytest.mark.parametrize(
    "realm",
    [
        RealmState(initial_measurement=bytes(32), extensible_measurements=(bytes(32),) * 3),  # type: ignore[arg-type] # odd
        RealmState(initial_measurement=bytes(48), extensible_measurements=(bytes(32),) * 4),
        RealmState(initial_measurement=bytes(32), extensible_measurements=(bytes(32),) * 4, hash_algorithm="sha-512"),
        RealmState(
            initial_measurement=bytes(32), extensible_measurements=(bytes(32),) * 4, personalization_value=bytes(32)
        ),
    ],
)
def test_realms_that_no_monitor_measured(platform: ArmPlatform, realm: RealmState) -> None:
    with pytest.raises(UsageError):
        platform.cca_token(CHALLENGE, realm, STATE)


def test_the_private_keys_are_not_shown(platform: ArmPlatform) -> None:
    booted = platform.boot(STATE)
    assert "realm_key" not in repr(booted)
    assert b"PRIVATE" not in platform.publish_key().read_bytes()


def test_keys_of_other_curves_are_written_as_wide_as_they_are() -> None:
    for key, size in ((p256(), 32), (p384(), 48)):
        assert len(raw_point(key)) == 1 + 2 * size
        assert len(cbor2.loads(cose_key(key))[-2]) == size
        assert len(sign1(key, b"payload").signature) == 2 * size
