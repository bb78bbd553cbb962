"""The emulated SEV platform and the cryptography of a launch: published vectors, and both sides against each other."""

import hashlib
import hmac
import secrets
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode
from tests.forge.amd import NOW

import cloister
from cloister.emulate.vendors.amd import AmdManufacturer
from cloister.emulate.vendors.amd_sev_platform import SevPlatform
from cloister.emulate.vendors.amd_sev_secret import OwnerSession, SecretHeader, open_secret, seal_secret
from cloister.emulate.vendors.amd_sev_session import (
    Session,
    TransportKeys,
    derived_key,
    launch_measurement,
    shared_secret,
    unwrap,
    wrap,
)
from cloister.emulate.vendors.keystore import Keystore
from cloister.emulate.vendors.x509 import p256, p384, spki
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import SignatureInvalid, UsageError
from cloister.evidence.sev import SevAttestation, SevLaunch, parse
from cloister.evidence.sev_chain import Usage, parse_chain
from cloister.evidence.sev_keys import EcKey
from cloister.model import Tee, Unchecked
from cloister.verification import sev
from cloister.verification.sev_chain import root_spki
from cloister.verifier.trust_files import read_anchors

ZEROS = TransportKeys(tek=bytes(16), tik=bytes(16))
DIGEST = hashlib.sha256(b"everything that was launched").digest()
POLICY = 0x05


@pytest.fixture(scope="module")
def amd(tmp_path_factory: pytest.TempPathFactory) -> AmdManufacturer:
    return AmdManufacturer(Keystore(tmp_path_factory.mktemp("sev") / "emulated"), key_bits=2048)


@pytest.fixture(scope="module")
def platform(amd: AmdManufacturer) -> SevPlatform:
    return SevPlatform.of(amd, amd.chip_id())


# ---------------------------------------------------------------- published vectors (virtee/sev, src/session tests)


def test_master_secret_vector() -> None:
    assert derived_key(bytes(16), "sev-master-secret", bytes(16)).hex() == "ab4d269fcc62bedb4511d56c386ce706"


def test_session_vector() -> None:
    session = wrap(ZEROS, bytes(16), policy=0, nonce=bytes(16), iv=bytes(16))
    assert session.wrap_tk.hex() == "2137bc7f9bb8bd7c3e55a576a15d3454b3856b8ba27afadf46dcfee9f02c02c4"
    assert session.wrap_mac.hex() == "3176c0752738bd9d5e86689534020f528c088f16238826b000b327dee6aeed7d"
    assert session.policy_mac.hex() == "aa7855e13839dd767cd5da7c1ff5036540c9264b7a803029315e55375287b4af"
    assert len(session.serialize()) == 128


def test_launch_measurement_vector() -> None:
    keys = TransportKeys(tek=bytes(16), tik=bytes.fromhex("66320db73158a35a255d051758e95ed4"))
    measured = launch_measurement(
        keys, hashlib.sha256(b"").digest(), mnonce=bytes.fromhex("4fbe0bedbad6c86ae8f68971d103e554"), policy=0,
        api=(0, 18), build=15,
    )  # fmt: skip
    assert measured.measure.hex() == "6faab2daae389bcd3405a05d6cafe33c0414f7bedd0bae19ba5f38b7fd1664ea"


@pytest.mark.parametrize("size", [16, 32, 33, 64, 100])
def test_the_key_derivation_is_sp_800_108_as_another_library_has_it(size: int) -> None:
    """The library writes a counter of four bytes highest first, so it is told one byte and given the other three."""
    key, context, label = secrets.token_bytes(48), secrets.token_bytes(16), "sev-kek"
    library = KBKDFHMAC(
        algorithm=hashes.SHA256(), mode=Mode.CounterMode, length=size, rlen=1, llen=None,
        location=CounterLocation.BeforeFixed, label=None, context=None,
        fixed=bytes(3) + label.encode() + b"\0" + context + (8 * size).to_bytes(4, "little"),
    )  # fmt: skip
    assert derived_key(key, label, context, size=size) == library.derive(key)


# ---------------------------------------------------------------- owner and firmware


def test_what_the_owner_wraps_only_this_platform_unwraps(platform: SevPlatform) -> None:
    owner = OwnerSession.start(platform.chain.pdh, policy=POLICY)
    theirs = EcKey.parse(owner.certificate.pubkey)
    received = Session.parse(owner.session.serialize())
    assert unwrap(received, shared_secret(platform.keys[Usage.PDH], theirs), policy=POLICY) == owner.keys
    for other in (platform.with_new_pdh(), platform.with_new_pek(), platform.owned_by(p384())):
        with pytest.raises(SignatureInvalid, match="another platform"):
            unwrap(received, shared_secret(other.keys[Usage.PDH], theirs), policy=POLICY)


