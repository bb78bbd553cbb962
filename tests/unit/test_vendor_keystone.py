"""The emulated Keystone device: boot chain, reports, sealing keys, and upstream's bug with what it costs."""

import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest
from tests.forge.x509 import NOW

import cloister
from cloister import _ed25519_sha3
from cloister._ed25519_sha3 import public_key_of, spki_of_ed25519
from cloister.emulate.vendors.keystone import (
    MONITOR_SIZE,
    BootedMonitor,
    KeystoneManufacturer,
    enclave_report,
    private_key_of,
)
from cloister.emulate.vendors.keystore import Keystore
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import ChainInvalid, SignatureInvalid, UsageError, VerificationError
from cloister.evidence import keystone
from cloister.model import Tee
from cloister.verifier.trust_files import read_anchors

NONCE = b"a nonce of the relying party"
ENCLAVE = hashlib.sha3_512(b"an enclave").digest()
OTHER_ENCLAVE = hashlib.sha3_512(b"another enclave").digest()
IMAGE = b"a security monitor"


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> KeystoneManufacturer:
    return KeystoneManufacturer(Keystore(tmp_path_factory.mktemp("keys") / "emulated"))


@pytest.fixture(scope="module")
def monitor(device: KeystoneManufacturer) -> BootedMonitor:
    return device.boot(IMAGE)


def verify(report: bytes, device: KeystoneManufacturer, **changes: Any) -> cloister.Verdict:
    spki = spki_of_ed25519(device.device_key)
    settings: dict[str, Any] = {
        "nonce": NONCE, "at": NOW, "anchors": TrustAnchors.testing(spki, tees=[Tee.KEYSTONE]),
        "endorsements": Endorsements(keys=(spki,)),
    }  # fmt: skip
    return cloister.verify(report, **settings | changes)


def test_a_report_verifies_and_names_enclave_and_monitor(device: KeystoneManufacturer, monitor: BootedMonitor) -> None:
    report = monitor.report(ENCLAVE, NONCE)
    parsed = keystone.parse(report)
    assert parsed.enclave.hash == ENCLAVE
    assert parsed.monitor.hash == hashlib.sha3_512(IMAGE.ljust(0x1FF000, b"\0")).digest()
    assert verify(report, device).tee is Tee.KEYSTONE


def test_the_hardware_anchors_refuse_it(device: KeystoneManufacturer, monitor: BootedMonitor) -> None:
    with pytest.raises(ChainInvalid, match="not a trust anchor"):
        verify(monitor.report(ENCLAVE, NONCE), device, anchors=TrustAnchors.hardware())


SIGNED = [0, 63, 64, 72, 72 + len(NONCE) - 1, 1096, 1159, 1160, 1223, 1224, 1255, 1256, 1319]
"""First and last byte of hash, data and signature of the enclave, of hash, key and signature of the monitor."""


@pytest.mark.parametrize("at", SIGNED)
def test_a_report_with_one_bit_changed_is_refused(
    device: KeystoneManufacturer, monitor: BootedMonitor, at: int
) -> None:
    report = bytearray(monitor.report(ENCLAVE, NONCE))
    report[at] ^= 1
    with pytest.raises(VerificationError):
        verify(bytes(report), device)


def test_a_report_of_another_device_is_refused(device: KeystoneManufacturer, tmp_path: Path) -> None:
    other = KeystoneManufacturer(Keystore(tmp_path / "other"))
    assert other.device_key != device.device_key
    with pytest.raises(VerificationError):
        verify(other.boot(IMAGE).report(ENCLAVE, NONCE), device)


def test_a_report_whose_monitor_signs_with_another_key_is_refused(
    device: KeystoneManufacturer, monitor: BootedMonitor
) -> None:
    report = keystone.parse(monitor.report(ENCLAVE, NONCE))
    forged = enclave_report(ENCLAVE, NONCE, lambda message: _ed25519_sha3.sign(bytes(32), message))
    with pytest.raises(SignatureInvalid):
        verify(
            keystone.KeystoneReport(
                enclave=forged, monitor=report.monitor, device_key=report.device_key
            ).serialize(), device,
        )  # fmt: skip


def test_a_changed_monitor_has_another_hash_another_key_and_a_report_that_says_so(
    device: KeystoneManufacturer, monitor: BootedMonitor
) -> None:
    changed = device.boot(IMAGE + b"\1")
    before, after = monitor.report_of_monitor, changed.report_of_monitor
    assert before.hash != after.hash
    assert before.public_key != after.public_key
    assert (
        verify(changed.report(ENCLAVE, NONCE), device).claims != verify(monitor.report(ENCLAVE, NONCE), device).claims
    )


def test_the_device_is_the_same_in_the_next_run(device: KeystoneManufacturer, monitor: BootedMonitor) -> None:
    again = KeystoneManufacturer(Keystore(device.keystore.directory))
    assert again.device_key == device.device_key
    assert again.boot(IMAGE) == monitor


def test_the_published_key_is_an_anchor(device: KeystoneManufacturer, monitor: BootedMonitor) -> None:
    anchors, endorsements = read_anchors(device.publish(), kind=AnchorKind.TESTING, tees=[Tee.KEYSTONE])
    verdict = verify(monitor.report(ENCLAVE, NONCE), device, anchors=anchors, endorsements=endorsements)
    assert verdict.appraisals[0].anchor_kind == AnchorKind.TESTING


