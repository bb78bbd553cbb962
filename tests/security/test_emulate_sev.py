"""Attacks on the emulated SME, SEV and SEV-ES machines: each with the outcome that the literature has for it."""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.forge.emulated_sev import (
    BALANCE,
    CODE,
    EXIT,
    PRINTER,
    READ_LINE,
    RICHES,
    Session,
    program,
    quick_keystore,
    sessions,
)

from cloister.emulate.attacks.battery import ATTACKS, attack
from cloister.emulate.attacks.literature import LITERATURE
from cloister.emulate.catalogue import Kind
from cloister.emulate.host import Cause, HostView
from cloister.emulate.machine import Ending, Machine, Shape
from cloister.emulate.memory.xex import tweak_of
from cloister.emulate.paging import Refused
from cloister.emulate.sev.commands import CommandFailed, Status
from cloister.emulate.sev.machine import SevMachine
from cloister.emulate.sev.save_area import OFFSETS
from cloister.emulate.sev.sme import SmeMachine
from cloister.emulate.terminal import Terminal
from cloister.emulate.vendors.keystore import Keystore
from cloister.measure.image import PAGE, Architecture

SMALL = Shape(memory=2048, frames=64)


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    return quick_keystore(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def play(keystore: Keystore) -> Iterator[Callable[..., Session]]:
    """Make a machine by its name, and somebody who types."""
    with sessions(keystore) as make:
        yield lambda kind="sev", shape=SMALL, **settings: make(kind, shape, **settings)


# ---- the project's whole battery, on every generation


@pytest.mark.needs_program("cc")
@pytest.mark.parametrize("generation", ["naples", "genoa"])
@pytest.mark.parametrize("name", ["sme", "sev", "sev-es"])
def test_every_attack_ends_as_the_literature_says(keystore: Keystore, name: str, generation: str) -> None:
    def make(shape: Shape, terminal: Terminal, keystore: Keystore, *, debug: bool = False) -> Machine:
        if name == "sme":
            return SmeMachine(shape, terminal, keystore, debug=debug, generation=generation)
        return SevMachine(shape, terminal, keystore, es=name == "sev-es", debug=debug, generation=generation)

    kind = Kind(name, "", Architecture.X86_64, make)
    findings = {one.name: attack(kind, one, keystore) for one in ATTACKS.values()}
    expected = {one: LITERATURE[one][name].outcome for one in ATTACKS}
    assert {one: finding.outcome for one, finding in findings.items()} == expected, findings


# ---- memory without integrity


WANTED = b"balance: 1000000"


def moved_by_algebra(one: Session) -> bytes:
    """What the program prints after its hypervisor has moved one block of ciphertext, T(a) ^ T(b) added.

    The adversary chooses what the guest keeps in the other page (a web page that it serves, for example), and knows the
    constants of the tweak, which are the same in every part.
    """

    def places() -> tuple[int, int]:
        return one.page_of(RICHES) * PAGE + 16, one.page_of(BALANCE) * PAGE

    def difference() -> bytes:
        source, target = places()
        return (tweak_of(source) ^ tweak_of(target)).to_bytes(16, "little")

    def move() -> None:
        source, target = places()
        stolen = one.machine.host_read(source // PAGE)[16:32]
        page = one.machine.host_read(target // PAGE)
        one.machine.host_write(target // PAGE, xor(stolen, difference()) + page[16:])

    one.meanwhile(move)
    one.machine.launch(program(PRINTER, b"balance: 0000001 and more"))
    one.machine.start(["program"], {})
    one.machine.write(RICHES + 16, xor(WANTED, difference()))
    assert one.machine.run() == Ending(0)
    return bytes(one.output)


def xor(first: bytes, second: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(first, second, strict=True))


def test_a_block_is_moved_and_chosen_by_algebra_on_the_first_parts(play: Callable[..., Session]) -> None:
    """Du et al. 2017: the linear tweak cancels, and the block opens as what the adversary chose."""
    assert moved_by_algebra(play("sev", generation="naples")) == WANTED + b" and mor"


@pytest.mark.parametrize("generation", ["rome", "milan", "genoa"])
def test_the_same_move_gives_garbage_later(play: Callable[..., Session], generation: str) -> None:
    """One block of 16 bytes is scrambled, unnoticed; its neighbours are as they were."""
    printed = moved_by_algebra(play("sev", generation=generation))
    assert printed[:16] not in {WANTED, b"balance: 0000001"}
    assert printed[16:] == b" and mor"


@pytest.mark.parametrize("kind", ["sev", "sev-es"])
def test_severed_reads_the_guest_through_its_own_answers(play: Callable[..., Session], kind: str) -> None:
    """Morbitzer et al. 2018: the page that the guest sends out is exchanged below it for one that holds a secret."""
    secret = secrets.token_hex(12).encode()
    one = play(kind)
    one.meanwhile(lambda: one.machine.remap(one.machine.host_address(BALANCE), one.page_of(RICHES)))
    # the last block of the secret's page is what read() writes to, so the secret stands behind it
    assert one.run(program(PRINTER, b"a public answer", b"\n" + secret)) == Ending(0)
    assert one.output[1:24] == secret[:23]


SPENDER = READ_LINE + bytes.fromhex("c604250020400030") + PRINTER
"""Waits, writes 0 where its balance begins, waits, prints."""


@pytest.mark.parametrize("kind", ["sev", "sev-es"])
def test_a_dropped_cache_line_undoes_a_write(play: Callable[..., Session], kind: str) -> None:
    """CacheWarp (Zhang et al., USENIX Security 2024): no ciphertext is touched, the write just never happened."""
    one = play(kind)
    one.acts = [(b"\n", one.machine.settle), (b"\n", lambda: one.sev.invd(one.machine.host_address(BALANCE)))]
    assert one.run(program(SPENDER, b"9 coins left")) == Ending(0)
    assert one.output.startswith(b"9 coins left")


def test_later_parts_write_back(play: Callable[..., Session]) -> None:
    one = play("sev", generation="genoa")

    def act() -> None:
        with pytest.raises(Refused, match="INVD"):
            one.sev.invd(one.machine.host_address(BALANCE))

    one.acts = [(b"\n", one.machine.settle), (b"\n", act)]
    assert one.run(program(SPENDER, b"9 coins left")) == Ending(0)
    assert one.output.startswith(b"0 coins left")


def test_memory_of_another_guest_is_garbage(play: Callable[..., Session]) -> None:
    """Two guests, two keys: what was one guest's opens as nothing under the other's ASID."""
    one = play()
    text = b"what the first guest has"
    one.run(program(PRINTER, text))
    assert one.output == text
    machine = one.sev
    page = one.page_of(BALANCE)
    firmware = machine.firmware
    handle = firmware.launch_start(0)
    firmware.activate(handle, machine.hypervisor.asid + 1)
    seen = machine.hypervisor.memory.read(page * PAGE, len(text), machine.hypervisor.asid + 1)
    assert seen != text


# ---- registers

SECRET_IN_REGISTER = bytes.fromhex("48bb") + b"k3ptSafe" + bytes.fromhex("b900000100 ffc9 75fc") + EXIT
"""RBX holds a secret while ECX counts down."""

KEEPS = int.from_bytes(b"k3ptSafe", "little")


def test_the_hypervisor_of_a_sev_guest_sees_and_changes_registers(play: Callable[..., Session]) -> None:
    one = play("sev")
    machine = one.sev
    seen: list[int] = []

    def look(view: HostView) -> None:
        if view.cause is Cause.INTERRUPT:
            seen.append(view.registers["rbx"])
            machine.set_register("rip", CODE + 0x200)

    machine.host.on_exit = look
    # at CODE + 0x200: exit(42)
    code = SECRET_IN_REGISTER.ljust(0x200, b"\xcc") + bytes.fromhex("b83c000000 bf2a000000 0f05")
    assert one.run(program(code), steps=1000).status == 42
    assert seen
    assert set(seen) == {KEEPS}
    assert machine.host_read(machine.hypervisor.state_page)[OFFSETS["rbx"] :][:8] == b"k3ptSafe"


def test_the_registers_of_a_sev_guest_stand_in_dram(play: Callable[..., Session], tmp_path: Path) -> None:
    shape = replace(SMALL, dram=tmp_path / "dram")
    assert leaks(play("sev", shape), tmp_path / "dram")


def test_the_registers_of_an_es_guest_do_not(play: Callable[..., Session], tmp_path: Path) -> None:
    shape = replace(SMALL, dram=tmp_path / "dram")
    assert not leaks(play("sev-es", shape), tmp_path / "dram")


def leaks(one: Session, dram: Path) -> bool:
    """Whether a register's content stands in DRAM after an interrupt. The code that holds it too is encrypted."""
    machine, found = one.sev, list[bool]()

    def look(view: HostView) -> None:
        if view.cause is Cause.INTERRUPT and not found:
            machine.settle()
            found.append(b"k3ptSafe" in dram.read_bytes())

    machine.host.on_exit = look
    assert one.run(program(SECRET_IN_REGISTER), steps=1000) == Ending(0)
    return found[0]


def test_the_hypervisor_of_an_es_guest_sees_what_the_ghcb_gives(play: Callable[..., Session]) -> None:
    one = play("sev-es")
    machine = one.sev
    refusals: list[str] = []

    def look(view: HostView) -> None:
        if view.cause is Cause.INTERRUPT:
            with pytest.raises(Refused) as refused:
                machine.set_register("rip", CODE + 0x200)
            refusals.append(str(refused.value))

    machine.host.on_exit = look
    assert one.run(program(SECRET_IN_REGISTER), steps=1000) == Ending(0)
    interrupts = [view for view in machine.host.seen if view.cause is Cause.INTERRUPT]
    assert len(refusals) == len(interrupts) > 10
    assert all(view.registers == {} for view in interrupts)
    calls = [view for view in machine.host.seen if view.cause is Cause.SYSTEM_CALL]
    assert calls
    assert all(view.registers.keys() == {"rax", "exit_code", "exit_info_1", "exit_info_2"} for view in calls)


@pytest.mark.parametrize("how", ["replay", "flip", "write", "other page"])
def test_a_changed_vmsa_is_noticed_at_entry(play: Callable[..., Session], how: str) -> None:
    """The check value stands in the trusted memory region, which software cannot reach."""
    one = play("sev-es")
    machine = one.sev
    kept: list[bytes] = []

    def act(view: HostView) -> None:
        page = machine.hypervisor.state_page
        if view.cause is not Cause.INTERRUPT or len(kept) > 3:
            return
        kept.append(machine.host_read(page))
        if len(kept) < 3:
            return
        if how == "replay":
            machine.host_write(page, kept[0])
        elif how == "flip":
            machine.settle()
            machine.dram.page(page)[OFFSETS["rip"]] ^= 1
            machine.dram_changed(page)
        elif how == "write":
            machine.host_write(page, bytes(PAGE))
        else:
            machine.hypervisor.state_page = one.page_of(BALANCE)

    machine.host.on_exit = act
    ending = one.run(program(SECRET_IN_REGISTER), steps=1000)
    assert len(kept) == 3 or how == "other page"
    assert "VMSA does not fit" in ending.stopped
    assert ending.status == 128 + 7


def test_an_unchanged_vmsa_is_not(play: Callable[..., Session]) -> None:
    """The same reading and writing, but of what stands there: that the check does not refuse everything."""
    one = play("sev-es")
    machine = one.sev

    def act(view: HostView) -> None:
        if view.cause is Cause.INTERRUPT:
            page = machine.hypervisor.state_page
            machine.host_write(page, machine.host_read(page))

    machine.host.on_exit = act
    assert one.run(program(SECRET_IN_REGISTER), steps=1000) == Ending(0)


def test_equal_registers_give_equal_ciphertext(play: Callable[..., Session]) -> None:
    """CIPHERLEAKS (Li et al., USENIX Security 2021): the VMSA is at one place, its encryption deterministic."""
    one = play("sev-es")
    machine = one.sev
    blocks: list[tuple[bytes, bytes]] = []

    def look(view: HostView) -> None:
        if view.cause is Cause.INTERRUPT:
            area = machine.host_read(machine.hypervisor.state_page)
            blocks.append((area[0x310:0x320], area[0x300:0x310]))  # RBX with RDX; RCX

    machine.host.on_exit = look
    assert one.run(program(SECRET_IN_REGISTER), steps=1000) == Ending(0)
    assert len({unchanged for unchanged, _ in blocks}) == 1
    assert len({counting for _, counting in blocks}) == len(blocks) > 10


@pytest.mark.parametrize("kind", ["sev", "sev-es"])
def test_a_guest_is_stepped_instruction_by_instruction(play: Callable[..., Session], kind: str) -> None:
    """SEV-Step (Wilke et al., TCHES 2024): a timer after each instruction counts them, whatever is encrypted."""
    counts = []
    for loops in (5, 9):
        one = play(kind)
        one.machine.launch(program(bytes.fromhex(f"b9{loops:02x}000000 ffc9 75fc") + EXIT))
        one.machine.start(["program"], {})
        assert one.machine.run(steps=1) == Ending(0)
        counts.append(sum(view.cause is Cause.INTERRUPT for view in one.machine.host.seen))
    assert counts[1] - counts[0] == 2 * (9 - 5)


def test_the_trusted_memory_region_is_closed(play: Callable[..., Session]) -> None:
    one = play("sev-es")
    machine = one.sev
    one.run(program(EXIT))
    (page,) = machine.trusted_pages
    for call in (
        lambda: machine.host_read(page),
        lambda: machine.host_write(page, bytes(PAGE)),
        lambda: machine.device_read(page),
        lambda: machine.device_write(page, bytes(PAGE)),
    ):
        with pytest.raises(Refused, match="trusted memory region"):
            call()
    with pytest.raises(CommandFailed) as failed:
        machine.firmware.dbg_decrypt(machine.hypervisor.handle, page * PAGE, one.page_of(BALANCE) * PAGE, PAGE)
    assert failed.value.status is Status.POLICY_FAILURE


def test_another_entry_point_is_another_measurement(play: Callable[..., Session]) -> None:
    """With SEV-ES the first registers are measured; with SEV they are not, but the boot parameters say the same."""
    image = program(EXIT)
    moved = replace(image, entry=CODE + 1)
    for kind in ("sev", "sev-es"):
        one, other = play(kind), play(kind)
        one.machine.launch(image)
        other.machine.launch(moved)
        assert one.machine.measurement != other.machine.measurement


# ---- debugging


def test_without_nodbg_the_hypervisor_reads_and_writes_everything(play: Callable[..., Session]) -> None:
    one = play("sev-es", debug=True)
    machine = one.sev

    def act() -> None:
        address = machine.host_address(BALANCE)
        assert machine.debug_read(address).startswith(b"what the guest has")
        machine.debug_write(address, b"what the hypervisor has!".ljust(PAGE, b"\0"))

    one.meanwhile(act)
    assert one.run(program(PRINTER, b"what the guest has")) == Ending(0)
    assert one.output == b"what the hypervisor has!"


def test_with_nodbg_it_does_not(play: Callable[..., Session]) -> None:
    one = play("sev-es")
    machine = one.sev
    one.run(program(PRINTER, b"what the guest has"))
    free = machine.pages.left
    with pytest.raises(Refused, match="POLICY_FAILURE"):
        machine.debug_read(machine.host_address(BALANCE))
    with pytest.raises(Refused, match="POLICY_FAILURE"):
        machine.debug_write(machine.host_address(BALANCE), bytes(PAGE))
    assert machine.pages.left == free
