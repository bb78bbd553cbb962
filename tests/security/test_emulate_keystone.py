"""Attacks on the emulated Keystone machine: each with the outcome that the literature has for it."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from nacl import bindings

import cloister
from cloister._ed25519_sha3 import ORDER, spki_of_ed25519
from cloister.emulate.attacks.battery import ATTACKS, SMALL, attack
from cloister.emulate.attacks.literature import LITERATURE
from cloister.emulate.attacks.outcome import Outcome
from cloister.emulate.attacks.scene import SECRET, Act, Played, Scene
from cloister.emulate.attacks.victims import victim
from cloister.emulate.catalogue import Kind, kind_of
from cloister.emulate.host import Cause, HostView
from cloister.emulate.keystone.boot import CONTEXTS, HEADER, BootHeader
from cloister.emulate.keystone.bus import page_of
from cloister.emulate.keystone.machine import DEFAULT_MONITOR, KeystoneMachine
from cloister.emulate.keystone.monitor import PC, SecurityMonitor
from cloister.emulate.keystone.regions import Region
from cloister.emulate.keystone.sbi import Code, Function, SbiError
from cloister.emulate.keystone.sv39 import entry_for
from cloister.emulate.machine import Machine, Shape
from cloister.emulate.paging import Refused
from cloister.emulate.terminal import Terminal
from cloister.emulate.vendors.keystone import enclave_report, monitor_report
from cloister.emulate.vendors.keystore import Keystore
from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.evidence import keystone
from cloister.evidence.keystone import KeystoneReport
from cloister.measure.guest import GuestLayout
from cloister.measure.image import PAGE, Architecture, Permission
from cloister.measure.keystone import guest_digest
from cloister.model import Tee

NOW = datetime(2026, 5, 1, tzinfo=UTC)
NONCE = b"a nonce of the relying party"
BOTH = Permission.READ | Permission.WRITE
KEEP, SHOW, END = Act(b"s" + SECRET + b"\n"), Act(b"b\n"), Act(b"q\n")
COMPUTE = Act(b"r\n")

pytestmark = pytest.mark.needs_program("riscv64-linux-gnu-gcc")


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    return Keystore(tmp_path_factory.mktemp("keys") / "store")


class Stage(Scene):
    """A scene on a Keystone machine."""

    def __init__(self, make: Callable[[Terminal], KeystoneMachine]) -> None:
        super().__init__(make, lambda machine: victim(machine.architecture))

    @property
    def board(self) -> KeystoneMachine:
        assert isinstance(self.machine, KeystoneMachine)
        return self.machine

    def shown(self, *acts: Act, steps: int = 0) -> Played:
        self.launch()
        return self.play([*acts, END], steps=steps)


@pytest.fixture
def stage(keystore: Keystore) -> Iterator[Callable[..., Stage]]:
    made: list[Stage] = []

    def of(kind: type[KeystoneMachine] = KeystoneMachine, shape: Shape = SMALL, **settings: object) -> Stage:
        made.append(Stage(lambda terminal: kind(shape, terminal, keystore, **settings)))  # type: ignore[arg-type]
        return made[-1]

    yield of
    for one in made:
        one.close()


# ---- the project's whole battery


def test_every_attack_ends_as_the_literature_says(keystore: Keystore) -> None:
    findings = {one.name: attack(kind_of("keystone"), one, keystore) for one in ATTACKS.values()}
    expected = {one: LITERATURE[one]["keystone"].outcome for one in ATTACKS}
    assert {one: finding.outcome for one, finding in findings.items()} == expected, findings


def test_an_iopmp_stops_devices_and_nothing_else(keystore: Keystore) -> None:
    def make(shape: Shape, terminal: Terminal, keystore: Keystore, *, debug: bool = False) -> Machine:
        assert not debug
        return KeystoneMachine(shape, terminal, keystore, iopmp=True)

    kind = Kind("keystone", "", Architecture.RISCV64, make)
    for one in ATTACKS.values():
        wanted = Outcome.STOPPED if one.adversary == "device" else LITERATURE[one.name]["keystone"].outcome
        finding = attack(kind, one, keystore)
        assert finding.outcome is wanted, (one.name, finding)


# ---- the operating system: PMP


def test_the_operating_system_reaches_neither_enclave_nor_monitor(stage: Callable[..., Stage]) -> None:
    one = stage()
    refused: list[str] = []

    def try_everything() -> None:
        machine = one.board
        pages = [
            0,
            page_of(CONTEXTS),
            page_of(HEADER),
            machine.driver.first,
            machine.driver.end - 1,
            one.page("secret"),
        ]
        for page in [*pages, machine.runtime.tables.root]:
            for access in (lambda: machine.host_read(page), lambda: machine.host_write(page, bytes(PAGE))):  # noqa: B023
                with pytest.raises(Refused) as caught:
                    access()
                refused.append(str(caught.value))

    assert one.shown(KEEP, Act(b"b\n", try_everything)).lines[-1] == "1000"
    assert len(refused) == 14
    assert all("access fault" in words and "PMP entry" in words for words in refused)


def test_the_rest_of_memory_is_the_operating_systems(stage: Callable[..., Stage]) -> None:
    one = stage()

    def use() -> None:
        machine = one.board
        for page in (machine.pages.first, machine.driver.first - 1):
            machine.host_write(page, b"host".ljust(PAGE, b"\0"))
            assert machine.host_read(page)[:4] == b"host"

    assert one.shown(Act(b"b\n", use)).lines[-1] == "1000"


def test_what_the_host_changes_before_the_enclave_is_closed_is_measured(stage: Callable[..., Stage]) -> None:
    """Between loading and CREATE memory is the host's; there is no gap between closing and hashing."""
    one = stage()
    machine = one.board
    layout = GuestLayout.of(one.victim.image)
    machine.driver.load(layout)
    page = bytearray(machine.host_read(machine.driver.first + 3))
    page[100] ^= 1
    machine.host_write(machine.driver.first + 3, bytes(page))
    machine.driver.create(layout)
    assert machine.measurement != guest_digest(layout)
    with pytest.raises(Refused):
        machine.host_write(machine.driver.first + 3, bytes(page))


