"""Keystone reports: fields, refusals, the recipe, the signature scheme, the claims, the enclave hash."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from tests.forge.keystone import KeystoneForge
from tests.forge.x509 import NOW

from cloister import _crypto
from cloister._ed25519_sha3 import ORDER, public_key_of, sign, spki_of_ed25519
from cloister._ed25519_sha3 import verify as verify_signature
from cloister.appraise import keystone as appraise
from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import ChainInvalid, NotFresh, ParseError, SignatureInvalid, VerificationError
from cloister.evidence.keystone import KeystoneReport, looks_like, parse
from cloister.measure.keystone import enclave_hash
from cloister.model import Challenge, MeasurementKind, Tee, Unchecked
from cloister.verification import keystone
from cloister.verification.recipe import CheckState, VerifiedEvidence

FORGE = KeystoneForge()
OTHER = KeystoneForge(device_seed=b"another device, worth as little ")
NONCE = b"a nonce of the caller"
SEED = bytes(range(32))


def verify(data: bytes, **changes: Any) -> VerifiedEvidence[KeystoneReport]:
    given: dict[str, Any] = {"anchors": FORGE.anchors, "endorsements": FORGE.endorsements}
    given["challenge"] = Challenge(NONCE)
    return keystone.verify(parse(data), at=NOW, **given | changes)


def test_all_fields_are_read_and_written() -> None:
    data = FORGE.report(NONCE, tail=b"what lay on the stack")
    report = parse(data)
    assert looks_like(data)
    assert report.tee is Tee.KEYSTONE
    assert report.enclave.hash == hashlib.sha3_512(b"an enclave").digest()
    assert report.enclave.data_len == len(NONCE)
    assert report.enclave.signed_data == NONCE
    assert report.enclave.data.startswith(NONCE + b"what lay")
    assert report.monitor.hash == hashlib.sha3_512(b"a monitor").digest()
    assert report.monitor.public_key == public_key_of(FORGE.monitor_seed)
    assert report.device_key == FORGE.device_key
    assert report.serialize() == data


def test_the_lengths_that_there_are() -> None:
    assert parse(FORGE.report(b"")).enclave.signed_data == b""
    assert parse(FORGE.report(bytes(1024))).enclave.signed_data == bytes(1024)


@pytest.mark.parametrize("size", [0, 1351, 1353, 2704])
def test_another_length_is_refused(size: int) -> None:
    data = FORGE.report(NONCE).ljust(size, b"\0")[:size]
    assert not looks_like(data)
    with pytest.raises(ParseError) as raised:
        parse(data)
    assert (raised.value.record, raised.value.field) == ("KeystoneReport", "length")


@pytest.mark.parametrize("length", [1025, 1 << 32, (1 << 64) - 1])
def test_more_data_than_there_is_room_for_is_refused(length: int) -> None:
    data = FORGE.report(NONCE)
    data = data[:64] + length.to_bytes(8, "little") + data[72:]
    assert not looks_like(data)
    with pytest.raises(ParseError) as raised:
        parse(data, base=100)
    assert (raised.value.field, raised.value.offset) == ("data_len", 164)


def test_a_genuine_report_passes_every_step() -> None:
    verified = verify(FORGE.report(NONCE))
    assert [check.number for check in verified.checks] == ["KEYSTONE-1", "KEYSTONE-2", "KEYSTONE-3"]
    assert {check.state for check in verified.checks} == {CheckState.PASSED}


def test_what_the_monitor_s_stack_held_is_no_answer() -> None:
    """Behind `data_len` nothing is signed: a nonce there proves nothing, and garbage there refutes nothing."""
    verify(FORGE.report(NONCE, tail=b"garbage"))
    with pytest.raises(NotFresh):
        verify(FORGE.report(b"", tail=NONCE))
    with pytest.raises(NotFresh):
        verify(FORGE.report(NONCE[:5], tail=NONCE[5:]))


def test_the_named_device_key_is_a_hint_only() -> None:
    """Nothing signs it, so it can neither vouch nor refute; Keystone's own verifier ignores it too."""
    assert verify(FORGE.report(NONCE, named_device=OTHER.device_key)).facts["device_key"] == FORGE.device_key.hex()
    with pytest.raises(ChainInvalid):
        verify(OTHER.report(NONCE, named_device=OTHER.device_key))
    with pytest.raises(SignatureInvalid):
        verify(OTHER.report(NONCE, named_device=FORGE.device_key))


