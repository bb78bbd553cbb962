"""Attacks on Keystone reports: every byte altered, parts of different reports, keys of the attacker's own."""

from typing import Any

import pytest
from tests.forge.keystone import KeystoneForge
from tests.forge.x509 import NOW

from cloister._ed25519_sha3 import sign
from cloister.endorse.store import Endorsements
from cloister.errors import ChainInvalid, ParseError, SignatureInvalid, VerificationError
from cloister.evidence.keystone import EnclaveReport, KeystoneReport, MonitorReport, parse
from cloister.model import Challenge
from cloister.verification import keystone

FORGE = KeystoneForge()
ATTACKER = KeystoneForge(
    device_seed=b"the attacker's own device ......", monitor_seed=b"the attacker's own monitor ....."
)
NONCE = b"a nonce of the caller"
NOT_SIGNED = {
    "data behind data_len": range(72 + len(NONCE), 1096),
    "the device's key, which is a hint": range(1320, 1352),
}
"""Bytes that no signature covers. Nothing is claimed from the first; the second chooses which pinned key to try."""


def verify(report: KeystoneReport, **changes: Any) -> object:
    given: dict[str, Any] = {"anchors": FORGE.anchors, "endorsements": FORGE.endorsements}
    return keystone.verify(report, at=NOW, challenge=Challenge(NONCE), **given | changes)


def test_a_flipped_bit_in_any_signed_byte_is_noticed() -> None:
    data = FORGE.report(NONCE)
    signed = [position for position in range(len(data)) if not any(position in one for one in NOT_SIGNED.values())]
    assert len(signed) == 64 + 8 + len(NONCE) + 64 + 160
    for position in signed:
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        with pytest.raises((SignatureInvalid, ParseError)):
            verify(parse(bytes(flipped)))


@pytest.mark.parametrize("name", NOT_SIGNED)
def test_a_flipped_bit_in_an_unsigned_byte_changes_nothing_that_is_claimed(name: str) -> None:
    data = FORGE.report(NONCE)
    for position in NOT_SIGNED[name]:
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        report = parse(bytes(flipped))
        verify(report)
        assert report.enclave.signed == parse(data).enclave.signed
        assert report.monitor == parse(data).monitor


def joined(enclave: EnclaveReport, monitor: MonitorReport) -> KeystoneReport:
    return KeystoneReport(enclave=enclave, monitor=monitor, device_key=FORGE.device_key)


def test_parts_of_different_reports() -> None:
    genuine, forged = parse(FORGE.report(NONCE)), parse(ATTACKER.report(NONCE))
    with pytest.raises(SignatureInvalid):
        verify(joined(forged.enclave, genuine.monitor))
    with pytest.raises((SignatureInvalid, ChainInvalid)):
        verify(joined(genuine.enclave, forged.monitor))


def test_a_device_of_the_attacker_s_own() -> None:
    for named in (ATTACKER.device_key, FORGE.device_key, bytes(32)):
        report = parse(ATTACKER.report(NONCE, named_device=named))
        for given in (Endorsements(), FORGE.endorsements, ATTACKER.endorsements):
            with pytest.raises(VerificationError):
                verify(report, endorsements=given)


def test_a_monitor_s_signature_is_none_of_a_device() -> None:
    """A monitor signs hash, length and data; a data length that looks like a key must not make that a device's word."""
    monitor = parse(FORGE.report(NONCE)).monitor
    own = ATTACKER.report(NONCE)
    report = parse(own).monitor
    forged = MonitorReport(
        hash=report.hash, public_key=report.public_key, signature=sign(FORGE.monitor_seed, report.signed)
    )
    with pytest.raises(VerificationError):
        verify(joined(parse(own).enclave, forged))
    assert monitor.public_key != FORGE.device_key


def test_a_remembered_monitor_does_not_vouch_for_another_report() -> None:
    """Device signatures are remembered: a genuine one must not make a changed one pass, nor a changed one stick."""
    data = FORGE.report(NONCE)
    for _ in range(2):
        verify(parse(data))
        altered = bytearray(data)
        altered[1160] ^= 1
        with pytest.raises(SignatureInvalid):
            verify(parse(bytes(altered)))
