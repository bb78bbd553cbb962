"""Attacks on the emulated SGX machine: each fails or succeeds as the literature says."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.machines.build import assembled
from tests.machines.sgx_machines import Scenes

from cloister.emulate.attacks.battery import ATTACKS
from cloister.emulate.attacks.literature import LITERATURE
from cloister.emulate.attacks.outcome import Outcome
from cloister.emulate.attacks.scene import SECRET, Act, Scene
from cloister.emulate.host import Cause, HostView
from cloister.emulate.machine import Ending
from cloister.emulate.paging import IntegrityFault, Refused
from cloister.emulate.sgx.enter import Registers, unpack_registers
from cloister.emulate.sgx.machine import SgxMachine
from cloister.emulate.sgx.structures import GprArea
from cloister.emulate.vendors.keystore import Keystore
from cloister.measure.image import PAGE, read_image
from cloister.model import Digest

MACHINES = {"sgx": "mee", "sgx-scalable": "scalable"}
BALANCE, QUIT, KEEP = Act(b"b\n"), Act(b"q\n"), Act(b"s" + SECRET + b"\n")


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    return Keystore(tmp_path_factory.mktemp("keys") / "store")


@pytest.fixture
def stage(keystore: Keystore) -> Iterator[Scenes]:
    made = Scenes(keystore)
    yield made
    made.close()


# ---------------------------------------------------------------- the battery


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("machine", MACHINES)
def test_each_attack_ends_as_published(stage: Scenes, machine: str, name: str) -> None:
    finding = ATTACKS[name].run(stage.scene(integrity=MACHINES[machine]))
    expected = LITERATURE[name][machine]
    assert finding.outcome is expected.outcome, f"{finding.observed}; {expected.source}"


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("bit-flip", Outcome.DETECTED),
        ("relocation", Outcome.DETECTED),
        ("replay", Outcome.SUCCEEDED),
        ("bus-equality", Outcome.SUCCEEDED),
    ],
)
def test_a_mac_without_a_tree_notices_changes_and_no_replay(stage: Scenes, name: str, outcome: Outcome) -> None:
    """Sapphire Rapids and later: 28 bits of MAC for a line, no counters (Gramine, Introduction to SGX)."""
    assert ATTACKS[name].run(stage.scene(integrity="scalable-mac")).outcome is outcome


def test_a_debug_enclave_keeps_no_secret_from_its_host(stage: Scenes) -> None:
    assert ATTACKS["debug-read"].run(stage.scene(debug=True)).outcome is Outcome.SUCCEEDED


def test_the_page_names_tests_that_exist() -> None:
    page = (Path(__file__).parents[2] / "docs/tees/sgx.md").read_text()
    sources = "".join(path.read_text() for path in Path(__file__).parents[1].rglob("test_emulate_sgx*.py"))
    named = {name for name in re.findall(r"`(test_\w+)`", page) if not name.startswith("test_emulate")}
    assert len(named) > 15
    assert not [name for name in named if f"def {name}(" not in sources]


# ---------------------------------------------------------------- saved registers


def tampering(machine: SgxMachine, change: Callable[[memoryview], None]) -> None:
    """At the next interrupt, DRAM of the SSA frame's page is changed."""

    def act(view: HostView) -> None:
        if view.cause is Cause.INTERRUPT:
            machine.host.on_exit = lambda _: None
            page = machine.driver.pages[machine.layout.ssa >> 12]
            machine.settle()
            change(machine.dram.page(page))
            machine.dram_changed(page)

    machine.host.on_exit = act


def scramble_program_counter(frame: memoryview) -> None:
    frame[PAGE - GprArea.SIZE + GprArea.OFFSETS["rip"]] ^= 1


def test_saved_registers_are_protected_as_memory_is(stage: Scenes) -> None:
    """With the tree the change is noticed; with XTS alone, the program goes on with garbage in its registers."""
    scene, machine = stage.launched(integrity="mee")
    tampering(machine, scramble_program_counter)
    played = scene.play([KEEP, Act(b"r\n"), QUIT], steps=500)
    assert "drop-and-lock" in played.ending.stopped
    scene, machine = stage.launched(integrity="scalable")
    tampering(machine, scramble_program_counter)
    played = scene.play([KEEP, Act(b"r\n"), QUIT], steps=500)
    assert played.ending.status != 0
    assert "integrity" not in played.ending.stopped


