"""Attacks on the emulated Keystone machine: each with the outcome that the literature has for it."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from tests.machines.keystone import Stage

from cloister.emulate.attacks.battery import ATTACKS, SMALL, attack
from cloister.emulate.attacks.literature import LITERATURE
from cloister.emulate.attacks.outcome import Outcome
from cloister.emulate.attacks.scene import SECRET, Act
from cloister.emulate.catalogue import Kind, kind_of
from cloister.emulate.host import Cause, HostView
from cloister.emulate.keystone.boot import CONTEXTS, HEADER
from cloister.emulate.keystone.bus import page_of
from cloister.emulate.keystone.machine import KeystoneMachine
from cloister.emulate.keystone.monitor import PC
from cloister.emulate.keystone.sbi import Code, Function, SbiError
from cloister.emulate.keystone.sv39 import entry_for
from cloister.emulate.machine import Machine, Shape
from cloister.emulate.paging import Refused
from cloister.emulate.terminal import Terminal
from cloister.emulate.vendors.keystore import Keystore
from cloister.evidence import keystone
from cloister.measure.guest import GuestLayout
from cloister.measure.image import PAGE, Architecture, Permission
from cloister.measure.keystone import guest_digest

BOTH = Permission.READ | Permission.WRITE
KEEP, COMPUTE = Act(b"s" + SECRET + b"\n"), Act(b"r\n")

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


# ---- the chips


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
    played = one.play([Act(b"c\n", patch), Act(b"q\n")])
    assert "walked" not in played.lines
    assert keystone.parse(one.board.evidence(b"a nonce")).enclave.hash == before.value