@pytest.mark.parametrize("offset", range(128))
def test_every_byte_of_a_session_matters(offset: int) -> None:
    z = bytes(range(48))
    data = bytearray(wrap(ZEROS, z, policy=POLICY, nonce=bytes(16), iv=bytes(16)).serialize())
    data[offset] ^= 1 << offset % 8
    with pytest.raises(SignatureInvalid):
        unwrap(Session.parse(bytes(data)), z, policy=POLICY)


@pytest.mark.parametrize("bit", range(32))
def test_the_host_cannot_launch_with_another_policy(bit: int) -> None:
    session = wrap(ZEROS, bytes(48), policy=POLICY, nonce=bytes(16), iv=bytes(16))
    with pytest.raises(SignatureInvalid, match="another policy"):
        unwrap(session, bytes(48), policy=POLICY ^ 1 << bit)


def test_a_secret_reaches_the_launch_it_is_for() -> None:
    keys, measure, iv = TransportKeys.joined(bytes(range(32))), bytes(range(32)), bytes(range(16))
    secret = b"the disk's key..the disk's key.."
    header, data = seal_secret(keys, secret, measure, iv=iv)
    assert secret not in data
    received = SecretHeader.parse(header.serialize())
    assert open_secret(keys, received, data, measure, guest_length=len(secret)) == secret
    message = b"\1" + bytes(4) + iv + (32).to_bytes(4, "little") * 2 + data + measure
    assert header.mac == hmac.digest(keys.tik, message, "sha256")


def test_a_secret_is_refused_by_any_other_launch() -> None:
    keys, measure = TransportKeys.joined(bytes(range(32))), bytes(range(32))
    header, data = seal_secret(keys, bytes(32), measure, iv=bytes(16))
    altered = bytearray(data)
    altered[7] ^= 1
    others = [
        (keys, header, data, bytes(32), 32),
        (replace(keys, tik=bytes(16)), header, data, measure, 32),
        (keys, header, bytes(altered), measure, 32),
        (keys, header, data, measure, 16),
        (keys, header, data + bytes(16), measure, 32),
        (keys, SecretHeader(flags=1, iv=header.iv, mac=header.mac), data, measure, 32),
        (keys, SecretHeader(flags=0, iv=b"\1" * 16, mac=header.mac), data, measure, 32),
        (keys, SecretHeader(flags=0, iv=header.iv, mac=bytes(32)), data, measure, 32),
    ]
    for one, said, packet, measured, length in others:
        with pytest.raises(SignatureInvalid, match="altered, or is for another launch"):
            open_secret(one, said, packet, measured, guest_length=length)


@pytest.mark.parametrize("size", [0, 15, 17, 16_400])
def test_secrets_of_odd_sizes_are_refused(size: int) -> None:
    with pytest.raises(UsageError, match="a launch secret has"):
        seal_secret(ZEROS, bytes(size), bytes(32), iv=bytes(16))


def test_a_key_off_the_curve_is_refused() -> None:
    good = EcKey.of(bytes(95) + b"\1")
    for bad in (good, EcKey(curve=1, qx=good.qx, qy=good.qy), EcKey(curve=0, qx=bytes(72), qy=bytes(72))):
        with pytest.raises(UsageError, match="P-384"):
            shared_secret(p384(), bad)


def test_keys_are_not_shown(platform: SevPlatform) -> None:
    owner = OwnerSession.start(platform.chain.pdh, policy=POLICY)
    assert owner.keys.tek.hex() not in repr(owner)
    assert repr(owner.keys) == "TransportKeys()"
    assert "keys=" not in repr(platform)


# ---------------------------------------------------------------- evidence


def anchors(amd: AmdManufacturer) -> TrustAnchors:
    found, _ = read_anchors(amd.publish_root(), kind=AnchorKind.TESTING, tees=[Tee.SEV])
    return found


def test_a_report_verifies_under_the_published_root(amd: AmdManufacturer, platform: SevPlatform) -> None:
    """The same root as for SNP, as AMD's from Milan on."""
    nonce = b"sixteen at most."
    evidence = SevAttestation(report=platform.attest(nonce, DIGEST, POLICY), chain=platform.chain).serialize()
    verdict = cloister.verify(evidence, nonce=nonce, at=NOW, anchors=anchors(amd), endorsements=Endorsements())
    assert (verdict.tee, verdict.authentic.parts[0].facts["launch_digest"]) == (Tee.SEV, DIGEST)
    assert root_spki(platform.chain) == amd.ark.certificate.spki


