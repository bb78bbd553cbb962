"""Whose keys and whose code: what reports are worth when the monitor's key is stolen, or the monitor is another one."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from nacl import bindings
from tests.machines.keystone import Stage

import cloister
from cloister._ed25519_sha3 import ORDER, spki_of_ed25519
from cloister.emulate.attacks.battery import ATTACKS, SMALL
from cloister.emulate.attacks.outcome import Outcome
from cloister.emulate.attacks.scene import SECRET, Act
from cloister.emulate.keystone.boot import HEADER, BootHeader
from cloister.emulate.keystone.bus import page_of
from cloister.emulate.keystone.machine import DEFAULT_MONITOR, KeystoneMachine
from cloister.emulate.keystone.monitor import SecurityMonitor
from cloister.emulate.keystone.regions import Region
from cloister.emulate.machine import Shape
from cloister.emulate.paging import Refused
from cloister.emulate.vendors.keystone import enclave_report, monitor_report
from cloister.emulate.vendors.keystore import Keystore
from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.evidence import keystone
from cloister.evidence.keystone import KeystoneReport
from cloister.measure.image import PAGE
from cloister.model import Tee

NOW = datetime(2026, 5, 1, tzinfo=UTC)
NONCE = b"a nonce of the relying party"
KEEP = Act(b"s" + SECRET + b"\n")

pytestmark = pytest.mark.needs_program("riscv64-linux-gnu-gcc")


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    return Keystore(tmp_path_factory.mktemp("keys") / "store")


@pytest.fixture
def stage(keystore: Keystore) -> Iterator[Callable[..., Stage]]:
    made: list[Stage] = []

    def of(kind: type[KeystoneMachine] = KeystoneMachine, shape: Shape = SMALL, **settings: object) -> Stage:
        made.append(Stage(lambda terminal: kind(shape, terminal, keystore, **settings)))  # type: ignore[arg-type]
        return made[-1]

    yield of
    for one in made:
        one.close()


# ---- stolen keys


class ExpandedKey:
    """What an adversary does with a private key of 64 bytes as it stands in memory: sign."""

    def __init__(self, secret: bytes) -> None:
        self.scalar, self.prefix = int.from_bytes(secret[:32], "little") % ORDER, secret[32:]
        self.public = _multiplied(self.scalar)

    def sign(self, message: bytes) -> bytes:
        """RFC 8032, 5.1.6, with SHA3-512."""
        nonce = _hash(self.prefix + message)
        point = _multiplied(nonce)
        return point + ((nonce + _hash(point + self.public + message) * self.scalar) % ORDER).to_bytes(32, "little")


def _multiplied(scalar: int) -> bytes:
    return bindings.crypto_scalarmult_ed25519_base_noclamp(scalar.to_bytes(32, "little"))


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.sha3_512(data).digest(), "little") % ORDER


FORGED = hashlib.sha3_512(b"an enclave that never was").digest()


def verify(machine: KeystoneMachine, report: bytes) -> KeystoneReport:
    key = spki_of_ed25519(machine.device.device_key)
    verdict = cloister.verify(
        report, nonce=NONCE, at=NOW, anchors=TrustAnchors.testing(key, tees=[Tee.KEYSTONE]),
        endorsements=Endorsements(keys=(key,)),
    )  # fmt: skip
    found = verdict.authentic.parts[0].evidence
    assert isinstance(found, KeystoneReport)
    return found


def header_of(machine: KeystoneMachine) -> BootHeader:
    return BootHeader.parse(machine.device_read(page_of(HEADER))[: BootHeader.SIZE])


def test_a_device_steals_the_monitors_key_and_vouches_for_any_enclave(stage: Callable[..., Stage]) -> None:
    """Keystone's threat model asks for on-chip memory or an IOPMP; this is why."""
    one = stage()
    one.launch()
    honest = keystone.parse(one.board.evidence(NONCE))
    stolen = ExpandedKey(header_of(one.board).monitor_secret)
    assert stolen.public == honest.monitor.public_key
    report = replace_enclave(honest, stolen)
    assert verify(one.board, report).enclave.hash == FORGED


def replace_enclave(honest: KeystoneReport, key: ExpandedKey) -> bytes:
    return KeystoneReport(
        enclave=enclave_report(FORGED, NONCE, key.sign), monitor=honest.monitor, device_key=honest.device_key
    ).serialize()


