"""Attacks on tokens of the emulated Arm platform: nobody's hardware, and one fault each is refused."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cbor2
import pytest
from tests.forge.amd import NOW

import cloister
from cloister import _cbor
from cloister.emulate.vendors.arm import ArmPlatform, collection
from cloister.emulate.vendors.arm_claims import Component, PlatformState, RealmState, TokenForm
from cloister.emulate.vendors.arm_cose import sign1
from cloister.emulate.vendors.keystore import Keystore
from cloister.emulate.vendors.x509 import p384
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
from cloister.evidence.cca import CcaToken, parse
from cloister.model import Tee

FORMS = list(TokenForm)
NONCE = bytes(range(1, 65))
STATE = PlatformState(
    implementation_id=bytes(range(32)),
    components=(Component(kind="RMM", measurement=bytes(32), signer_id=bytes(32)),),
)
REALM = RealmState(initial_measurement=bytes(range(32)), extensible_measurements=(bytes(32),) * 4)


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    return Keystore(tmp_path_factory.mktemp("arm") / "emulated")


@pytest.fixture(scope="module")
def platform(keystore: Keystore) -> ArmPlatform:
    return ArmPlatform(keystore)


@pytest.fixture(scope="module")
def attacker(tmp_path_factory: pytest.TempPathFactory) -> ArmPlatform:
    return ArmPlatform(Keystore(tmp_path_factory.mktemp("attacker") / "emulated"))


def verify(token: bytes, platform: ArmPlatform, **changes: Any) -> cloister.Verdict:
    settings: dict[str, Any] = {
        "nonce": NONCE, "at": NOW, "anchors": TrustAnchors.testing(platform.spki, tees=[Tee.CCA]),
        "endorsements": Endorsements(keys=(platform.spki,)),
    } | changes  # fmt: skip
    return cloister.verify(token, **settings)


@pytest.mark.parametrize("form", FORMS)
def test_the_control_these_tokens_do_verify(platform: ArmPlatform, form: TokenForm) -> None:
    verify(platform.cca_token(NONCE, REALM, STATE, form=form), platform)


@pytest.mark.parametrize("form", FORMS)
def test_the_hardware_roots_refuse_them(platform: ArmPlatform, form: TokenForm) -> None:
    token = platform.cca_token(NONCE, REALM, STATE, form=form)
    with pytest.raises(ChainInvalid):
        verify(token, platform, anchors=TrustAnchors.hardware())
    both = TrustAnchors.hardware() | TrustAnchors.testing(platform.spki)
    assert verify(token, platform, anchors=both).authentic.parts[0].anchor.kind is AnchorKind.TESTING


@pytest.mark.parametrize("form", FORMS)
def test_a_flipped_bit_in_any_byte_is_noticed(platform: ArmPlatform, form: TokenForm) -> None:
    """The few bytes that nobody signs (frames) may be other, as long as nothing that is said changes."""
    data = platform.cca_token(NONCE, REALM, STATE, form=form)
    genuine, refused, left = parse(data), 0, 0
    for position in range(len(data)):
        altered = bytearray(data)
        altered[position] ^= 1 << position % 8
        try:
            part = verify(bytes(altered), platform).authentic.parts[0].evidence
        except (ParseError, VerificationError):
            refused += 1
            continue
        left += 1
        assert (part.platform_claims, part.realm_claims) == (genuine.platform_claims, genuine.realm_claims)
    assert left <= 4
    assert refused > 700


def parts(token: bytes) -> tuple[bytes, bytes]:
    parsed = parse(token)
    return parsed.platform.serialize(), parsed.realm.serialize()


def token_of(one: ArmPlatform, realm: RealmState = REALM, state: PlatformState = STATE, nonce: bytes = NONCE) -> bytes:
    return one.cca_token(nonce, realm, state)


def mixed(platform_part: bytes, realm_part: bytes) -> bytes:
    return collection(907, parts(platform_part)[0], parts(realm_part)[1])


def signed_again(token: bytes, changes: dict[int, object], *, which: str) -> bytes:
    """One of the two tokens with other claims, under a key of the attacker's own."""
    parsed: CcaToken = parse(token)
    message = parsed.realm if which == "realm" else parsed.platform
    claims = cbor2.loads(message.payload) | changes
    made = sign1(p384(), _cbor.dumps(claims)).serialize()
    platform_part, realm_part = parts(token)
    return collection(907, platform_part, made) if which == "realm" else collection(907, made, realm_part)


Attempt = Callable[[ArmPlatform, ArmPlatform], object]
FAULTS: dict[str, tuple[type[CloisterError], Attempt]] = {
    "another platform": (SignatureInvalid, lambda mine, other: verify(token_of(other), mine)),
    "another platform, whose key is at hand but not pinned": (
        ChainInvalid,
        lambda mine, other: verify(token_of(other), mine, endorsements=Endorsements(keys=(mine.spki, other.spki))),
    ),
    "this platform beside another's realm": (
        BindingInvalid, lambda mine, other: verify(mixed(token_of(mine), token_of(other)), mine),
    ),
    "the realm of another boot": (
        BindingInvalid, lambda mine, _: verify(mixed(token_of(mine), token_of(mine)), mine),
    ),
    "another realm measurement": (
        SignatureInvalid,
        lambda mine, _: verify(signed_again(token_of(mine), {44238: b"\1" * 32}, which="realm"), mine),
    ),
    "another firmware": (
        SignatureInvalid,
        lambda mine, _: verify(signed_again(token_of(mine), {2396: b"\1" * 32}, which="platform"), mine),
    ),
    "tokens exchanged": (
        ParseError, lambda mine, _: verify(collection(907, *reversed(parts(token_of(mine)))), mine),
    ),
    "a platform that is being debugged": (
        VerificationError, lambda mine, _: verify(token_of(mine, state=replace(STATE, lifecycle=0x4000)), mine),
    ),
    "a decommissioned platform": (
        VerificationError, lambda mine, _: verify(token_of(mine, state=replace(STATE, lifecycle=0x6000)), mine),
    ),
    "another challenge": (NotFresh, lambda mine, _: verify(token_of(mine, nonce=bytes(63) + b"\1"), mine)),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_one_fault_is_refused(platform: ArmPlatform, attacker: ArmPlatform, name: str) -> None:
    with pytest.raises(FAULTS[name][0]) as caught:
        FAULTS[name][1](platform, attacker)
    assert type(caught.value) is FAULTS[name][0]


def test_a_platform_s_key_vouches_for_no_other_tee(platform: ArmPlatform) -> None:
    others = [tee for tee in Tee if tee is not Tee.CCA]
    with pytest.raises(ChainInvalid):
        verify(token_of(platform), platform, anchors=TrustAnchors.testing(platform.spki, tees=others))
