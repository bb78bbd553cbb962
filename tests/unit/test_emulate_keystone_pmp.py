"""Physical memory protection as the Privileged Architecture has it, and Keystone's books of regions."""

import pytest

from cloister.emulate.keystone.pmp import Config, Mode, Pmp
from cloister.emulate.keystone.regions import (
    ALL_MEMORY,
    ALL_PERMISSIONS,
    NO_PERMISSION,
    Priority,
    RegionRefused,
    Regions,
)
from cloister.emulate.keystone.sbi import Code
from cloister.emulate.paging import Access
from cloister.measure.image import PAGE, Permission

BASE = 0x8000_0000
READ, WRITE, FETCH = Access.READ, Access.WRITE, Access.FETCH
RWX = Config.READ | Config.WRITE | Config.EXECUTE


def pmp(*entries: tuple[int, int]) -> Pmp:
    """(configuration, address register) of the first entries."""
    made = Pmp()
    for number, (config, address) in enumerate(entries):
        made.write_address(number, address)
        made.write_config(number, config)
    return made


def edges(unit: Pmp, start: int, end: int) -> list[bool]:
    """Whether the bytes before, at both ends of, and behind a range may be read."""
    return [unit.check(at, 1, READ).allowed for at in (start - 1, start, end - 1, end)]