def test_a_pinned_key_that_the_report_names_need_not_be_handed_over() -> None:
    verify(FORGE.report(NONCE), endorsements=Endorsements())


def ed25519_of(seed: bytes) -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.from_private_bytes(seed)


NOT_AUTHENTIC: dict[str, tuple[dict[str, Any], type[VerificationError], int]] = {
    "another nonce": ({"data": b"another nonce"}, NotFresh, 3),
    "the nonce with something behind it": ({"data": NONCE + b"!"}, NotFresh, 3),
    "no data": ({"data": b""}, NotFresh, 3),
}


@pytest.mark.parametrize("name", NOT_AUTHENTIC)
def test_what_does_not_answer(name: str) -> None:
    changes, error, step = NOT_AUTHENTIC[name]
    with pytest.raises(error) as raised:
        verify(FORGE.report(**changes))
    states = [check.state for check in raised.value.checks]  # type: ignore[attr-defined] # Check
    assert states == [CheckState.PASSED] * (step - 1) + [CheckState.FAILED]


ALTERED = {
    "the enclave's hash": (0, SignatureInvalid),
    "the data's length": (64, SignatureInvalid),
    "the data": (72, SignatureInvalid),
    "the enclave's signature": (1096, SignatureInvalid),
    "the monitor's hash": (1160, SignatureInvalid),
    "the monitor's key": (1224, SignatureInvalid),
    "the monitor's signature": (1256, SignatureInvalid),
}
"""Where in the report one bit is flipped."""


@pytest.mark.parametrize("name", ALTERED)
def test_an_altered_report_is_refused(name: str) -> None:
    offset, error = ALTERED[name]
    data = bytearray(FORGE.report(NONCE))
    data[offset] ^= 1
    with pytest.raises(error):
        verify(bytes(data))


def test_a_report_signed_as_rfc_8032_says_is_refused() -> None:
    def standard_key(seed: bytes) -> bytes:
        return ed25519_of(seed).public_key().public_bytes_raw()

    data = FORGE.report(NONCE, sign=lambda seed, message: ed25519_of(seed).sign(message), public_key=standard_key)
    report = parse(data)
    _crypto.verify_ed25519(
        ed25519_of(FORGE.monitor_seed).public_key(), report.enclave.signature, report.enclave.signed, what="it"
    )
    anchors = TrustAnchors.testing(spki_of_ed25519(report.device_key))
    with pytest.raises(SignatureInvalid):
        verify(data, anchors=anchors, endorsements=Endorsements(keys=(spki_of_ed25519(report.device_key),)))


def test_a_device_that_is_not_pinned_vouches_for_nothing() -> None:
    for_another_tee = TrustAnchors.testing(FORGE.endorsements.keys[0], tees=[Tee.CCA])
    for anchors in (TrustAnchors.hardware(), OTHER.anchors, for_another_tee):
        for given in (FORGE.endorsements, Endorsements()):
            with pytest.raises(ChainInvalid):
                verify(FORGE.report(NONCE), anchors=anchors, endorsements=given)


def test_pinned_keys_of_other_kinds_do_no_harm() -> None:
    keys = (b"", b"\x30\x00", *OTHER.endorsements.keys, *FORGE.endorsements.keys)
    verify(FORGE.report(NONCE), anchors=TrustAnchors.testing(*keys), endorsements=Endorsements(keys=keys))


def test_the_claims_and_measurements() -> None:
    report = FORGE.report(NONCE, tail=b"garbage")
    claims = appraise.claims(verify(report))
    assert claims["enclave_hash"] == hashlib.sha3_512(b"an enclave").hexdigest()
    assert claims["sm_hash"] == hashlib.sha3_512(b"a monitor").hexdigest()
    assert claims["data"] == NONCE.hex()
    assert claims["device_key"] == FORGE.device_key.hex()
    assert claims["debug"] is False
    enclave, monitor = appraise.measurements(parse(report))
    assert (enclave.name, enclave.kind) == ("enclave_hash", MeasurementKind.LAUNCH)
    assert enclave.digest.algorithm == "sha3_512"
    assert monitor.digest.value == hashlib.sha3_512(b"a monitor").digest()


