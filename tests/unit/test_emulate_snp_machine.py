"""The SNP machine's own edges: constructor, launch errors, exits, save areas, page state requests, GHCB."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.forge.emulated_snp import program, quick_keystore

from cloister.emulate.host import Cause
from cloister.emulate.machine import Shape
from cloister.emulate.paging import Access, MemoryFault, Stage
from cloister.emulate.snp.commands import Command, Policy, Status
from cloister.emulate.snp.ghcb import ExitCode, Ghcb, page_state_request
from cloister.emulate.snp.hypervisor import GuestOptions
from cloister.emulate.snp.machine import SnpMachine
from cloister.emulate.snp.rmp import ALL, Allow, PageState
from cloister.emulate.snp.vmsa import REGISTER_PROTECTION
from cloister.emulate.terminal import sealed_terminal
from cloister.emulate.vendors.keystore import Keystore
from cloister.errors import CannotEnclave, LaunchError, UsageError
from cloister.evidence import snp
from cloister.measure.guest import GuestLayout
from cloister.measure.image import PAGE, Architecture, Permission
from cloister.measure.snp import DEFAULT_FEATURES, guest_digest

SMALL = Shape(memory=1024, frames=64)
IMAGE = program(b"\x0f\x0b", b"data")
"""It begins with UD2."""


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    return quick_keystore(tmp_path_factory.mktemp("snp") / "emulated")


def made(keystore: Keystore, **settings: object) -> SnpMachine:
    terminal = sealed_terminal(lambda _: b"", lambda _: None)
    return SnpMachine(SMALL, terminal, keystore, **settings)  # type: ignore[arg-type]


@pytest.fixture
def machine(keystore: Keystore) -> Iterator[SnpMachine]:
    one = made(keystore)
    one.launch(IMAGE)
    yield one
    one.close()


def test_what_it_cannot_be(keystore: Keystore) -> None:
    with pytest.raises(UsageError, match="VMPL 4"):
        made(keystore, vmpl=4)
    with pytest.raises(UsageError, match="Naples"):
        made(keystore, product="Naples")


def test_nothing_is_there_before_launch(keystore: Keystore) -> None:
    machine = made(keystore)
    for ask in (lambda: machine.measurement, lambda: machine.evidence(b""), machine.derived_key):
        with pytest.raises(UsageError, match="comes first"):
            ask()
    machine.close()


def test_programs_for_other_processors_are_refused(machine: SnpMachine) -> None:
    with pytest.raises(CannotEnclave, match="runs x86-64"):
        machine.launch(replace(IMAGE, architecture=Architecture.ARM64))


def test_a_launch_that_fails_leaves_nothing_behind(keystore: Keystore) -> None:
    for options, image, words in (
        (GuestOptions(policy=int(Policy.ONE)), IMAGE, "POLICY_FAILURE"),
        (GuestOptions(), program(*[b"x"] * 2000), "too little memory"),
    ):
        machine = made(keystore, options=options)
        free = machine.pages.left
        with pytest.raises(LaunchError, match=words):
            machine.launch(image)
        assert machine.pages.left == free
        machine.close()


def test_a_launch_takes_the_place_of_the_one_before(machine: SnpMachine) -> None:
    first, free = machine.measurement, machine.pages.left
    other = program(b"\x0f\x0b", b"other data")
    machine.launch(other)
    assert machine.measurement == guest_digest(GuestLayout.of(other)) != first
    assert machine.pages.left == free
    machine.launch(IMAGE)
    assert machine.measurement == first


def test_the_launch_is_the_firmware_s_commands_in_order(machine: SnpMachine) -> None:
    commands = [done.command for done in machine.firmware.history]
    pages = len(GuestLayout.of(IMAGE).pages)
    assert commands == [
        Command.SNP_INIT, Command.SNP_GCTX_CREATE, Command.SNP_LAUNCH_START, Command.SNP_ACTIVATE,
        *[Command.SNP_LAUNCH_UPDATE] * (pages + 3), Command.SNP_LAUNCH_FINISH,
    ]  # fmt: skip
    assert {done.status for done in machine.firmware.history} == {Status.SUCCESS}


def test_options_are_measured_or_reported(keystore: Keystore) -> None:
    options = GuestOptions(features=DEFAULT_FEATURES | REGISTER_PROTECTION, host_data=b"h" * 32)
    machine = made(keystore, debug=True, options=options)
    machine.launch(IMAGE)
    assert machine.measurement == guest_digest(GuestLayout.of(IMAGE), features=options.features)
    report = snp.parse(machine.evidence(b"short"))
    assert report.debug
    assert (report.host_data, report.report_data) == (b"h" * 32, b"short".ljust(64, b"\0"))
    with pytest.raises(UsageError, match="has 64"):
        machine.evidence(bytes(65))
    machine.close()


def test_an_illegal_instruction_ends_the_program(machine: SnpMachine) -> None:
    machine.start(["program"], {})
    ending = machine.run()
    assert ending.status == 128 + 4
    assert "illegal instruction at 0x400000" in ending.stopped


# ---------------------------------------------------------------- memory


def test_fresh_memory_is_asked_for_validated_and_empty(machine: SnpMachine) -> None:
    machine.map(0x10_0000, PAGE, Permission.READ | Permission.WRITE)
    machine.write(0x10_0000, b"now it is used")
    gpa = machine.host_address(0x10_0000)
    assert machine.host.seen[-1].registers == {"ghcb_msr": page_state_request(gpa // PAGE)}
    assert machine.host.seen[-1].address == gpa
    page = machine.physical_page(gpa)
    assert machine.rmp.state(page) is PageState.GUEST_VALID
    assert machine.rmp[page].gpa == gpa // PAGE
    assert machine.read(0x10_0000, 20) == b"now it is used" + bytes(6)


def test_a_page_state_request_is_laid_out_as_the_protocol_says() -> None:
    """GHCB MSR protocol: bits 0 to 11 request 0x14, 12 to 51 guest page, 52 to 55 operation 1, private."""
    assert page_state_request(0x12345) == 0x0010_0000_1234_5014


@pytest.mark.parametrize("vmpl", [1, 3])
def test_below_vmpl_0_an_svsm_shares_memory_out(keystore: Keystore, vmpl: int) -> None:
    machine = made(keystore, vmpl=vmpl)
    machine.launch(IMAGE)
    for page in machine.hypervisor.table.values():
        expected = 0 if page == machine.hypervisor.vmsa else ALL
        assert machine.rmp[page].permissions[vmpl] == expected
        assert machine.rmp[page].permissions[3 if vmpl == 1 else 2] == 0
    assert machine.rmp[machine.hypervisor.vmsa].vmsa
    assert snp.parse(machine.evidence(b"")).vmpl == vmpl
    machine.close()


def test_permissions_of_a_vmpl_bound_the_guest_s_own_tables(keystore: Keystore) -> None:
    machine = made(keystore, vmpl=1)
    machine.launch(IMAGE)
    place = machine.host_address(0x40_0000)
    page = machine.physical_page(place)
    machine.rmp[page] = machine.rmp[page]._replace(permissions=(ALL, Allow.READ, 0, 0))
    machine.forget_translations()
    assert machine.translate(0x40_0000, Access.READ).permission == Permission.READ
    with pytest.raises(MemoryFault, match="VMPL 1 may not fetch") as caught:
        machine.translate(0x40_0000, Access.FETCH)
    assert caught.value.stage is Stage.TEE
    machine.close()


# ---------------------------------------------------------------- exits


def test_the_host_sees_the_ghcb_when_the_guest_calls_and_nothing_otherwise(machine: SnpMachine) -> None:
    machine.start(["program"], {})
    machine.engine.write("rbx", 0x1234_5678_9ABC)
    for cause in Cause:
        machine.leave(cause)
        machine.enter(cause)
    seen = {view.cause: view.registers for view in [*machine.host.seen][-len(Cause) :]}
    assert seen[Cause.INTERRUPT] == seen[Cause.PAGE_FAULT] == {}
    assert seen[Cause.SYSTEM_CALL] == {
        "sw_exit_code": ExitCode.MMIO_WRITE, "sw_exit_info_1": machine.bounce.pages[0] * PAGE,
    }  # fmt: skip
    assert machine.engine.read("rbx") == 0x1234_5678_9ABC


def test_registers_stand_where_the_architecture_has_them(machine: SnpMachine) -> None:
    machine.start(["program"], {})
    machine.engine.write("rax", 0xAAAA)
    machine.engine.write("r15", 0xFFFF)
    machine.leave(Cause.INTERRUPT)
    area = bytes(machine.cache.frames[machine.cache.frame(machine.hypervisor.vmsa, 1, write=False, fetch=False)])
    assert int.from_bytes(area[0x1F8:0x200], "little") == 0xAAAA
    assert int.from_bytes(area[0x378:0x380], "little") == 0xFFFF
    assert int.from_bytes(area[0x178:0x180], "little") == 0x40_0000
    machine.enter(Cause.INTERRUPT)


def test_a_ghcb_shows_marked_fields_only() -> None:
    page = memoryview(bytearray(b"\xee" * PAGE))
    ghcb = Ghcb(page)
    ghcb.post({"rax": 5, "sw_exit_code": 0x8000_0011})
    assert ghcb.valid() == {"rax": 5, "sw_exit_code": 0x8000_0011}
    assert page[0x3F0 + 0x1F8 // 64] == 1 << (0x1F8 // 8 % 8), "bit offset / 8 of the bitmap"
    assert bytes(page[0xFFA:0xFFE]) == b"\2\0\0\0"
    ghcb.post({})
    assert ghcb.valid() == {}
