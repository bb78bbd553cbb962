"""Attacks on the emulated TrustZone machine: each with the outcome that the literature has for it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.machines.trustzone import (
    BRK,
    CODE,
    LOAD,
    SHAPE,
    SMC,
    STORE,
    Application,
    Bank,
    bank,
    code,
    victim_application,
)

from cloister.emulate.attacks import reading
from cloister.emulate.attacks.battery import ATTACKS, SMALL, attack
from cloister.emulate.attacks.literature import LITERATURE
from cloister.emulate.attacks.outcome import Outcome
from cloister.emulate.attacks.scene import SECRET, Scene
from cloister.emulate.attacks.victims import victim
from cloister.emulate.catalogue import kind_of
from cloister.emulate.host import Cause, HostView
from cloister.emulate.machine import Ending, Shape
from cloister.emulate.paging import Refused
from cloister.emulate.trustzone.machine import TrustZoneMachine
from cloister.emulate.trustzone.normal import Why
from cloister.emulate.trustzone.smc import INVOKE, Result
from cloister.emulate.trustzone.tzasc import Action, Attribute, Register
from cloister.emulate.trustzone.tzpc import DECPROT
from cloister.emulate.vendors.keystore import Keystore
from cloister.measure.image import PAGE

Banks = Callable[..., Bank]
WINDOW = 0x20000
"""Where the normal world maps a page that is not its own."""
READ_D20 = 0x9E66_0282
"""fmov x2, d20"""
KEPT = 0x6B65_7074_5361_6665
"""What the service `secret` leaves in X9 and D20."""


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    return Keystore(tmp_path_factory.mktemp("keys") / "store")


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Application:
    return bank(tmp_path_factory.mktemp("bank"))


@pytest.fixture
def banks(keystore: Keystore, application: Application) -> Iterator[Banks]:
    made: list[Bank] = []

    def of(program: Application | None = None, *, shape: Shape = SHAPE, **settings: Any) -> Bank:
        made.append(Bank(program or application, keystore, settings, shape))
        return made[-1]

    yield of
    for one in made:
        one.machine.close()


def failure(machine: TrustZoneMachine) -> tuple[int, int, int]:
    """FAIL_ADDRESS, FAIL_CONTROL and FAIL_ID of filter 0."""
    names = (Register.FAIL_ADDRESS_LOW, Register.FAIL_CONTROL, Register.FAIL_ID)
    address, control, nsaid = (machine.tzasc.read(name, secure=True) for name in names)
    return address, control, nsaid


# ---- the project's whole battery


@pytest.mark.parametrize("name", list(ATTACKS))
def test_every_attack_ends_as_the_literature_says(keystore: Keystore, name: str) -> None:
    found = attack(kind_of("trustzone"), ATTACKS[name], keystore)
    assert found.outcome is LITERATURE[name]["trustzone"].outcome, found.observed


def sloppy_scene(keystore: Keystore, **settings: Any) -> Scene:
    return Scene(
        lambda terminal: TrustZoneMachine(SMALL, terminal, keystore, **settings),
        lambda machine: victim(machine.architecture),
    )


@pytest.mark.parametrize(("scrubs", "outcome"), [(True, Outcome.STOPPED), (False, Outcome.SUCCEEDED)])
def test_registers_are_as_safe_as_the_monitor_is_careful(keystore: Keystore, outcome: Outcome, *, scrubs: bool) -> None:
    scene = sloppy_scene(keystore, monitor_scrubs=scrubs)
    assert reading.registers(scene).outcome is outcome
    scene.close()


@pytest.mark.parametrize(("debug", "outcome"), [(False, Outcome.STOPPED), (True, Outcome.SUCCEEDED)])
def test_the_debug_port_reads_where_spiden_is_high(keystore: Keystore, outcome: Outcome, *, debug: bool) -> None:
    scene = sloppy_scene(keystore, debug=debug)
    found = reading.debug_read(scene)
    assert found.outcome is outcome
    assert outcome is Outcome.SUCCEEDED or "SPIDEN" in found.observed
    scene.close()


# ---- the bus


def test_a_denied_read_is_zeros_and_stands_in_the_fail_registers(banks: Banks) -> None:
    one = banks()
    machine = one.machine

    def look() -> None:
        page = one.page("balance")
        assert machine.host_read(page) == bytes(PAGE)
        assert failure(machine) == (page * PAGE, 1 << 21 | 1 << 20, 9)
        assert machine.tzasc.interrupt  # the secure world is told
        machine.tzasc.write(Register.INT_CLEAR, 1, secure=True)
        machine.host_write(page, b"\xff" * PAGE)
        assert failure(machine) == (page * PAGE, 1 << 24 | 1 << 21 | 1 << 20, 9)
        machine.tzasc.write(Register.INT_CLEAR, 1, secure=True)
        assert machine.device_read(page) == bytes(PAGE)
        assert failure(machine) == (page * PAGE, 1 << 21 | 1 << 20, 8)
        machine.device_write(page, b"\xff" * PAGE)

    assert one.run(look) == Ending(0)
    assert one.lines == ["ready", "1000"]
    assert not machine.tzasc.interrupt  # on its way in the secure world took note of what came first
    page = one.page("balance")
    assert list(machine.secure_os.alarms) == [(page * PAGE, False, True, True, 8)]


def test_the_same_accesses_reach_the_normal_worlds_own_memory(banks: Banks) -> None:
    """That the ports do not refuse everything."""
    one = banks()
    machine = one.machine
    page = machine.pages.allocate()
    machine.launch(one.application.image)
    machine.host_write(page, b"h" * PAGE)
    assert machine.device_read(page) == b"h" * PAGE
    machine.device_write(page, b"d" * PAGE)
    assert machine.host_read(page) == b"d" * PAGE
    machine.settle()
    assert bytes(machine.dram.page(page)) == b"d" * PAGE
    assert machine.tzasc.read(Register.INT_STATUS, secure=True) == 0


@pytest.mark.parametrize("action", [Action.ERROR, Action.ERROR | Action.INTERRUPT])
def test_with_decerr_the_normal_world_gets_aborts(banks: Banks, action: Action) -> None:
    one = banks(action=action)
    machine = one.machine

    def look() -> None:
        page = one.page("balance")
        with pytest.raises(Refused, match="DECERR"):
            machine.host_read(page)
        with pytest.raises(Refused, match="DECERR"):
            machine.device_write(page, bytes(PAGE))
        machine.normal.load(CODE, code(LOAD, BRK, STORE, BRK))
        place = one.map_secure("balance", WINDOW)
        for entry in (CODE, CODE + 8):
            ending = machine.normal.run(entry, place, 5)
            assert ending.why is Why.ABORT
            assert "synchronous external abort" in ending.abort
            assert ending.registers["pc"] == entry

    assert one.run(look) == Ending(0)
    assert one.lines == ["ready", "1000"]


def test_a_secure_device_reads_and_writes_everything_of_the_secure_world(banks: Banks) -> None:
    """A DMA master that the SoC's designer made secure is trusted with all of it."""
    one = banks()
    machine = one.machine

    def act() -> None:
        page, place = one.page("balance"), one.within("balance")
        content = machine.device_read(page, secure=True)
        assert int.from_bytes(content[place : place + 8], "little") == 1000
        rich = content[:place] + (9999).to_bytes(8, "little") + content[place + 8 :]
        machine.device_write(page, rich, secure=True)

    assert one.run(act) == Ending(0)
    assert one.lines == ["ready", "9999"]