def test_with_an_iopmp_it_does_not(stage: Callable[..., Stage]) -> None:
    one = stage(iopmp=True)
    one.launch()
    with pytest.raises(Refused, match="PMP entry 0 denies"):
        header_of(one.board)
    with pytest.raises(Refused, match="PMP entry"):
        one.board.device_write(one.board.driver.first, bytes(PAGE))
    assert len(one.board.device_read(one.board.pages.first)) == PAGE


def test_upstreams_boot_rom_leaves_the_devices_key_to_a_device(stage: Callable[..., Stage]) -> None:
    """One byte of 64 is wiped, and a clamped key leaves 32 values for it: then any monitor can be vouched for."""
    one = stage(upstream_lengths=True)
    left = header_of(one.board)
    assert left.device_secret[0] == 0
    keys = (ExpandedKey(bytes([first]) + left.device_secret[1:]) for first in range(0, 256, 8))
    device = next(key for key in keys if key.public == left.device_key)
    own = ExpandedKey(hashlib.sha3_512(b"the adversary's monitor").digest())
    report = KeystoneReport(
        enclave=enclave_report(FORGED, NONCE, own.sign),
        monitor=monitor_report(left.monitor_hash, own.public, device.sign),
        device_key=left.device_key,
    )
    assert verify(one.board, report.serialize()).monitor.public_key == own.public


def test_a_right_boot_rom_leaves_nothing(stage: Callable[..., Stage]) -> None:
    assert header_of(stage().board).device_secret == bytes(64)


def test_cold_boot_finds_the_monitors_private_key(stage: Callable[..., Stage], tmp_path: Path) -> None:
    one = stage(shape=replace(SMALL, dram=tmp_path / "dram"))
    one.launch()
    chips = (tmp_path / "dram").read_bytes()
    found = ExpandedKey(BootHeader.parse(chips[0x1FF000 : 0x1FF000 + BootHeader.SIZE]).monitor_secret)
    assert found.public == keystone.parse(one.board.evidence(NONCE)).monitor.public_key


# ---- another monitor


class OpenMonitor(SecurityMonitor):
    """A monitor that measures and attests as it should, and closes no memory on other harts."""

    def close_memory(self, private: Region) -> None:
        """It does not."""


class OpenMachine(KeystoneMachine):
    """A device with that monitor."""

    monitor_class = OpenMonitor


def test_a_monitor_that_protects_nothing_has_another_hash(stage: Callable[..., Stage]) -> None:
    """The host reads the secret then; only who looks at the monitor's hash in the report knows."""
    honest, other = stage(), stage(OpenMachine, security_monitor=DEFAULT_MONITOR + b"opened")
    read: list[bytes] = []
    other.shown(KEEP, Act(b"b\n", lambda: read.append(other.board.host_read(other.page("secret")))))
    assert SECRET in read[0]
    honest.launch()
    reports = [verify(one.board, one.board.evidence(NONCE)) for one in (honest, other)]
    assert reports[0].enclave.hash == reports[1].enclave.hash
    assert reports[0].monitor.hash != reports[1].monitor.hash
    assert reports[0].monitor.public_key != reports[1].monitor.public_key


@pytest.mark.parametrize("name", ["host-read", "host-write", "host-replay", "remap"])
def test_what_stops_the_host_is_pmp_and_nothing_else(stage: Callable[..., Stage], name: str) -> None:
    """Under that monitor the same attacks succeed: no port knows of attacks."""
    assert ATTACKS[name].run(stage(OpenMachine)).outcome is Outcome.SUCCEEDED


def test_pages_are_taken_away_through_an_open_page_table(stage: Callable[..., Stage]) -> None:
    """The fault goes to the runtime in the enclave and not to the host: it ends the program, and traces nothing."""
    taken, given_back = stage(OpenMachine), stage(OpenMachine)
    assert taken.shown(Act(b"b\n", lambda: taken.machine.withhold(taken.address("balance")))).ending.status == 128 + 11

    def take_and_give() -> None:
        given_back.machine.withhold(given_back.address("balance"))
        given_back.machine.give_back(given_back.address("balance"))

    assert given_back.shown(Act(b"b\n", take_and_give)).lines[-1] == "1000"
