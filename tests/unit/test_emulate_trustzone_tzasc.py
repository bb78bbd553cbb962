"""TZC-400 and TZPC: regions, filters, masters, what is recorded, and who may touch the registers."""

import functools
from collections.abc import Iterator

import pytest

from cloister.emulate.memory.dram_unsafe import Dram
from cloister.emulate.paging import Refused
from cloister.emulate.trustzone.tzasc import Action, Attribute, FilteredMemory, Master, Register, Tzc400
from cloister.emulate.trustzone.tzpc import DECPROT, Tzpc
from cloister.measure.image import PAGE

PAGES = 64
SECURE = Master(secure=True, nsaid=9)
PROCESSOR = Master(secure=False, nsaid=9)
DISPLAY = Master(secure=False, nsaid=2)
EVERYTHING = Attribute.SECURE_READ | Attribute.SECURE_WRITE


def id_access(*, readers: tuple[int, ...] = (), writers: tuple[int, ...] = ()) -> int:
    return sum(1 << nsaid for nsaid in readers) | sum(1 << (16 + nsaid) for nsaid in writers)


@pytest.fixture
def tzasc() -> Tzc400:
    """Pages 0 to 15 for the processor in the normal world, readable for the display; 16 to 31 secure; the rest none."""
    made = Tzc400(PAGES, filters=2)
    both = id_access(readers=(2, 9), writers=(9,))
    made.configure(1, 0, 16 * PAGE - 1, Attribute.FILTERS, both)
    made.configure(2, 16 * PAGE, 32 * PAGE - 1, Attribute.FILTERS | EVERYTHING)
    made.write(Register.GATE_KEEPER, 3, secure=True)
    return made


@pytest.mark.parametrize(
    ("page", "master", "reads", "writes"),
    [
        (0, PROCESSOR, True, True),
        (15, PROCESSOR, True, True),
        (16, PROCESSOR, False, False),
        (31, PROCESSOR, False, False),
        (32, PROCESSOR, False, False),
        (0, DISPLAY, True, False),
        (16, DISPLAY, False, False),
        (0, SECURE, False, False),  # with the NS bit clear, not even the secure world: it must use the NS attribute
        (16, SECURE, True, True),
        (31, SECURE, True, True),
        (32, SECURE, False, False),
        (PAGES + 5, SECURE, False, False),
    ],
)
def test_who_may_what(tzasc: Tzc400, page: int, master: Master, *, reads: bool, writes: bool) -> None:
    assert tzasc.permits(page, master, write=False) is reads
    assert tzasc.permits(page, master, write=True) is writes


def test_after_reset_nobody_reaches_anything() -> None:
    fresh = Tzc400(PAGES)
    for master in (SECURE, PROCESSOR):
        assert not fresh.permits(0, master, write=False)
    fresh.write(Register.GATE_KEEPER, 1, secure=True)
    assert not fresh.permits(0, SECURE, write=False)
    fresh.configure(0, 0, 0, EVERYTHING)
    assert fresh.permits(0, SECURE, write=False)
    fresh.write(Register.GATE_KEEPER, 0, secure=True)
    assert not fresh.permits(0, SECURE, write=False)


def test_region_0_covers_all_and_keeps_its_range(tzasc: Tzc400) -> None:
    tzasc.configure(0, PAGE, 2 * PAGE - 1, EVERYTHING)
    tzasc.write(Register.REGION_BASE_LOW, PAGE, secure=True)
    assert tzasc.permits(PAGES - 1, SECURE, write=True)
    assert not tzasc.permits(0, SECURE, write=True)  # a higher region is there, and says no
    assert tzasc.read(Register.REGION_BASE_LOW, secure=True) == 0


def test_a_region_is_for_its_filters_only(tzasc: Tzc400) -> None:
    tzasc.configure(3, 40 * PAGE, 41 * PAGE - 1, Attribute(2) | EVERYTHING)
    assert not tzasc.permits(40, SECURE, write=False, filter_unit=0)
    assert tzasc.permits(40, SECURE, write=False, filter_unit=1)