# ---- real code of the normal world


def test_code_of_the_normal_world_loads_zeros(banks: Banks) -> None:
    one = banks()
    machine = one.machine

    def look() -> None:
        machine.normal.load(CODE, code(LOAD, BRK))
        ending = machine.normal.run(CODE, one.map_secure("balance", WINDOW), 77)
        assert (ending.why, ending.registers["x1"]) == (Why.FINISHED, 0)
        assert failure(machine) == (one.page("balance") * PAGE, 1 << 21 | 1 << 20, 9)

    assert one.run(look) == Ending(0)
    assert one.lines == ["ready", "1000"]


def test_what_code_of_the_normal_world_stores_is_dropped(banks: Banks) -> None:
    """It stands in a cache line of the normal world's until that is written back; the program never sees it."""
    one = banks()
    machine = one.machine

    def act() -> None:
        machine.normal.load(CODE, code(STORE, LOAD, BRK))
        ending = machine.normal.run(CODE, one.map_secure("balance", WINDOW), 31337)
        assert ending.registers["x1"] == 31337
        machine.tzasc.write(Register.INT_CLEAR, 1, secure=True)
        machine.settle()
        assert failure(machine) == (one.page("balance") * PAGE, 1 << 24 | 1 << 21 | 1 << 20, 9)
        stored = bytes(machine.dram.page(one.page("balance")))
        place = one.within("balance")
        assert int.from_bytes(stored[place : place + 8], "little") == 1000

    assert one.run(act, lambda: None) == Ending(0)
    assert one.lines == ["ready", "1000", "1000"]