@pytest.mark.parametrize("size", [0, 1, 1024])
def test_data_of_every_length_is_signed_as_long_as_it_is(
    device: KeystoneManufacturer, monitor: BootedMonitor, size: int
) -> None:
    data = bytes([7]) * size
    parsed = keystone.parse(monitor.report(ENCLAVE, data))
    assert parsed.enclave.signed_data == data
    assert device.device_key == parsed.device_key
    _ed25519_sha3.verify(parsed.monitor.public_key, parsed.enclave.signature, parsed.enclave.signed, what="the report")


def test_more_data_than_a_report_holds_is_refused(monitor: BootedMonitor) -> None:
    with pytest.raises(ValueError, match="1025 bytes of data; a report holds 1024"):
        monitor.report(ENCLAVE, bytes(1025))


def test_a_monitor_that_would_run_in_part_unmeasured_is_refused(device: KeystoneManufacturer) -> None:
    with pytest.raises(UsageError, match="the boot ROM measures 2,093,056"):
        device.boot(bytes(MONITOR_SIZE + 1))


# ---------------------------------------------------------------- sealing


def test_sealing_keys_are_signed_and_belong_to_monitor_enclave_and_name(
    device: KeystoneManufacturer, monitor: BootedMonitor
) -> None:
    made = monitor.sealing_key(ENCLAVE, b"one")
    key, signature = made[:128], made[128:]
    _ed25519_sha3.verify(monitor.report_of_monitor.public_key, signature, key, what="the sealing key")
    assert monitor.sealing_key(ENCLAVE, b"one") == made
    others = {
        monitor.sealing_key(ENCLAVE, b"two")[:128], monitor.sealing_key(OTHER_ENCLAVE, b"one")[:128],
        device.boot(IMAGE + b"\1").sealing_key(ENCLAVE, b"one")[:128], key,
    }  # fmt: skip
    assert len(others) == 4


def test_sealing_keys_are_hkdf_of_rfc_5869(monitor: BootedMonitor) -> None:
    """Written out with the hash alone: HMAC by its definition (RFC 2104), blocks of 72 bytes."""

    def by_hand(key: bytes, message: bytes) -> bytes:
        padded = key.ljust(72, b"\0")
        inner, outer = (bytes(byte ^ mask for byte in padded) for mask in (0x36, 0x5C))
        return hashlib.sha3_512(outer + hashlib.sha3_512(inner + message).digest()).digest()

    assert by_hand(b"key", b"message") == hmac.digest(b"key", b"message", "sha3_512")
    secret, info = private_key_of(monitor.seed), ENCLAVE + b"one"
    extracted = by_hand(bytes(64), secret)
    first = by_hand(extracted, info + b"\1")
    assert monitor.sealing_key(ENCLAVE, b"one")[:128] == first + by_hand(extracted, first + info + b"\2")


# ---------------------------------------------------------------- upstream's bug


def test_the_key_of_a_seed_is_what_signs(monitor: BootedMonitor) -> None:
    assert public_key_of(monitor.seed) == monitor.report_of_monitor.public_key
    key = private_key_of(monitor.seed)
    assert (len(key), key[0] & 7, key[31] & 0xC0) == (64, 0, 0x40)


def guessed_seed(report: bytes) -> bytes | None:
    """What anybody can do with a report of upstream's boot ROM: try the 32 first bytes that a clamped key can have."""
    monitor = keystone.parse(report).monitor
    for first in range(0, 256, 8):
        seed = hashlib.sha3_512(bytes([first]) + monitor.hash[:1]).digest()[:32]
        if public_key_of(seed) == monitor.public_key:
            return seed
    return None


def test_with_upstreams_lengths_anybody_who_has_a_report_makes_others(device: KeystoneManufacturer) -> None:
    weak = KeystoneManufacturer(device.keystore, upstream_lengths=True)
    honest = weak.boot(IMAGE).report(ENCLAVE, NONCE)
    seed = guessed_seed(honest)
    assert seed is not None
    parsed = keystone.parse(honest)
    forged = keystone.KeystoneReport(
        enclave=enclave_report(OTHER_ENCLAVE, NONCE, lambda message: _ed25519_sha3.sign(seed, message)),
        monitor=parsed.monitor, device_key=parsed.device_key,
    ).serialize()  # fmt: skip
    assert OTHER_ENCLAVE.hex() in str(verify(forged, device).claims)


def test_without_them_nobody_guesses_the_key(monitor: BootedMonitor) -> None:
    assert guessed_seed(monitor.report(ENCLAVE, NONCE)) is None


def test_with_upstreams_lengths_the_devices_key_stays_in_memory(
    device: KeystoneManufacturer, monitor: BootedMonitor
) -> None:
    assert monitor.left_behind == bytes(64)
    left = KeystoneManufacturer(device.keystore, upstream_lengths=True).boot(IMAGE).left_behind
    assert left[:1] == b"\0"
    assert left[1:] == private_key_of(device.keystore.secret("keystone-device"))[1:]


def test_secrets_are_not_shown(monitor: BootedMonitor) -> None:
    assert "seed" not in repr(monitor)
    assert "left_behind" not in repr(monitor)
