"""extents.c against a list of extents; idle.c against what it promises in its header."""

import ctypes
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.runtime_pieces.pieces_unsafe import Extent, Moment, pieces

SLOT, BASE, GROUP = 128 << 10, 0x7000_0000_0000, 4096
MIB = 1 << 20
PLACES = [0, 1, 2, 5, 63, 64, 100, GROUP - 2, GROUP, GROUP + 1, 3 * GROUP, 90 * GROUP + 7]  # slots, far apart and near

extents = st.lists(
    st.tuples(st.sampled_from(PLACES), st.integers(1, 64), st.booleans(), st.booleans()), max_size=12
)  # first slot, slots, idle, dropped again


def record(first: int, count: int) -> Extent:
    return Extent(BASE + first * SLOT, BASE + (first + count) * SLOT)


def pair(extent: Extent) -> tuple[int, int]:
    return (extent.start - BASE) // SLOT, (extent.end - BASE) // SLOT


def put(wanted: list[tuple[int, int, bool, bool]]) -> dict[tuple[int, int], bool]:
    """The extents that fit, with whether they are idle."""
    there: dict[tuple[int, int], bool] = {}
    for first, count, idle, dropped in wanted:
        if any(first < past and start < first + count for start, past in there):
            continue
        extent = record(first, count)
        pieces().extents_put(extent)
        pieces().extents_set_idle(extent, idle)
        if dropped:
            pieces().extents_drop(extent)
        else:
            there[first, first + count] = idle
    return there


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    clear()


def clear() -> None:
    found = Extent()
    while pieces().extents_next(BASE, found):
        pieces().extents_drop(found)
    assert pieces().extents_bytes() == 0
    assert not pieces().extents_highest_idle(found)


@given(extents, st.integers(0, 91 * GROUP), st.integers(0, SLOT - 1))
def test_questions_are_answered_from_the_list(wanted: list[tuple[int, int, bool, bool]], slot: int, rest: int) -> None:
    there = put(wanted)
    found = Extent()
    for asked in [slot, *PLACES, *(past - 1 for _, past in there), *(past for _, past in there)]:
        address = BASE + asked * SLOT + rest
        holding = [each for each in there if each[0] <= asked < each[1]]
        assert pieces().extents_find(address, found) == bool(holding)
        assert not holding or pair(found) == holding[0]
        following = sorted(each for each in there if each[1] > asked)
        assert pieces().extents_next(address, found) == bool(following)
        assert not following or pair(found) == following[0]
    assert pieces().extents_bytes() == sum(past - first for first, past in there) * SLOT
    idle = [each for each, is_idle in there.items() if is_idle]
    assert pieces().extents_highest_idle(found) == bool(idle)
    assert not idle or pair(found) == max(idle)
    clear()


def test_dropped_again_means_within_two_seconds() -> None:
    extent = record(PLACES[-1], 1)
    pieces().extents_put(extent)
    answers = [pieces().extents_dropped_again(extent, second) for second in (100, 100, 102, 105, 106, 112, 127)]
    assert answers == [False, True, True, False, True, False, False]
    pieces().extents_set_idle(extent, 1)
    assert pieces().extents_dropped_again(extent, 128)
    assert pieces().extents_is_idle(extent)


class Idle:
    """A program that idle.c watches. Each begins an hour after the one before, with nothing idle and no allowance."""

    hour = 0

    def __init__(self) -> None:
        Idle.hour += 1
        self.now = Idle.hour * 3_600_000
        pieces().idle_remove(pieces().idle_bytes())
        for period in range(3):
            pieces().idle_add(1024 * MIB)
            pieces().idle_review(self.now + period * 2_000)
            pieces().idle_review(self.now + period * 2_000 + 2_000)
            if period == 1:
                pieces().idle_remove(pieces().idle_bytes())
        pieces().idle_remove(pieces().idle_bytes())
        self.now += 20_000

    def give_and_take(self, given: int, later: int, taken: int, *, busy: int | None = None, times: int = 2) -> None:
        for _ in range(times):
            self.give_and_take_once(given, later, taken, busy)

    def give_and_take_once(self, given: int, later: int, taken: int, busy: int | None) -> None:
        pieces().idle_gave_back(given, Moment(self.now, self.now))
        processor = self.now + (later if busy is None else busy)
        self.now += later
        pieces().idle_took_new(taken, Moment(self.now, processor))


@pytest.mark.parametrize(("used", "kept"), [(0, 0), (12, 3), (32, 8), (160, 18), (1600, 108)])
def test_a_part_of_what_is_used_may_stay(used: int, kept: int) -> None:
    Idle()
    assert pieces().idle_limit(used * MIB) == kept * MIB


def test_once_is_no_habit() -> None:
    program = Idle()
    program.give_and_take(100 * MIB, 10, 30 * MIB, times=1)
    assert pieces().idle_limit(0) == 0


def test_what_was_given_back_in_vain_twice_is_kept_the_next_time() -> None:
    program = Idle()
    program.give_and_take(100 * MIB, 10, 30 * MIB)
    assert pieces().idle_limit(0) == 30 * MIB
    program.give_and_take(100 * MIB, 10, 20 * MIB, times=1)
    assert pieces().idle_limit(0) == 50 * MIB, "as much more as was asked for this time"
    program.give_and_take(100 * MIB, 10, 90 * MIB, times=1)
    assert pieces().idle_limit(0) == 70 * MIB, "but no more than the time before"


@pytest.mark.parametrize(("later", "busy"), [(650, 650), (2600, 0)], ids=["worked meanwhile", "slept meanwhile"])
def test_what_is_needed_later_was_not_given_back_in_vain(later: int, busy: int) -> None:
    program = Idle()
    program.give_and_take(100 * MIB, later, 100 * MIB, busy=busy)
    assert pieces().idle_limit(0) == 0


def test_on_a_busy_machine_soon_takes_longer() -> None:
    program = Idle()
    program.give_and_take(100 * MIB, 2599, 100 * MIB, busy=649)
    assert pieces().idle_limit(0) == 100 * MIB


def test_no_program_keeps_more_than_half_a_gibibyte() -> None:
    program = Idle()
    for _ in range(4):
        program.give_and_take(400 * MIB, 1, 400 * MIB)
    assert pieces().idle_limit(0) == 512 * MIB


def test_the_allowance_wears_off_where_it_is_not_used() -> None:
    program = Idle()
    program.give_and_take(100 * MIB, 10, 100 * MIB)
    pieces().idle_add(100 * MIB)
    pieces().idle_review(program.now)
    pieces().idle_remove(40 * MIB)
    pieces().idle_add(40 * MIB)
    pieces().idle_review(program.now + 2_000)
    assert pieces().idle_limit(0) == 40 * MIB, "60 of 100 MiB were idle all the time"


def test_the_allowance_stays_where_it_is_used() -> None:
    program = Idle()
    program.give_and_take(100 * MIB, 10, 100 * MIB)
    for _ in range(5):
        pieces().idle_add(100 * MIB)
        program.now += 2_000
        pieces().idle_review(program.now)
        pieces().idle_remove(100 * MIB)
    assert pieces().idle_limit(0) == 100 * MIB


def test_sizes_are_those_of_the_header() -> None:
    assert ctypes.sizeof(Extent) == 16