def test_the_enclave_hash() -> None:
    """The vector for three pages of zeros, and what changes it."""
    page = bytes(4096)
    digest = enclave_hash(loader=page, runtime=page, application=page)
    assert digest.algorithm == "sha3_512"
    assert digest.value.hex() == (
        "16b05bc64a6acd54a8edcf979d45a5936a68bfa3591855d475f9e019154cdaa6"
        "2c1799918fa52d747aa16e4db98832de297c4a063893519e52ae95d5e0c63bb7"
    )
    assert enclave_hash(loader=b"", runtime=page, application=page * 2) != digest
    assert enclave_hash(loader=page, runtime=page, application=b"\0") == digest
    assert enclave_hash(loader=page, runtime=page, application=b"\1") != digest


def test_a_signature_holds_for_its_message_and_key_only() -> None:
    key, signature = public_key_of(SEED), sign(SEED, b"message")
    verify_signature(key, signature, b"message", what="it")
    for wrong in ((key, signature, b"Message"), (public_key_of(bytes(32)), signature, b"message")):
        with pytest.raises(SignatureInvalid, match="it does not verify"):
            verify_signature(*wrong, what="it")


def test_our_group_arithmetic_is_that_of_rfc_8032() -> None:
    """The same code with SHA-512 in place of SHA3-512 must make the signatures of a standard library."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(hashlib, "sha3_512", hashlib.sha512)
        assert public_key_of(SEED) == ed25519_of(SEED).public_key().public_bytes_raw()
        assert sign(SEED, b"message") == ed25519_of(SEED).sign(b"message")
        verify_signature(public_key_of(SEED), ed25519_of(SEED).sign(b"message"), b"message", what="it")


SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
]
"""All eight points of small order of edwards25519."""
NOT_CANONICAL = [
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0100000000000000000000000000000000000000000000000000000000000080",
]


@pytest.mark.parametrize("point", [*SMALL_ORDER, *NOT_CANONICAL, "02" + "00" * 31])
def test_a_key_that_would_verify_anything_is_refused(point: str) -> None:
    """Under a key of small order, S = 0 and a fitting R would verify many messages."""
    key = bytes.fromhex(point)
    for r in (*SMALL_ORDER, public_key_of(SEED).hex()):
        for scalar in (0, 1):
            with pytest.raises(SignatureInvalid):
                verify_signature(key, bytes.fromhex(r) + scalar.to_bytes(32, "little"), b"message", what="it")


@pytest.mark.parametrize("point", [*SMALL_ORDER, *NOT_CANONICAL])
def test_a_signature_with_such_a_point_is_refused(point: str) -> None:
    with pytest.raises(SignatureInvalid):
        verify_signature(public_key_of(SEED), bytes.fromhex(point) + sign(SEED, b"")[32:], b"", what="it")


def test_the_key_s_owner_cannot_sign_with_the_point_of_order_one() -> None:
    """R = identity and S = k times the secret scalar fulfil the equation; RFC 8032's signers never make it."""
    digest = bytearray(hashlib.sha3_512(SEED).digest()[:32])
    digest[0] &= 0xF8
    digest[31] = digest[31] & 0x3F | 0x40
    identity = bytes.fromhex(SMALL_ORDER[0])
    hashed = hashlib.sha3_512(identity + public_key_of(SEED) + b"message").digest()
    scalar = int.from_bytes(hashed, "little") * int.from_bytes(digest, "little") % ORDER
    with pytest.raises(SignatureInvalid):
        verify_signature(public_key_of(SEED), identity + scalar.to_bytes(32, "little"), b"message", what="it")


def test_a_signature_has_one_form() -> None:
    """S + L would verify as well as S, were it allowed."""
    signature = sign(SEED, b"message")
    other = int.from_bytes(signature[32:], "little") + ORDER
    with pytest.raises(SignatureInvalid):
        verify_signature(public_key_of(SEED), signature[:32] + other.to_bytes(32, "little"), b"message", what="it")


@pytest.mark.parametrize("size", [0, 31, 32, 63, 65, 128])
def test_a_signature_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(SignatureInvalid):
        verify_signature(public_key_of(SEED), sign(SEED, b"").ljust(size, b"\0")[:size], b"", what="it")


def test_the_key_s_pinned_form_is_rfc_8410_s() -> None:
    key = ed25519_of(SEED).public_key()
    assert spki_of_ed25519(key.public_bytes_raw()) == _crypto.spki_of(key)
    with pytest.raises(ValueError, match="32 bytes"):
        spki_of_ed25519(bytes(31))


def test_freshness_can_be_left_unchecked_knowingly() -> None:
    verified = verify(replace(FORGE).report(b""), challenge=Unchecked("a recorded report"))
    assert verified.unchecked == ("Answers the challenge: a recorded report",)