def test_overlapping_regions_are_denied_and_flagged(tzasc: Tzc400) -> None:
    """The rule is for regions 1 and above, on one filter."""
    tzasc.configure(3, 31 * PAGE, 33 * PAGE - 1, Attribute.FILTER_0 | EVERYTHING)
    assert tzasc.permits(31, SECURE, write=False, filter_unit=1)
    assert tzasc.read(Register.INT_STATUS, secure=True) == 0
    assert not tzasc.permits(31, SECURE, write=False)
    assert tzasc.permits(32, SECURE, write=False)
    assert tzasc.read(Register.INT_STATUS, secure=True) == 1 << 16
    tzasc.write(Register.INT_CLEAR, 1, secure=True)
    assert tzasc.read(Register.INT_STATUS, secure=True) == 0


def test_the_first_failure_is_recorded_and_later_ones_are_an_overrun(tzasc: Tzc400) -> None:
    assert not tzasc.access(20, DISPLAY, write=True)
    assert tzasc.read(Register.INT_STATUS, secure=True) == 1
    assert not tzasc.access(17, PROCESSOR, write=False)
    assert tzasc.read(Register.INT_STATUS, secure=True) == 1 << 8 | 1
    assert tzasc.read(Register.FAIL_ADDRESS_LOW, secure=True) == 20 * PAGE
    assert tzasc.read(Register.FAIL_ADDRESS_HIGH, secure=True) == 0
    assert tzasc.read(Register.FAIL_CONTROL, secure=True) == 1 << 24 | 1 << 21 | 1 << 20
    assert tzasc.read(Register.FAIL_ID, secure=True) == 2
    tzasc.write(Register.INT_CLEAR, 1, secure=True)
    assert tzasc.read(Register.FAIL_ADDRESS_LOW, secure=True) == 0
    assert not tzasc.access(17, PROCESSOR, write=False)
    assert tzasc.read(Register.FAIL_ADDRESS_LOW, secure=True) == 17 * PAGE
    assert tzasc.read(Register.FAIL_CONTROL, secure=True) == 1 << 21 | 1 << 20
    # the other filter has registers of its own
    assert tzasc.read(Register.FAIL_ADDRESS_LOW + 0x10, secure=True) == 0
    tzasc.access(3, SECURE, write=False, filter_unit=1)
    assert tzasc.read(Register.FAIL_ADDRESS_LOW + 0x10, secure=True) == 3 * PAGE
    assert tzasc.read(Register.FAIL_CONTROL + 0x10, secure=True) == 1 << 20


@pytest.mark.parametrize("action", [Action.NONE, Action.ERROR, Action.INTERRUPT, Action.ERROR | Action.INTERRUPT])
def test_actions(tzasc: Tzc400, action: Action) -> None:
    tzasc.write(Register.ACTION, int(action), secure=True)
    assert tzasc.access(0, PROCESSOR, write=True)
    assert not tzasc.interrupt
    if action & Action.ERROR:
        with pytest.raises(Refused, match=r"DECERR.*0x10000"):
            tzasc.access(16, PROCESSOR, write=False)
    else:
        assert not tzasc.access(16, PROCESSOR, write=False)
    assert tzasc.interrupt is bool(action & Action.INTERRUPT)
    assert tzasc.read(Register.INT_STATUS, secure=True) == 1