@pytest.mark.parametrize(("integrity", "works"), [("scalable", True), ("mee", False)])
def test_old_registers_are_put_back_on_the_bus(stage: Scenes, integrity: str, works: bool) -> None:  # noqa: FBT001
    """Replay of the SSA frame's ciphertext: XTS lets a program run from an earlier place again, the tree does not."""
    scene, machine = stage.launched(integrity=integrity)
    page = machine.driver.pages[machine.layout.ssa >> 12]
    frames: list[tuple[Registers, bytes]] = []
    resumed: list[Registers] = []

    def act(view: HostView) -> None:
        if view.cause is Cause.INTERRUPT and len(frames) < 5:
            saved = unpack_registers(machine.cpu.memory.epc(page, write=False))
            machine.settle()
            frames.append((saved, bytes(machine.dram.page(page))))
            if len(frames) == 5:
                machine.dram.page(page)[:] = frames[3][1]
                machine.dram_changed(page)
                resumed.append(unpack_registers(machine.cpu.memory.epc(page, write=False)))

    machine.host.on_exit = act
    played = scene.play([KEEP, Act(b"r\n"), QUIT], steps=203)
    assert len(frames) == 5
    assert frames[3][0] != frames[4][0]
    assert resumed == ([frames[3][0]] if works else [])
    assert ("drop-and-lock" in played.ending.stopped) is not works


def test_registers_at_every_exit_are_synthetic_or_cleared(stage: Scenes) -> None:
    """At interrupts, page faults and system calls alike, the host sees nothing of the program."""
    scene, machine = stage.launched()
    key = int.from_bytes(SECRET[:8], "little")
    scene.play([KEEP, Act(b"r\n"), QUIT], steps=300)
    views = list(machine.host.seen)
    assert {view.cause for view in views} >= {Cause.INTERRUPT, Cause.SYSTEM_CALL}
    known = {0, 3, 4, machine.layout.tcs, 0x202}
    for view in views:
        assert key not in view.registers.values()
        low = {value for value in view.registers.values() if value < 1 << 47}
        assert {value for value in low if value not in known} <= {view.registers["rflags"]}


def test_a_careless_program_shows_its_registers_at_eexit(stage: Scenes, tmp_path: Path) -> None:
    """The processor clears nothing at EEXIT: software must."""
    text = ".globl _start\n_start: mov $0x5ec2e7, %r12\nmov $4, %eax\nmov $0x800000005000, %rbx\n.byte 0x0f,0x01,0xd7\n"
    scene = stage.scene()
    machine = stage.machines[-1]
    machine.launch(read_image(assembled(tmp_path, text)))
    machine.start(["careless"], {})
    ending = machine.run()
    assert "EEXIT to 0x800000005000" in ending.stopped
    assert machine.host.seen[-1].registers["r12"] == 0x5EC2E7
    assert scene.machine is machine


# ---------------------------------------------------------------- page tables


def test_no_remapping_works(stage: Scenes) -> None:
    """To a page of another address, to ordinary memory, to the SECS, to a free page: the EPCM has each."""
    for target, word in (
        (lambda scene, _: scene.page("riches"), "belongs at"),
        (lambda _, machine: machine.pages.allocate(), "not in the EPC"),
        (lambda _, machine: machine.driver.enclave.secs, "SECS page"),
        (lambda _, machine: machine.cpu.epcm.first + machine.cpu.epcm.count - 1, "is free"),
    ):
        scene, machine = stage.launched()

        def act(scene: Scene = scene, machine: SgxMachine = machine, target: Any = target) -> None:
            machine.remap(scene.address("balance"), target(scene, machine))

        played = scene.play([Act(b"b\n", act), QUIT])
        assert played.ending.status == 139
        assert played.ending.stopped.startswith("tee: ")
        assert word in played.ending.stopped


