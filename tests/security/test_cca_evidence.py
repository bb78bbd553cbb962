"""Attacks on CCA tokens: parts of different tokens put together, every byte altered, keys of the attacker's own."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cbor2
import pytest
from tests.forge.arm import ArmForge
from tests.forge.cose import cose_key_of, sign1
from tests.forge.x509 import NOW, spki

from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import BindingInvalid, ChainInvalid, ParseError, SignatureInvalid, VerificationError
from cloister.evidence.cca import CcaToken, parse
from cloister.model import Challenge, Tee
from cloister.verification import cca

FORGE = ArmForge()
ATTACKER = ArmForge()
NONCE = b"a nonce of the caller"


def verify(token: CcaToken, **changes: Any) -> object:
    given: dict[str, Any] = {"anchors": FORGE.anchors, "endorsements": FORGE.endorsements}
    return cca.verify(token, at=NOW, challenge=Challenge(NONCE), **given | changes)


def collection(platform: bytes, realm: bytes) -> CcaToken:
    return parse(cbor2.dumps(cbor2.CBORTag(907, {44234: [263, platform], 44241: [263, realm]})))


def parts(token: bytes) -> tuple[bytes, bytes]:
    members = cbor2.loads(token).value
    return members[44234][1], members[44241][1]


@pytest.mark.parametrize("given", [ATTACKER.endorsements, ATTACKER.endorsements | FORGE.endorsements])
def test_a_token_under_the_attacker_s_own_key(given: Endorsements) -> None:
    token = parse(ATTACKER.token(nonce=NONCE))
    with pytest.raises((ChainInvalid, SignatureInvalid)):
        verify(token, endorsements=given)
    with pytest.raises(ChainInvalid):
        verify(token, endorsements=given, anchors=TrustAnchors.hardware())


def test_a_genuine_platform_token_beside_the_attacker_s_realm() -> None:
    platform, _ = parts(FORGE.token(nonce=NONCE))
    _, realm = parts(ATTACKER.token(nonce=NONCE))
    with pytest.raises(BindingInvalid):
        verify(collection(platform, realm))


def test_a_genuine_platform_token_and_key_but_the_attacker_s_claims() -> None:
    """The realm token names the genuine key, and the attacker signs it."""
    platform, _ = parts(FORGE.token(nonce=NONCE))
    claims = FORGE.realm_claims(NONCE) | {44238: bytes(32)}
    with pytest.raises(SignatureInvalid):
        verify(collection(platform, sign1(ATTACKER.realm_key, cbor2.dumps(claims)).serialize()))


def test_the_two_tokens_exchanged() -> None:
    platform, realm = parts(FORGE.token(nonce=NONCE))
    with pytest.raises(ParseError):
        collection(realm, platform)
    with pytest.raises(ParseError):
        collection(platform, platform)


def test_the_realm_key_cannot_sign_platform_tokens() -> None:
    token = parse(FORGE.token(nonce=NONCE, sign_platform=FORGE.realm_key))
    with pytest.raises(SignatureInvalid):
        verify(token)


def test_the_same_key_written_in_another_way_is_another_key() -> None:
    """The hash is over the claim's bytes: the older form of the same point does not fit the platform token."""
    platform, _ = parts(FORGE.token(nonce=NONCE))
    raw = FORGE.realm_claims(NONCE, legacy=True)[44237]
    assert isinstance(raw, bytes)
    assert raw[1:49] in cose_key_of(FORGE.realm_key)
    claims = FORGE.realm_claims(NONCE) | {44237: raw}
    with pytest.raises(BindingInvalid):
        verify(collection(platform, sign1(FORGE.realm_key, cbor2.dumps(claims)).serialize()))


def test_a_compressed_point_is_no_older_realm_key() -> None:
    numbers = FORGE.realm_key.public_key().public_numbers()
    compressed = bytes([2 + numbers.y % 2]) + numbers.x.to_bytes(48)
    with pytest.raises(ParseError):
        parse(FORGE.token(legacy=True, realm={44237: compressed}))
    hybrid = bytes([6 + numbers.y % 2]) + numbers.x.to_bytes(48) + numbers.y.to_bytes(48)
    with pytest.raises(SignatureInvalid):
        verify(parse(FORGE.token(nonce=NONCE, legacy=True, realm={44237: hybrid})))


def test_a_key_pinned_for_another_tee_does_not_vouch() -> None:
    others = [tee for tee in Tee if tee is not Tee.CCA]
    anchors = TrustAnchors.of([spki(FORGE.platform_key)], kind=AnchorKind.HARDWARE, name="another", tees=others)
    with pytest.raises(ChainInvalid):
        verify(parse(FORGE.token(nonce=NONCE)), anchors=anchors)


def flips(data: bytes) -> Iterator[bytes]:
    """One bit flipped in every byte."""
    for position in range(len(data)):
        yield data[:position] + bytes([data[position] ^ 1 << position % 8]) + data[position + 1 :]


@pytest.mark.parametrize("form", [{}, {"collection": 399, "legacy": True}], ids=["newer", "older"])
def test_a_flipped_bit_in_any_byte_is_noticed(form: dict[str, Any]) -> None:
    """Not signed are only the collection's frame and the two COSE frames: flips there must not change what is said."""
    data = FORGE.token(nonce=NONCE, **form)
    genuine, verdicts = parse(data), {"parse": 0, "verify": 0, "frame": 0}
    for flipped in flips(data):
        try:
            token = parse(flipped)
        except ParseError:
            verdicts["parse"] += 1
            continue
        try:
            verify(token)
        except VerificationError:
            verdicts["verify"] += 1
            continue
        verdicts["frame"] += 1
        assert (token.platform_claims, token.realm_claims) == (genuine.platform_claims, genuine.realm_claims)
    assert verdicts["verify"] > 300
    assert verdicts["frame"] <= 4, "a frame has few bytes whose flip leaves a token"


def test_the_signed_message_is_the_received_one() -> None:
    """A payload that differs from what was signed is refused, even where it says the same."""
    token = parse(FORGE.token(nonce=NONCE))
    altered = replace(token, realm=replace(token.realm, payload=token.realm.payload + b"\0"))
    with pytest.raises(SignatureInvalid):
        verify(altered)