def test_it_is_the_address_space_controller_that_protects(banks: Banks) -> None:
    """A wrong region is a total loss: the same code then reads and writes."""
    one = banks()
    machine = one.machine

    def act() -> None:
        first, end = machine.secure_pages.first * PAGE, machine.shape.memory * PAGE
        everything = Attribute.FILTER_0 | Attribute.SECURE_READ | Attribute.SECURE_WRITE
        machine.tzasc.configure(1, first, end - 1, everything, 0xFFFF_FFFF)
        machine.normal.load(CODE, code(LOAD, BRK, STORE, BRK))
        place = one.map_secure("balance", WINDOW)
        assert machine.normal.run(CODE, place).registers["x1"] == 1000
        assert machine.normal.run(CODE + 8, place, 31337).why is Why.FINISHED

    assert one.run(act) == Ending(0)
    assert one.lines == ["ready", "31337"]


def test_the_normal_world_asks_the_processor_for_no_translations(banks: Banks) -> None:
    """At s1e1r, x0: a page walk of the processor's would not go through the controller, so there is none."""
    one = banks()
    machine = one.machine

    def act() -> None:
        machine.normal.load(CODE, code(0xD508_7800, BRK))
        assert machine.normal.run(CODE, WINDOW).why is Why.UNDEFINED

    assert one.run(act) == Ending(0)


def test_the_normal_world_cannot_configure_the_controllers(banks: Banks) -> None:
    one = banks()
    machine = one.machine
    machine.launch(one.application.image)
    region = Register.REGION_ID_ACCESS + 0x20
    with pytest.raises(Refused, match="secure accesses only"):
        machine.tzasc.write(region, 0xFFFF_FFFF, secure=False)
    with pytest.raises(Refused, match="secure accesses only"):
        machine.tzpc.write_register(DECPROT + 4, 0xFF, secure=False)
    for name in ("hardware unique key", "entropy source", "secure console"):
        with pytest.raises(Refused, match="secure peripheral"):
            machine.tzpc.read(name, secure=False)
    assert machine.tzpc.read("console", secure=False) == b""


def test_a_secure_page_given_as_shared_memory_is_not_read_for_the_normal_world(banks: Banks) -> None:
    """The normal world names a secure page as its own; the access still goes out with the NS bit."""
    one = banks()
    machine = one.machine

    def act() -> None:
        address = machine.share(one.page("balance")) + one.within("balance")
        machine.normal.load(CODE, code(SMC, BRK))
        registers = machine.normal.run(CODE, INVOKE, one.application.command("fetch"), address).registers
        assert (registers["x0"], registers["x1"]) == (Result.OK, 0)

    assert one.run(act) == Ending(0)
    assert one.lines == ["ready", "1000"]