def test_platforms_with_other_keys_verify_too(amd: AmdManufacturer, platform: SevPlatform) -> None:
    nonce = bytes(range(16))
    for one in (platform.with_new_pdh(), platform.with_new_pek(), platform.owned_by(p384())):
        for another in (one, one.with_new_pdh(), one.with_new_pek()):
            said = SevAttestation(report=another.attest(nonce, DIGEST, POLICY), chain=another.chain).serialize()
            cloister.verify(said, nonce=nonce, at=NOW, anchors=anchors(amd), endorsements=Endorsements())


def test_keys_of_4096_bits_are_signed_with_sha384(tmp_path: Path) -> None:
    made = AmdManufacturer(Keystore(tmp_path / "emulated"))
    one = SevPlatform.of(made, made.chip_id())
    nonce = bytes(range(16))
    evidence = SevAttestation(report=one.attest(nonce, DIGEST, POLICY), chain=one.chain).serialize()
    cloister.verify(evidence, nonce=nonce, at=NOW, anchors=anchors(made), endorsements=Endorsements())
    assert (one.chain.ark.modulus_size, len(one.chain.ark.serialize()), one.chain.ask.digest) == (4096, 1600, "sha384")


def test_a_whole_launch_is_found_right_by_its_owner(amd: AmdManufacturer, platform: SevPlatform) -> None:
    owner = OwnerSession.start(platform.chain.pdh, policy=POLICY)
    z = shared_secret(platform.keys[Usage.PDH], EcKey.parse(owner.certificate.pubkey))
    keys = unwrap(owner.session, z, policy=POLICY)
    measured = launch_measurement(keys, DIGEST, mnonce=bytes(16), policy=POLICY, api=platform.api, build=20)
    launch = parse(SevLaunch(measurement=measured, chain=platform.chain).serialize())
    expecting = sev.GuestOwner(tik=owner.keys.tik, pdh=owner.pdh, launch_digests=(DIGEST,))
    sev.verify(
        launch, anchors=anchors(amd), endorsements=Endorsements(), at=NOW, owner=expecting,
        challenge=Unchecked("the TIK was made for this launch"),
    )  # fmt: skip
    header, data = seal_secret(owner.keys, b"sixteen bytes ok", measured.measure, iv=bytes(16))
    assert open_secret(keys, header, data, measured.measure, guest_length=16) == b"sixteen bytes ok"


def test_the_chain_is_the_same_bytes_after_a_restart_but_for_amd_s_signatures(
    amd: AmdManufacturer, platform: SevPlatform
) -> None:
    """Owners remember the PDH certificate. RSA-PSS is salted, so CEK, ASK and ARK are signed anew."""
    again = SevPlatform.of(AmdManufacturer(Keystore(amd.keystore.directory)), amd.chip_id())
    assert (again.chain.pdh, again.chain.pek, again.chain.oca) == (
        platform.chain.pdh, platform.chain.pek, platform.chain.oca,
    )  # fmt: skip
    assert again.chain.cek.pubkey == platform.chain.cek.pubkey
    assert parse_chain(again.chain.serialize()) == again.chain


def test_pdh_gen_keeps_the_pek_and_pek_gen_does_not(platform: SevPlatform) -> None:
    after = platform.with_new_pdh()
    assert (after.chain.pek, after.chain.oca, after.chain.cek) == (
        platform.chain.pek, platform.chain.oca, platform.chain.cek,
    )  # fmt: skip
    assert after.chain.pdh.pubkey != platform.chain.pdh.pubkey
    fresh = platform.with_new_pek()
    assert fresh.chain.pek.pubkey != platform.chain.pek.pubkey
    assert fresh.chain.cek == platform.chain.cek
    owner = p384()
    owned = platform.owned_by(owner)
    assert Usage.OCA not in owned.keys
    assert owned.chain.pek.pubkey == platform.chain.pek.pubkey
    key = owned.chain.oca.key
    assert isinstance(key, EcKey)
    assert key.point in spki(owner)


@pytest.mark.parametrize(("nonce", "digest"), [(15, 32), (17, 32), (16, 31), (16, 48)])
def test_a_report_of_odd_sizes_is_not_made(platform: SevPlatform, nonce: int, digest: int) -> None:
    with pytest.raises(UsageError, match="16 bytes and a launch digest of 32"):
        platform.attest(bytes(nonce), bytes(digest), POLICY)


def test_a_p256_key_is_no_session_key() -> None:
    numbers = p256().public_key().public_numbers()
    qx, qy = (one.to_bytes(72, "little") for one in (numbers.x, numbers.y))
    with pytest.raises(UsageError, match="no P-384 key"):
        shared_secret(p384(), EcKey(curve=1, qx=qx, qy=qy))
