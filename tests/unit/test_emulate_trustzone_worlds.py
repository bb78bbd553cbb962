"""Function identifiers, the monitor's contexts, and the thread that the secure OS keeps."""

from collections.abc import Iterator

import pytest

from cloister.emulate.engine_unsafe import Engine
from cloister.emulate.frames_unsafe import FramePool
from cloister.emulate.paging import Access
from cloister.emulate.trustzone.secure_os import GATE, ThreadContext
from cloister.emulate.trustzone.smc import (
    CALLS_UID,
    INVOKE,
    NOT_SUPPORTED,
    PSCI_VERSION,
    SMCCC_VERSION,
    FunctionId,
    Owner,
)
from cloister.emulate.trustzone.worlds import ExceptionLevel, Monitor, Scr, World
from cloister.measure.image import HIGHEST, PAGE, Architecture


@pytest.fixture
def engine() -> Iterator[Engine]:
    frames = FramePool(8)

    def fill(address: int, _access: Access) -> tuple[int, int]:
        return address >> 12 & 7, 7

    made = Engine(Architecture.ARM64, frames, fill)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (SMCCC_VERSION, (True, False, Owner.ARM, 0)),
        (PSCI_VERSION, (True, False, Owner.STANDARD, 0)),
        (0xC400_0003, (True, True, Owner.STANDARD, 3)),  # PSCI CPU_ON, SMC64
        (CALLS_UID, (True, False, 63, 0xFF01)),
        (0x3200_0004, (False, False, Owner.TRUSTED_OS, 4)),  # OPTEE_SMC_CALL_WITH_ARG
        (INVOKE, (False, True, Owner.TRUSTED_OS, 0x100)),
    ],
)
def test_function_identifiers(value: int, parts: tuple[bool, bool, int, int]) -> None:
    assert FunctionId.of(value) == parts
    assert int(FunctionId.of(value)) == value


def world_of(monitor: Monitor) -> World:
    """Asked anew each time, which a type checker would not."""
    return monitor.world


def test_the_monitor_keeps_two_worlds_apart(engine: Engine) -> None:
    monitor = Monitor(engine)
    assert world_of(monitor) is World.SECURE
    names = engine.names
    monitor.set_normal(x5=5, x9=9, pc=0x4000, sp=0x5000)
    secret = list(range(1000, 1000 + len(names)))
    seen = monitor.to_normal(secret, (1, 2, 3, 4))
    assert world_of(monitor) is World.NORMAL
    assert monitor.scr & Scr.NS
    expected = dict.fromkeys(names, 0) | {"x5": 5, "x9": 9, "pc": 0x4000, "sp": 0x5000}
    assert seen == expected | {"x0": 1, "x1": 2, "x2": 3, "x3": 4}
    monitor.to_secure()
    assert world_of(monitor) is World.SECURE
    assert monitor.switches == 2


def test_a_careless_monitor_hands_over_all_but_two(engine: Engine) -> None:
    monitor = Monitor(engine, scrubs=False)
    monitor.set_normal(pc=0x4000, sp=0x5000)
    secret = dict(zip(engine.names, range(1000, 1000 + len(engine.names)), strict=True))
    seen = monitor.to_normal(list(secret.values()), (1,))
    assert seen == secret | {"x0": 1, "pc": 0x4000, "sp": 0x5000}
    assert monitor.to_normal(None, (2,)) == dict(seen) | {"x0": 2}


def test_calls_are_routed_by_owner(engine: Engine) -> None:
    monitor = Monitor(engine)
    assert monitor.own_call([SMCCC_VERSION]) == (0x10002,)
    assert monitor.own_call([PSCI_VERSION | 0xFFFF_FFFF << 32]) == (0x10001,)  # the upper half is ignored
    assert monitor.own_call([0x8400_00FF]) == (NOT_SUPPORTED,)
    assert monitor.own_call([0xB000_0000]) == (NOT_SUPPORTED,)  # trusted applications are not called directly
    assert monitor.own_call([INVOKE]) is None
    assert monitor.own_call([CALLS_UID]) is None


def test_wiping_a_monitor_leaves_nothing(engine: Engine) -> None:
    monitor = Monitor(engine)
    engine.write("x7", 0x5EC2E7)
    monitor.store_normal()
    assert monitor.normal["x7"] == 0x5EC2E7
    monitor.wipe()
    assert set(monitor.normal.values()) == {0}
    monitor.load_normal()
    assert engine.read("x7") == 0


def test_exception_levels_of_the_engine(engine: Engine) -> None:
    """CurrentEL is not for EL0 (exception 1), and says 1 << 2 at EL1."""
    engine._uc.mem_write(0x1_0000_2000, bytes.fromhex("414238d5 200020d4"))  # mrs x1, CurrentEL; brk #1
    for level, exception in ((ExceptionLevel.EL0, 1), (ExceptionLevel.EL1, 7)):
        engine.set_exception_level(level)
        engine.program_counter = 0x2000
        assert engine.run().number == exception
    assert engine.read("x1") == 1 << 2


def test_a_thread_is_kept_in_its_page() -> None:
    page = bytearray(PAGE)
    asked: list[bool] = []

    def frame(*, write: bool) -> memoryview:
        asked.append(write)
        return memoryview(page)

    thread = ThreadContext(["x0", "x1", "pc"], frame)
    thread.save([1, (1 << 64) - 1, 0x400000])
    assert thread.load() == [1, (1 << 64) - 1, 0x400000]
    assert asked == [True, False]
    assert thread.offset("pc") == 16
    page[16:24] = (0xDEAD).to_bytes(8, "little")
    assert thread.load()[2] == 0xDEAD


def test_the_secure_os_stays_out_of_the_programs_way() -> None:
    assert GATE >= HIGHEST