def test_registers_read_back_as_the_manual_says(tzasc: Tzc400) -> None:
    assert tzasc.read(Register.BUILD_CONFIG, secure=True) == 1 << 24 | 31 << 8 | 8
    assert tzasc.read(Register.GATE_KEEPER, secure=True) == 3 << 16 | 3
    second = 2 * 0x20
    assert tzasc.read(Register.REGION_BASE_LOW + second, secure=True) == 16 * PAGE
    assert tzasc.read(Register.REGION_TOP_LOW + second, secure=True) == 32 * PAGE - 1
    assert tzasc.read(Register.REGION_ATTRIBUTES + second, secure=True) == 3 << 30 | 0xF
    assert tzasc.read(Register.REGION_ID_ACCESS + 0x20, secure=True) == 1 << 25 | 1 << 9 | 1 << 2
    tzasc.configure(4, (5 << 32) + 0x1234, (6 << 32) + 0x1234, Attribute(0))
    fourth = 4 * 0x20
    assert tzasc.read(Register.REGION_BASE_LOW + fourth, secure=True) == 0x1000
    assert tzasc.read(Register.REGION_BASE_HIGH + fourth, secure=True) == 5
    assert tzasc.read(Register.REGION_TOP_LOW + fourth, secure=True) == 0x1FFF
    assert tzasc.read(Register.REGION_TOP_HIGH + fourth, secure=True) == 6
    tzasc.write(Register.BUILD_CONFIG, 0, secure=True)
    assert tzasc.read(Register.BUILD_CONFIG, secure=True) != 0
    assert tzasc.read(Register.REGION_BASE_LOW + 9 * 0x20, secure=True) == 0


@pytest.mark.parametrize("register", list(Register))
def test_registers_are_for_the_secure_world(tzasc: Tzc400, register: Register) -> None:
    before = tzasc.read(register, secure=True)
    with pytest.raises(Refused, match="secure accesses only"):
        tzasc.read(register, secure=False)
    with pytest.raises(Refused, match="secure accesses only"):
        tzasc.write(register, 0xFFFF_FFFF, secure=False)
    assert tzasc.read(register, secure=True) == before


@pytest.mark.parametrize("filters", [0, 5])
def test_a_controller_has_one_to_four_filters(filters: int) -> None:
    with pytest.raises(ValueError, match="1 to 4"):
        Tzc400(PAGES, filters=filters)


# ---- memory behind it


@pytest.fixture
def dram() -> Iterator[Dram]:
    with Dram(PAGES) as made:
        yield made


def test_denied_reads_are_zeros_and_denied_writes_are_dropped(tzasc: Tzc400, dram: Dram) -> None:
    secure, normal = (FilteredMemory(dram, tzasc, master) for master in (SECURE, PROCESSOR))
    secret = b"secret".ljust(PAGE, b"s")
    secure.seal(20, secret)
    found = bytearray(b"x" * PAGE)
    normal.open(20, memoryview(found))
    assert found == bytes(PAGE)
    normal.seal(20, b"n" * PAGE)
    secure.open(20, memoryview(found))
    assert found == secret
    assert bytes(dram.page(20)) == secret  # nothing is encrypted


# ---- peripherals


@pytest.fixture
def tzpc() -> Tzpc:
    return Tzpc({f"device {number}": functools.partial(bytes, [number]) for number in range(10)})


def test_peripherals_are_secure_until_they_are_given_away(tzpc: Tzpc) -> None:
    for name in ("device 1", "device 9"):
        with pytest.raises(Refused, match="secure peripheral"):
            tzpc.read(name, secure=False)
        assert tzpc.read(name, secure=True) == bytes([int(name[-1])])
    tzpc.open_to_normal("device 9")
    assert tzpc.read("device 9", secure=False) == b"\x09"
    assert tzpc.read_register(DECPROT + 12, secure=True) == 1 << 1
    tzpc.write_register(DECPROT + 12 + 8, 1 << 1, secure=True)
    with pytest.raises(Refused):
        tzpc.read("device 9", secure=False)
    with pytest.raises(Refused):
        tzpc.read("device 1", secure=False)
    with pytest.raises(KeyError):
        tzpc.read("no such", secure=True)


def test_the_normal_world_cannot_give_itself_a_peripheral(tzpc: Tzpc) -> None:
    with pytest.raises(Refused, match="secure accesses only"):
        tzpc.write_register(DECPROT + 4, 0xFF, secure=False)
    with pytest.raises(Refused, match="secure accesses only"):
        tzpc.read_register(DECPROT, secure=False)
    assert tzpc.read_register(DECPROT, secure=True) == 0
    assert tzpc.read_register(DECPROT + 4, secure=True) == 0


def test_there_are_only_so_many_bits() -> None:
    with pytest.raises(ValueError, match="24 bits"):
        Tzpc({str(number): bytes for number in range(25)})