def test_a_fault_tells_the_page_and_no_more(stage: Scenes) -> None:
    """CR2's low 12 bits are cleared: the controlled channel sees pages."""
    scene, machine = stage.launched()
    seen: list[HostView] = []
    machine.host.on_exit = seen.append
    scene.play([Act(b"b\n", lambda: machine.withhold(scene.address("balance"))), QUIT])
    faults = [view for view in seen if view.cause is Cause.PAGE_FAULT]
    assert scene.address("balance") & ~(PAGE - 1) in {view.address for view in faults}
    assert all(view.address is not None and view.address % PAGE == 0 for view in faults)
    assert all(view.registers["rax"] == 3 for view in faults)


def test_a_host_that_gives_no_page_only_stops_the_program(stage: Scenes) -> None:
    scene, machine = stage.launched()
    machine.host.on_fault = lambda _: False
    played = scene.play([Act(b"b\n", lambda: machine.withhold(scene.address("balance"))), QUIT])
    assert played.ending.status == 139
    assert "host: " in played.ending.stopped


def test_a_host_that_takes_the_tcs_away_cannot_enter(stage: Scenes) -> None:
    scene, machine = stage.launched()
    played = scene.play([Act(b"b\n", lambda: machine.withhold(machine.layout.tcs)), QUIT])
    assert played.ending.status == 137
    assert "host: EENTER: #PF" in played.ending.stopped
    assert machine.cpu.thread is None


def test_the_shims_own_page_may_be_traced_and_comes_back(stage: Scenes) -> None:
    """An exit within an exit: the shim wants its page at a system call, and the host took it away."""
    scene, machine = stage.launched()
    thread = machine.layout.thread
    played = scene.play([Act(b"b\n", lambda: machine.withhold(thread)), QUIT])
    assert played.ending == Ending(0, "")
    assert thread in {view.address for view in machine.host.seen}


def test_single_stepping_counts_instructions(stage: Scenes) -> None:
    """SGX-Step: a timer after every instruction. AEX-Notify, which would hinder it, is not modelled."""
    scene, machine = stage.launched()
    count = [0]

    def act(view: HostView) -> None:
        count[0] += view.cause is Cause.INTERRUPT

    machine.host.on_exit = act
    played = scene.play([QUIT], steps=1)
    assert played.ending.status == 0
    assert count[0] > 50


# ---------------------------------------------------------------- ports


def test_the_locked_machine_stays_locked(stage: Scenes) -> None:
    scene, machine = stage.launched()
    ATTACKS["bit-flip"].run(stage.scene())
    locked = stage.machines[-1]
    with pytest.raises((IntegrityFault, Refused)):
        locked.controller.load(locked.driver.enclave.secs, 1, memoryview(bytearray(PAGE)))
    assert scene.play([QUIT]).ending.status == 0  # another machine is another machine
    assert machine.measurement == Digest("sha256", machine.secs.mrenclave)


def test_ports_refuse_what_is_not_there(stage: Scenes) -> None:
    _, machine = stage.launched()
    beyond = stage.shape.memory
    for act in (machine.host_read, machine.device_read):
        with pytest.raises(Refused, match="no memory"):
            act(beyond)
    for write in (machine.host_write, machine.device_write):
        with pytest.raises(Refused, match="no memory"):
            write(beyond, bytes(PAGE))
    for act_on in (machine.withhold, machine.give_back):
        with pytest.raises(Refused, match="no page at"):
            act_on(0x6666_0000)
    with pytest.raises(Refused, match="no page at"):
        machine.remap(0x6666_0000, 1)
    with pytest.raises(Refused, match="no page at"):
        machine.debug_read(0x6666_0000)
    with pytest.raises(KeyError):
        machine.physical_page(0x6666_0000)


def test_ordinary_memory_is_the_hosts_and_the_devices(stage: Scenes) -> None:
    """Bounce buffer and pages that were written out are where everybody reaches them."""
    _, machine = stage.launched()
    page = machine.pages.allocate()
    machine.host_write(page, b"h" * PAGE)
    assert machine.device_read(page) == b"h" * PAGE
    machine.device_write(page, b"d" * PAGE)
    assert machine.host_read(page) == b"d" * PAGE
