"""The normal world calls the secure one, by real `smc` instructions, and shares memory with it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.machines.trustzone import BRK, CODE, LOAD, SHAPE, SMC, Application, Bank, bank, code

from cloister.emulate.machine import Ending, Shape
from cloister.emulate.paging import Access, MemoryFault, Stage
from cloister.emulate.trustzone.normal import Why
from cloister.emulate.trustzone.secure_os import SHARED, THREAD, UID
from cloister.emulate.trustzone.smc import CALLS_UID, INVOKE, NOT_SUPPORTED, PSCI_VERSION, SMCCC_VERSION, Result
from cloister.emulate.trustzone.worlds import Scr, World
from cloister.emulate.vendors.keystore import Keystore
from cloister.errors import UsageError
from cloister.measure.image import PAGE, Permission

Banks = Callable[..., Bank]


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    return Keystore(tmp_path_factory.mktemp("keys") / "store")


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Application:
    return bank(tmp_path_factory.mktemp("bank"))


@pytest.fixture
def banks(keystore: Keystore, application: Application) -> Iterator[Banks]:
    made: list[Bank] = []

    def of(*, shape: Shape = SHAPE, **settings: Any) -> Bank:
        made.append(Bank(application, keystore, settings, shape))
        return made[-1]

    yield of
    for one in made:
        one.machine.close()


# ---- the normal world calls


def test_real_code_calls_a_service_of_the_application(banks: Banks) -> None:
    one = banks()
    machine, pay = one.machine, one.application.command("pay")
    worlds: list[World] = []

    def call() -> None:
        worlds.append(machine.monitor.world)
        machine.normal.load(CODE, code(SMC, BRK))
        for amount, left in ((300, 700), (600, 100), (600, -1)):
            ending = machine.normal.run(CODE, INVOKE, pay, amount)
            assert ending.why is Why.FINISHED
            assert ending.registers["x0"] == Result.OK
            assert ending.registers["x1"] == left % (1 << 64)
            assert machine.monitor.world is World.NORMAL

    assert one.run(call, lambda: None) == Ending(0)
    assert one.lines == ["ready", "100", "100"]
    assert worlds == [World.NORMAL]
    assert machine.monitor.world is World.SECURE
    assert not machine.monitor.scr & Scr.NS


@pytest.mark.parametrize(
    ("call", "results"),
    [
        ((SMCCC_VERSION,), (0x10002,)),
        ((PSCI_VERSION,), (0x10001,)),
        ((CALLS_UID,), tuple(int.from_bytes(UID.bytes[at : at + 4], "little") for at in range(0, 16, 4))),
        ((0xBF00_FF02,), (NOT_SUPPORTED,)),
        ((0,), (NOT_SUPPORTED,)),
        ((INVOKE, 99), (Result.ITEM_NOT_FOUND,)),
    ],
)
def test_other_calls(banks: Banks, call: tuple[int, ...], results: tuple[int, ...]) -> None:
    one = banks()

    def ask() -> None:
        one.machine.normal.load(CODE, code(SMC, BRK))
        ending = one.machine.normal.run(CODE, *call)
        assert tuple(ending.registers[f"x{number}"] for number in range(len(results))) == results

    assert one.run(ask) == Ending(0)
    assert one.lines == ["ready", "1000"]


@pytest.mark.parametrize("name", ["crash", "forever", "level"])
def test_a_service_that_fails_is_dead_and_the_rest_lives(banks: Banks, name: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("cloister.emulate.trustzone.secure_os.SLICES", 2)
    one = banks()
    machine, command = one.machine, one.application.command

    def call() -> None:
        machine.normal.load(CODE, code(SMC, BRK))
        assert machine.normal.run(CODE, INVOKE, command(name)).registers["x0"] == Result.TARGET_DEAD
        assert machine.normal.run(CODE, INVOKE, command("pay"), 1).registers["x1"] == 999

    assert one.run(call) == Ending(0)
    assert one.lines == ["ready", "999"]


def test_services_have_no_system_calls(banks: Banks) -> None:
    one = banks()
    machine, ask = one.machine, one.application.command("ask")

    def call() -> None:
        machine.normal.load(CODE, code(SMC, BRK))
        registers = machine.normal.run(CODE, INVOKE, ask).registers
        assert registers["x0"] == Result.OK
        assert registers["x1"] == (1 << 64) - 1  # write() failed

    assert one.run(call) == Ending(0)
    assert one.lines == ["ready", "1000"]


def test_the_normal_world_finds_its_registers_again(banks: Banks) -> None:
    one = banks()
    machine = one.machine
    given = {f"x{number}": 0x1111 * number for number in range(4, 31)} | {"sp": 0x7000, "tpidr_el0": 0x55}

    def call() -> None:
        machine.normal.load(CODE, code(SMC, BRK))
        machine.monitor.set_normal(**given)
        registers = machine.normal.run(CODE, INVOKE, one.application.command("secret")).registers
        assert {name: registers[name] for name in given} == given
        assert registers["x1"] == 7

    assert one.run(call) == Ending(0)


def test_vector_registers_are_each_worlds_own(banks: Banks) -> None:
    """Fmov d20, x6; smc #0; fmov x2, d20: the service `secret` writes D20, and `vector` reads it."""
    one = banks()
    machine, command = one.machine, one.application.command

    def call() -> None:
        machine.normal.load(CODE, code(0x9E67_00D4, SMC, 0x9E66_0282, BRK))
        for name, answer in (("secret", 7), ("vector", 0)):
            machine.monitor.set_normal(x6=0x1234)
            registers = machine.normal.run(CODE, INVOKE, command(name)).registers
            assert (registers["x1"], registers["x2"]) == (answer, 0x1234)

    assert one.run(call) == Ending(0)