def napot(start: int, size: int) -> int:
    return (start | (size // 2 - 1)) >> 2


# ---- what entries cover


def test_after_reset_only_machine_mode_reaches_anything() -> None:
    unit = Pmp()
    assert [unit.check(BASE, 4, READ, mode).allowed for mode in Mode] == [False, False, True]
    assert "no PMP entry matches" in unit.check(BASE, 4, READ).fault(READ)


@pytest.mark.parametrize("size", [8, 16, PAGE, 2 << 20, 1 << 30])
def test_a_power_of_two(size: int) -> None:
    assert edges(pmp((Config.NAPOT | RWX, napot(BASE, size))), BASE, BASE + size) == [False, True, True, False]


def test_four_bytes() -> None:
    assert edges(pmp((Config.NA4 | RWX, BASE >> 2)), BASE, BASE + 4) == [False, True, True, False]


def test_all_ones_is_all_of_memory() -> None:
    unit = pmp((Config.NAPOT | RWX, (1 << 64) - 1))
    assert unit.address(0) == (1 << 54) - 1
    assert unit.check(0, 8, WRITE).allowed
    assert unit.check((1 << 56) - 8, 8, WRITE).allowed


def test_top_of_range_begins_at_the_entry_before() -> None:
    unit = pmp((0, BASE >> 2), (Config.TOR | RWX, (BASE + 3 * PAGE) >> 2))
    assert edges(unit, BASE, BASE + 3 * PAGE) == [False, True, True, False]


def test_top_of_range_in_the_first_entry_begins_at_zero() -> None:
    unit = pmp((Config.TOR | RWX, BASE >> 2))
    assert unit.check(0, 1, READ).allowed
    assert not unit.check(BASE, 1, READ).allowed


def test_an_empty_range_matches_nothing() -> None:
    unit = pmp((0, BASE >> 2), (Config.TOR | RWX, BASE >> 2), (Config.TOR | RWX, (BASE - PAGE) >> 2))
    assert unit.check(BASE, 1, READ).entry is None
    assert unit.check(BASE - 1, 1, READ).entry is None


# ---- who decides


@pytest.mark.parametrize(
    ("config", "allowed"),
    [(0, []), (1, [READ]), (3, [READ, WRITE]), (4, [FETCH]), (5, [READ, FETCH]), (7, [READ, WRITE, FETCH])],
)
def test_permissions(config: int, allowed: list[Access]) -> None:
    unit = pmp((Config.NAPOT | config, napot(BASE, PAGE)))
    assert [access for access in Access if unit.check(BASE, 8, access).allowed] == allowed
    assert unit.allowed(BASE, PAGE) == Permission(config)


def test_the_lowest_entry_that_matches_decides() -> None:
    small, large = napot(BASE, PAGE), napot(BASE, 1 << 20)
    closed = pmp((Config.NAPOT, small), (Config.NAPOT | RWX, large))
    opened = pmp((Config.NAPOT | RWX, large), (Config.NAPOT, small))
    assert closed.check(BASE, 8, READ) == (False, 0)
    assert closed.check(BASE + PAGE, 8, READ) == (True, 1)
    assert opened.check(BASE, 8, READ) == (True, 0)


def test_an_access_that_matches_in_part_fails_even_with_permission() -> None:
    unit = pmp((Config.NAPOT | RWX, napot(BASE, 8)), (Config.NAPOT | RWX, (1 << 54) - 1))
    assert unit.check(BASE, 8, READ).allowed
    for mode in Mode:
        assert unit.check(BASE + 4, 8, READ, mode) == (False, 0)
    assert unit.allowed(BASE + 4, 8) is Permission.NONE


def test_faults_are_named_as_the_architecture_names_them() -> None:
    unit = pmp((Config.NAPOT, napot(BASE, PAGE)))
    words = {access: unit.check(BASE, 8, access).fault(access) for access in Access}
    assert words == {
        READ: "load access fault (cause 5): PMP entry 0 denies",
        WRITE: "store access fault (cause 7): PMP entry 0 denies",
        FETCH: "instruction access fault (cause 1): PMP entry 0 denies",
    }


# ---- locks


def test_only_locked_entries_bind_machine_mode() -> None:
    open_to_machine, locked = (
        pmp((Config.NAPOT, napot(BASE, PAGE))),
        pmp((Config.NAPOT | Config.LOCK, napot(BASE, PAGE))),
    )
    assert open_to_machine.check(BASE, 8, WRITE, Mode.MACHINE).allowed
    assert not locked.check(BASE, 8, WRITE, Mode.MACHINE).allowed


def test_a_locked_entry_stays_until_reset() -> None:
    unit = pmp((Config.NAPOT | Config.LOCK, napot(BASE, PAGE)))
    unit.write_config(0, Config.NAPOT | RWX)
    unit.write_address(0, 0)
    assert not unit.check(BASE, 8, READ).allowed
    unit.reset()
    assert (unit.config(0), unit.address(0)) == (0, 0)


def test_a_locked_range_locks_its_lower_end_too() -> None:
    unit = pmp((0, BASE >> 2), (Config.TOR | Config.LOCK | RWX, (BASE + PAGE) >> 2))
    unit.write_address(0, 0)
    assert unit.address(0) == BASE >> 2
    free = pmp((0, BASE >> 2), (Config.NAPOT | Config.LOCK | RWX, napot(BASE, PAGE)))
    free.write_address(0, 0)
    assert free.address(0) == 0


def test_writing_without_reading_is_reserved() -> None:
    unit = pmp((Config.NAPOT | Config.READ, napot(BASE, PAGE)))
    unit.write_config(0, Config.NAPOT | Config.WRITE)
    assert unit.config(0) == Config.NAPOT | Config.READ
    unit.write_config(0, 0x7F)
    assert unit.config(0) == 0x1F


# ---- the monitor's regions


def test_a_region_is_one_entry_or_two() -> None:
    unit, other = Pmp(), Pmp()
    regions = Regions([unit, other])
    aligned = regions.define(BASE, 4 * PAGE, Priority.ANY)
    odd = regions.define(BASE + 4 * PAGE, 3 * PAGE, Priority.ANY)
    assert (aligned.registers, odd.registers) == ((1,), (2, 3))
    regions.set_everywhere(aligned, ALL_PERMISSIONS)
    regions.set(unit, odd, ALL_PERMISSIONS)
    assert edges(unit, BASE, BASE + 7 * PAGE) == [False, True, True, False]
    assert edges(other, BASE, BASE + 4 * PAGE) == [False, True, True, False]
    regions.unset_everywhere(aligned)
    regions.unset_everywhere(odd)
    assert {unit.config(entry) for entry in range(16)} == {0}


def test_registers_come_back() -> None:
    regions = Regions([Pmp()])
    first = regions.define(BASE, 3 * PAGE, Priority.ANY)
    regions.define(BASE + (8 * PAGE), PAGE, Priority.ANY)
    regions.free(first)
    assert regions.define(BASE, PAGE, Priority.ANY).registers == (1,)
    assert regions.define(BASE + PAGE, 3 * PAGE, Priority.ANY).registers == (4, 5)


def refused(regions: Regions, start: int, size: int, priority: Priority = Priority.ANY) -> Code:
    with pytest.raises(RegionRefused) as caught:
        regions.define(start, size, priority)
    return caught.value.code


def test_regions_that_cannot_be() -> None:
    regions = Regions([Pmp()])
    regions.define(BASE, 4 * PAGE, Priority.ANY)
    regions.define(0, ALL_MEMORY, Priority.BOTTOM, overlapped=True)
    assert refused(regions, BASE + (1 << 30), 0) is Code.PMP_REGION_SIZE_INVALID
    assert refused(regions, BASE + 3 * PAGE, PAGE) is Code.PMP_REGION_OVERLAP
    assert refused(regions, BASE - PAGE, 2 * PAGE) is Code.PMP_REGION_OVERLAP
    assert refused(regions, (1 << 64) - PAGE, 2 * PAGE) is Code.PMP_REGION_OVERLAP
    assert refused(regions, BASE + (1 << 30), 100) is Code.PMP_REGION_NOT_PAGE_GRANULARITY
    assert refused(regions, BASE + (1 << 30) + 8, PAGE) is Code.PMP_REGION_NOT_PAGE_GRANULARITY
    assert refused(regions, BASE + (1 << 30), 3 * PAGE, Priority.BOTTOM) is Code.PMP_REGION_IMPOSSIBLE_TOR


def test_there_are_fourteen_entries_for_enclaves() -> None:
    regions = Regions([Pmp()])
    regions.define(BASE, PAGE, Priority.TOP)
    assert refused(regions, BASE + PAGE, PAGE, Priority.TOP) is Code.PMP_REGION_MAX_REACHED
    for number in range(1, 8):
        assert regions.define(BASE + 8 * number * PAGE, 3 * PAGE, Priority.ANY).register == 2 * number
    assert refused(regions, BASE + 100 * PAGE, PAGE) is Code.PMP_REGION_MAX_REACHED


def test_there_are_sixteen_regions() -> None:
    regions = Regions([Pmp(64)])
    for number in range(16):
        regions.define(BASE + 2 * number * PAGE, PAGE, Priority.ANY)
    assert refused(regions, BASE + 100 * PAGE, PAGE) is Code.PMP_REGION_MAX_REACHED


def test_the_bottom_entry_is_shared() -> None:
    unit = Pmp()
    regions = Regions([unit])
    everything = regions.define(0, ALL_MEMORY, Priority.BOTTOM, overlapped=True)
    buffer = regions.define(BASE, 8 * PAGE, Priority.BOTTOM)
    regions.set(unit, everything, NO_PERMISSION)
    regions.set(unit, buffer, ALL_PERMISSIONS)
    assert edges(unit, BASE, BASE + 8 * PAGE) == [False, True, True, False]
    regions.set(unit, everything, ALL_PERMISSIONS)
    assert edges(unit, BASE, BASE + 8 * PAGE) == [True, True, True, True]
