"""Attacks on the emulated SGX machine: each fails or succeeds as the literature says."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from tests.machines.build import assembled

from cloister.emulate.attacks.battery import ATTACKS
from cloister.emulate.attacks.literature import LITERATURE
from cloister.emulate.attacks.outcome import Outcome
from cloister.emulate.attacks.scene import SECRET, Act, Scene
from cloister.emulate.attacks.victims import victim
from cloister.emulate.host import Cause, HostView
from cloister.emulate.machine import Ending, Shape
from cloister.emulate.paging import IntegrityFault, MemoryFault, Refused
from cloister.emulate.sgx.enter import Registers, unpack_registers
from cloister.emulate.sgx.keys import ereport
from cloister.emulate.sgx.machine import SgxMachine
from cloister.emulate.sgx.outcomes import EnclaveLost
from cloister.emulate.sgx.structures import GprArea, KeyPolicy
from cloister.emulate.terminal import Terminal
from cloister.emulate.vendors.keystore import Keystore
from cloister.emulate.vendors.sigstruct import sign_enclave, signing_key
from cloister.errors import LaunchError, SignatureInvalid
from cloister.measure.enclave import mrenclave
from cloister.measure.image import PAGE, Image, ImagePage, Permission, read_image
from cloister.model import Digest

SHAPE = Shape(memory=2048, frames=256)
MACHINES = {"sgx": "mee", "sgx-scalable": "scalable"}
BALANCE, QUIT, KEEP = Act(b"b\n"), Act(b"q\n"), Act(b"s" + SECRET + b"\n")


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    return Keystore(tmp_path_factory.mktemp("keys") / "store")


@dataclass
class Stage:
    """Scenes with SGX machines, closed at the end."""

    keystore: Keystore
    scenes: list[Scene] = field(default_factory=list)
    machines: list[SgxMachine] = field(default_factory=list)

    def scene(self, **options: Any) -> Scene:
        def make(terminal: Terminal) -> SgxMachine:
            self.machines.append(SgxMachine(SHAPE, terminal, self.keystore, **options))
            return self.machines[-1]

        self.scenes.append(Scene(make, lambda machine: victim(machine.architecture)))
        return self.scenes[-1]

    def launched(self, **options: Any) -> tuple[Scene, SgxMachine]:
        scene = self.scene(**options)
        scene.launch()
        return scene, self.machines[-1]


@pytest.fixture
def stage(keystore: Keystore) -> Iterator[Stage]:
    made = Stage(keystore)
    yield made
    for scene in made.scenes:
        scene.close()


# ---------------------------------------------------------------- the battery


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("machine", MACHINES)
def test_each_attack_ends_as_published(stage: Stage, machine: str, name: str) -> None:
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
def test_a_mac_without_a_tree_notices_changes_and_no_replay(stage: Stage, name: str, outcome: Outcome) -> None:
    """Sapphire Rapids and later: 28 bits of MAC for a line, no counters (Gramine, Introduction to SGX)."""
    assert ATTACKS[name].run(stage.scene(integrity="scalable-mac")).outcome is outcome


def test_a_debug_enclave_keeps_no_secret_from_its_host(stage: Stage) -> None:
    assert ATTACKS["debug-read"].run(stage.scene(debug=True)).outcome is Outcome.SUCCEEDED


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


def test_saved_registers_are_protected_as_memory_is(stage: Stage) -> None:
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
def test_old_registers_are_put_back_on_the_bus(stage: Stage, integrity: str, works: bool) -> None:  # noqa: FBT001
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


def test_registers_at_every_exit_are_synthetic_or_cleared(stage: Stage) -> None:
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


def test_a_careless_program_shows_its_registers_at_eexit(stage: Stage, tmp_path: Path) -> None:
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


def test_no_remapping_works(stage: Stage) -> None:
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


def test_a_fault_tells_the_page_and_no_more(stage: Stage) -> None:
    """CR2's low 12 bits are cleared: the controlled channel sees pages."""
    scene, machine = stage.launched()
    seen: list[HostView] = []
    machine.host.on_exit = seen.append
    scene.play([Act(b"b\n", lambda: machine.withhold(scene.address("balance"))), QUIT])
    faults = [view for view in seen if view.cause is Cause.PAGE_FAULT]
    assert scene.address("balance") & ~(PAGE - 1) in {view.address for view in faults}
    assert all(view.address is not None and view.address % PAGE == 0 for view in faults)
    assert all(view.registers["rax"] == 3 for view in faults)


def test_a_host_that_gives_no_page_only_stops_the_program(stage: Stage) -> None:
    scene, machine = stage.launched()
    machine.host.on_fault = lambda _: False
    played = scene.play([Act(b"b\n", lambda: machine.withhold(scene.address("balance"))), QUIT])
    assert played.ending.status == 139
    assert "host: " in played.ending.stopped


def test_a_host_that_takes_the_tcs_away_cannot_enter(stage: Stage) -> None:
    scene, machine = stage.launched()
    played = scene.play([Act(b"b\n", lambda: machine.withhold(machine.layout.tcs)), QUIT])
    assert played.ending.status == 137
    assert "host: EENTER: #PF" in played.ending.stopped
    assert machine.cpu.thread is None