def test_one_address_is_two_places_in_two_worlds(banks: Banks) -> None:
    """Translations are each world's own, in the TLB as well."""
    one = banks()
    machine, place = one.machine, one.application.symbols["balance"]

    def call() -> None:
        page = place & ~(PAGE - 1)
        machine.normal.load(page, (4711).to_bytes(8, "little") * (PAGE // 8))
        machine.normal.load(CODE, code(LOAD, BRK, SMC, BRK))
        for left in (999, 998, 997):
            assert machine.normal.run(CODE + 8, INVOKE, one.application.command("pay"), 1).registers["x1"] == left
            assert machine.normal.run(CODE, place).registers["x1"] == 4711
        machine.normal.load(page, (1147).to_bytes(8, "little") * (PAGE // 8))  # another page at the same address
        assert machine.normal.run(CODE, place).registers["x1"] == 1147

    assert one.run(lambda: None, call, lambda: None) == Ending(0)
    assert one.lines == ["ready", "1000", "997", "997"]


def test_code_of_the_normal_world_ends(banks: Banks, monkeypatch: Any) -> None:
    monkeypatch.setattr("cloister.emulate.trustzone.normal.LIMIT", 1000)
    one = banks()
    normal = one.machine.normal

    def try_all() -> None:
        normal.load(CODE, code(BRK, 0, 0x1400_0000, LOAD))
        assert normal.run(CODE).why is Why.FINISHED
        assert normal.run(CODE + 4).why is Why.UNDEFINED
        assert normal.run(CODE + 8).why is Why.LIMIT
        ending = normal.run(CODE + 12, 0x9000)
        assert ending.why is Why.ABORT
        assert "read at 0x9000: not mapped" in ending.abort
        with pytest.raises(UsageError, match="X0 to X7"):
            normal.run(CODE, *range(9))

    assert one.run(try_all) == Ending(0)
    with pytest.raises(UsageError, match="secure world has the processor"):
        normal.run(CODE)


# ---- memory shared between the worlds


def test_a_shared_page_is_the_normal_worlds(banks: Banks) -> None:
    one = banks()
    machine = one.machine

    def call() -> None:
        page = machine.pages.allocate()
        address = machine.share(page)
        assert address == SHARED
        machine.host_write(page, (4242).to_bytes(8, "little").ljust(PAGE, b"\0"))
        machine.normal.load(CODE, code(SMC, BRK))
        registers = machine.normal.run(CODE, INVOKE, one.application.command("fetch"), address).registers
        assert (registers["x0"], registers["x1"]) == (Result.OK, 4242)
        assert machine.share(page) == SHARED + PAGE

    assert one.run(call) == Ending(0)
    machine.launch(one.application.image)  # a reset ends what was shared
    with pytest.raises(MemoryFault):
        machine.translate(SHARED, Access.READ)
    assert machine.share(machine.pages.allocate()) == SHARED


def test_the_secure_world_runs_no_code_of_the_normal_world(banks: Banks) -> None:
    """SCR_EL3.SIF."""
    one = banks()
    one.run()
    address = one.machine.share(one.machine.pages.allocate())
    one.machine.table.allow(address, Permission.READ | Permission.EXECUTE)
    assert one.machine.translate(address, Access.READ).key == 0
    with pytest.raises(MemoryFault, match=r"SCR_EL3\.SIF") as fault:
        one.machine.translate(address, Access.FETCH)
    assert fault.value.stage is Stage.TEE


def test_the_programs_saved_registers_are_not_mapped_for_it(banks: Banks) -> None:
    one = banks()
    one.run()
    for access in Access:
        with pytest.raises(MemoryFault, match="without"):
            one.machine.translate(THREAD, access)