def test_a_service_that_trusts_pointers_gives_its_memory_away(banks: Banks) -> None:
    """No hardware helps against the secure world's own mistakes."""
    one = banks()
    machine = one.machine

    def act() -> None:
        machine.normal.load(CODE, code(SMC, BRK))
        command, address = one.application.command("fetch"), one.application.symbols["balance"]
        assert machine.normal.run(CODE, INVOKE, command, address).registers["x1"] == 1000

    assert one.run(act) == Ending(0)


# ---- registers


@pytest.mark.parametrize("scrubs", [True, False])
def test_what_a_service_leaves_in_registers(banks: Banks, *, scrubs: bool) -> None:
    """Read by code of the normal world, general registers and floating point."""
    one = banks(monitor_scrubs=scrubs)
    machine = one.machine

    def act() -> None:
        machine.normal.load(CODE, code(SMC, READ_D20, BRK))
        registers = machine.normal.run(CODE, INVOKE, one.application.command("secret")).registers
        assert registers["x1"] == 7
        assert (registers["x9"] == KEPT) is not scrubs
        assert registers["x2"] == 0

    assert one.run(act) == Ending(0)


def test_the_programs_registers_are_not_there_for_code_of_the_normal_world(banks: Banks) -> None:
    one = banks()
    machine = one.machine

    def act() -> None:
        machine.normal.load(CODE, code(READ_D20, BRK))
        registers = machine.normal.run(CODE).registers
        kept = machine.thread.load()
        own = {"x0", "x1", "x2", "pc", "nzcv"}
        assert {value for name, value in registers.items() if name not in own} == {0}
        assert sum(value != 0 for value in kept) > 10

    assert one.run(act) == Ending(0)


def test_registers_at_an_interrupt_stand_in_dram(banks: Banks) -> None:
    """In the thread's page in secure memory: not for the normal world, but for whoever reads the chips."""
    one = banks(victim_application())
    machine = one.machine
    key, found = SECRET[:8], list[bool]()

    def look(view: HostView) -> None:
        if view.cause is Cause.INTERRUPT:
            machine.settle()
            found.append(key in bytes(machine.dram.page(machine.thread_page)))
            assert machine.host_read(machine.thread_page) == bytes(PAGE)

    machine.host.on_exit = look
    ending = one.run(lambda: None, steps=500, line=b"s" + SECRET + b"\nr\nq\n")
    assert ending == Ending(0)
    assert any(found)


@pytest.mark.parametrize(("physical", "status"), [(True, 42), (False, 0)])
def test_changed_registers_in_dram_are_what_the_program_goes_on_with(
    banks: Banks, status: int, *, physical: bool
) -> None:
    """A physical adversary makes the first argument of exit() anything; what the normal world writes is dropped."""
    one = banks()
    machine, changed = one.machine, list[int]()
    exit_group = 94

    def change(view: HostView) -> None:
        del view
        offset = machine.thread.offset("x0")
        if machine.thread.load()[machine.thread.names.index("x8")] != exit_group:
            return
        changed.append(offset)
        if physical:
            machine.settle()
            machine.dram.page(machine.thread_page)[offset : offset + 8] = (42).to_bytes(8, "little")
            machine.dram_changed(machine.thread_page)
        else:
            machine.host_write(machine.thread_page, b"\x2a" * PAGE)

    machine.host.on_exit = change
    ending = one.run(steps=1)
    assert changed
    assert ending.status == status


# ---- page tables


def test_the_normal_world_sees_no_page_faults_and_cannot_make_them(banks: Banks) -> None:
    one = banks()
    machine = one.machine

    def act() -> None:
        address = one.application.symbols["balance"]
        with pytest.raises(Refused, match="secure OS owns the tables"):
            machine.remap(address, 0)
        for change in (machine.withhold, machine.give_back):
            with pytest.raises(Refused, match="secure OS owns the tables"):
                change(address)

    assert one.run(act, steps=500) == Ending(0)
    assert Cause.PAGE_FAULT not in {view.cause for view in machine.host.seen}