def test_single_stepping_counts_instructions(stage: Stage) -> None:
    """SGX-Step: a timer after every instruction. AEX-Notify, which would hinder it, is not modelled."""
    scene, machine = stage.launched()
    count = [0]

    def act(view: HostView) -> None:
        count[0] += view.cause is Cause.INTERRUPT

    machine.host.on_exit = act
    played = scene.play([QUIT], steps=1)
    assert played.ending.status == 0
    assert count[0] > 50


# ---------------------------------------------------------------- memory that the host adds


def test_a_page_that_the_host_filled_is_not_accepted(stage: Stage) -> None:
    """The host maps a page of its own choice where the program expects fresh zeros."""
    scene, machine = stage.launched()
    number = 0x7000_0000 >> 12
    machine.reserved[number] = Permission.READ | Permission.WRITE

    def cheat(number: int, permission: Permission) -> None:
        machine.driver._map(number, machine.driver.pages[scene.address("riches") >> 12], permission)

    machine.driver.augment = cheat  # type: ignore[method-assign] # a host's own driver
    machine._eenter()
    machine.inside = True
    with pytest.raises(MemoryFault, match="EACCEPT: #PF: the page at 0x70000000 is not this enclave's page there"):
        machine.read(0x7000_0000, 8)


def test_a_page_that_was_not_restricted_is_not_accepted(stage: Stage) -> None:
    """mprotect: a host that only says that it executed EMODPR."""
    _, machine = stage.launched()
    machine.driver.restrict = lambda *_: None  # type: ignore[method-assign]
    machine._eenter()
    machine.inside = True
    address = machine.image.pages[-1].address
    with pytest.raises(EnclaveLost, match="PAGE_ATTRIBUTES_MISMATCH"):
        machine.protect(address, PAGE, Permission.READ)


# ---------------------------------------------------------------- pages that were written out


def swapped(stage: Stage, change: Callable[[SgxMachine, int], None]) -> Ending:
    """The balance's page is written out, and the host changes something of it before the program wants it."""
    scene, machine = stage.launched()

    def act() -> None:
        number = scene.address("balance") >> 12
        change(machine, number)

    return scene.play([BALANCE, Act(b"b\n", act), QUIT]).ending


def write_out(machine: SgxMachine, number: int) -> None:
    driver = machine.driver
    driver.table.take(number * PAGE)
    driver.swap.order.pop(number)
    driver.swap.write_out({number: driver.pages.pop(number)}, driver.enclave.secs * PAGE)
    machine.forget_translations()


def test_a_page_comes_back_that_nobody_touched(stage: Stage) -> None:
    assert swapped(stage, write_out) == Ending(0, "")