def test_the_host_gets_no_report_and_no_key_for_an_enclave(stage: Callable[..., Stage]) -> None:
    one = stage()

    def ask() -> None:
        monitor, place = one.board.monitor, one.board.pages.first * PAGE
        for function in (Function.ATTEST, Function.GET_SEALING_KEY):
            with pytest.raises(SbiError) as caught:
                monitor.ecall(function, place, place, 8)
            assert caught.value.code is Code.SBI_PROHIBITED

    assert one.shown(Act(b"b\n", ask)).lines[-1] == "1000"


def test_memory_that_the_host_does_not_give_is_not_measured(stage: Callable[..., Stage]) -> None:
    """The sizes of free memory and of the shared buffer are the host's choice: the hash says nothing of them."""
    small, large = stage(shape=SMALL), stage(shape=replace(SMALL, memory=16384))
    for one in (small, large):
        one.launch()
    assert small.machine.measurement == large.machine.measurement
    assert small.machine.free_memory() < large.machine.free_memory()


def test_an_interrupted_enclaves_registers_are_in_the_monitors_memory_only(stage: Callable[..., Stage]) -> None:
    one, key = stage(), SECRET[:8]
    found: list[bool] = []

    def look(view: HostView) -> None:
        if view.cause is Cause.INTERRUPT:
            found.append(key in one.board.bus.read(CONTEXTS, 512))
            assert int.from_bytes(key, "little") not in view.registers.values()
            assert set(view.registers.values()) <= {0, Code.INTERRUPTED}
            with pytest.raises(Refused):
                one.board.host_read(page_of(CONTEXTS))

    one.machine.host.on_exit = look
    one.shown(KEEP, COMPUTE, steps=500)
    assert any(found)


# ---- devices, without an IOPMP


def test_a_device_remaps_the_program_through_its_page_table(stage: Callable[..., Stage]) -> None:
    """The tables are in the enclave, which keeps the host out; and in DRAM, which a device writes."""
    one = stage()

    def rewrite() -> None:
        machine = one.board
        place = machine.page_table_entry(one.address("balance"))
        page = bytearray(machine.device_read(page_of(place)))
        page[place % PAGE : place % PAGE + 8] = entry_for(one.page("riches"), BOTH).to_bytes(8, "little")
        machine.device_write(page_of(place), bytes(page))

    assert one.shown(Act(b"b\n", rewrite)).lines[-1] == "1000000"


def test_a_mapping_out_of_the_enclave_is_stopped_by_pmp(stage: Callable[..., Stage]) -> None:
    """A device leads the program to a page of the host's: the enclave's hart may not go there."""
    one = stage()

    def rewrite() -> None:
        machine = one.board
        place = machine.page_table_entry(one.address("balance"))
        page = bytearray(machine.device_read(page_of(place)))
        page[place % PAGE : place % PAGE + 8] = entry_for(machine.driver.first - 1, BOTH).to_bytes(8, "little")
        machine.device_write(page_of(place), bytes(page))

    played = one.shown(Act(b"b\n", rewrite))
    assert played.stopped
    assert "no PMP entry matches" in played.ending.stopped


def test_a_device_reads_and_changes_saved_registers(stage: Callable[..., Stage]) -> None:
    one, key = stage(), SECRET[:8]
    seen: list[bool] = []

    def act(view: HostView) -> None:
        page = bytearray(one.board.device_read(page_of(CONTEXTS)))
        if view.cause is Cause.INTERRUPT and key in page:
            seen.append(True)
            place = CONTEXTS % PAGE + 8 * PC
            page[place : place + 8] = (8).to_bytes(8, "little")
            one.board.device_write(page_of(CONTEXTS), bytes(page))

    one.machine.host.on_exit = act
    played = one.shown(KEEP, COMPUTE, steps=500)
    assert seen == [True]
    assert played.ending.status == 128 + 11


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


# ---- the chips


def test_cold_boot_finds_the_monitors_private_key(stage: Callable[..., Stage], tmp_path: Path) -> None:
    one = stage(shape=replace(SMALL, dram=tmp_path / "dram"))
    one.launch()
    chips = (tmp_path / "dram").read_bytes()
    found = ExpandedKey(BootHeader.parse(chips[0x1FF000 : 0x1FF000 + BootHeader.SIZE]).monitor_secret)
    assert found.public == keystone.parse(one.board.evidence(NONCE)).monitor.public_key


def test_code_changed_in_the_chips_runs_unnoticed_after_the_measurement(stage: Callable[..., Stage]) -> None:
    """The hash is of the launch: what happens to DRAM afterwards is in no report."""
    one = stage()

    def patch() -> None:
        machine, page = one.board, one.page("walk")
        machine.settle()
        machine.dram.page(page)[:] = (0x00000073).to_bytes(4, "little") * (PAGE // 4)  # ecall, over and over
        machine.dram_changed(page)

    one.launch()
    before = one.machine.measurement
    played = one.play([Act(b"c\n", patch), END])
    assert "walked" not in played.lines
    assert verify(one.board, one.board.evidence(NONCE)).enclave.hash == before.value