def test_a_changed_page_does_not_come_back(stage: Stage) -> None:
    def change(machine: SgxMachine, number: int) -> None:
        write_out(machine, number)
        place = machine.driver.swap.stored[number].content
        content = bytearray(machine.host_read(place // PAGE))
        content[0] ^= 1
        machine.host_write(place // PAGE, bytes(content))

    ending = swapped(stage, change)
    assert (ending.status, "SGX_MAC_COMPARE_FAIL (9)" in ending.stopped) == (139, True)


def test_an_older_version_of_a_page_does_not_come_back(stage: Stage) -> None:
    def change(machine: SgxMachine, number: int) -> None:
        write_out(machine, number)
        first = machine.driver.swap.stored[number]
        old = machine.host_read(first.content // PAGE), machine.cpu.read("host", first.pcmd, 128)
        machine.driver.repair(number)
        write_out(machine, number)
        second = machine.driver.swap.stored[number]
        machine.host_write(second.content // PAGE, old[0])
        machine.cpu.write("host", second.pcmd, old[1])

    assert "SGX_MAC_COMPARE_FAIL" in swapped(stage, change).stopped


def test_a_page_does_not_come_back_as_another(stage: Stage) -> None:
    def change(machine: SgxMachine, number: int) -> None:
        write_out(machine, number)
        riches = next(n for n in machine.driver.swap.order if n == number + 1 or n == number - 1)
        write_out(machine, riches)
        stored = machine.driver.swap.stored
        stored[number], stored[riches] = stored[riches], stored[number]

    assert "SGX_MAC_COMPARE_FAIL" in swapped(stage, change).stopped


# ---------------------------------------------------------------- launch


def changed(image: Image) -> Image:
    first, *others = image.pages
    return replace(image, pages=(replace(first, content=first.content[:-1] + b"\xcc"), *others))


def with_permission(image: Image) -> Image:
    """Every page may be written."""
    pages = tuple(replace(page, permission=page.permission | Permission.WRITE) for page in image.pages)
    return replace(image, pages=pages)


def moved(image: Image) -> Image:
    """The first page stands one page lower."""
    first, *others = image.pages
    return replace(image, pages=(ImagePage(first.address - PAGE, first.permission, first.content), *others))


@pytest.mark.parametrize("change", [changed, with_permission, moved])
def test_who_changes_the_program_changes_what_its_author_signed(stage: Stage, change: Callable[[Image], Image]) -> None:
    """Content, permissions and places of pages are all in MRENCLAVE: EINIT refuses with the author's SIGSTRUCT."""
    scene = stage.scene()
    image = scene.victim.image
    signed = sign_enclave(signing_key(), mrenclave(image).value, date=date(2026, 6, 1))
    hostile = stage.scene(sigstruct=signed)
    with pytest.raises(LaunchError, match=r"SGX_INVALID_MEASUREMENT \(4\)"):
        hostile.machine.launch(change(image))
    honest = stage.scene(sigstruct=signed)
    honest.machine.launch(image)


def test_a_host_cannot_debug_what_was_signed_for_production(stage: Stage) -> None:
    image = stage.scene().victim.image
    signed = sign_enclave(signing_key(), mrenclave(image).value, date=date(2026, 6, 1))
    with pytest.raises(LaunchError, match=r"SGX_INVALID_ATTRIBUTE \(2\)"):
        stage.scene(sigstruct=signed, debug=True).machine.launch(image)


def test_a_host_that_signs_itself_is_another_signer(stage: Stage) -> None:
    """It may run what it likes; evidence and keys say who signed it."""
    _, own = stage.launched()
    image = own.image
    _, forged = stage.launched(sigstruct=sign_enclave(signing_key(), mrenclave(image).value, date=date(2026, 6, 1)))
    assert forged.measurement == own.measurement
    assert forged.secs.mrsigner != own.secs.mrsigner
    assert forged.sealing_key(KeyPolicy.MRSIGNER) != own.sealing_key(KeyPolicy.MRSIGNER)


# ---------------------------------------------------------------- reports


@pytest.mark.parametrize("place", [0, 48, 64, 128, 256, 258, 320, 383, 384, 416, 431])
def test_a_changed_report_gets_no_quote(stage: Stage, place: int) -> None:
    _, machine = stage.launched()
    report = ereport(machine.cpu.fuses, machine.secs, machine.quoting_enclave.target_info, bytes(64))
    whole = bytearray(report.serialize())
    assert machine.quoting_enclave.verifies(bytes(whole))
    whole[place] ^= 1
    assert not machine.quoting_enclave.verifies(bytes(whole))


def test_a_report_of_another_processor_gets_no_quote(stage: Stage, tmp_path: Path) -> None:
    _, machine = stage.launched()
    other = Stage(Keystore(tmp_path / "other"))
    _, elsewhere = other.launched()
    report = ereport(elsewhere.cpu.fuses, elsewhere.secs, elsewhere.quoting_enclave.target_info, bytes(64))
    with pytest.raises(SignatureInvalid, match="MAC does not verify on this machine"):
        machine.quoting_enclave.quote(report)
    other.scenes[0].close()


def test_a_report_for_somebody_else_gets_no_quote(stage: Stage) -> None:
    _, machine = stage.launched()
    target = machine.quoting_enclave.target_info
    values = {name: value for name, value in target.fields() if not name.startswith("reserved")}
    other = type(target)(**values | {"mrenclave": b"x" * 32})
    with pytest.raises(SignatureInvalid):
        machine.quoting_enclave.quote(ereport(machine.cpu.fuses, machine.secs, other, bytes(64)))


def test_a_secs_that_was_changed_in_dram_does_not_lie_in_evidence(stage: Stage) -> None:
    """MRENCLAVE stands in an EPC page as everything else: with the tree, a change locks the machine."""
    _, machine = stage.launched()
    page = machine.driver.enclave.secs
    machine.settle()
    machine.dram.page(page)[64] ^= 1
    machine.dram_changed(page)
    with pytest.raises(IntegrityFault):
        machine.evidence(b"nonce")


# ---------------------------------------------------------------- ports


def test_the_locked_machine_stays_locked(stage: Stage) -> None:
    scene, machine = stage.launched()
    ATTACKS["bit-flip"].run(stage.scene())
    locked = stage.machines[-1]
    with pytest.raises((IntegrityFault, Refused)):
        locked.controller.load(locked.driver.enclave.secs, 1, memoryview(bytearray(PAGE)))
    assert scene.play([QUIT]).ending.status == 0  # another machine is another machine
    assert machine.measurement == Digest("sha256", machine.secs.mrenclave)


def test_ports_refuse_what_is_not_there(stage: Stage) -> None:
    _, machine = stage.launched()
    beyond = SHAPE.memory
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


def test_ordinary_memory_is_the_hosts_and_the_devices(stage: Stage) -> None:
    """Bounce buffer and pages that were written out are where everybody reaches them."""
    _, machine = stage.launched()
    page = machine.pages.allocate()
    machine.host_write(page, b"h" * PAGE)
    assert machine.device_read(page) == b"h" * PAGE
    machine.device_write(page, b"d" * PAGE)
    assert machine.host_read(page) == b"d" * PAGE
