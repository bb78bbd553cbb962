"""guard_table.c: whatever order the reports of a thread come in, it is live between its first report and its end."""

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.runtime_pieces.pieces_unsafe import pieces

Event = tuple[str, int]  # which report, about which thread
TID_LIMIT = 1 << 22  # PID_MAX_LIMIT of 64-bit kernels

# The new thread is seen before it ends, if at all (a thread killed at once is only reported dead); its creator's report
# comes at any time.
LIVES: list[tuple[str, ...]] = [
    ("seen", "ended", "announced"),
    ("seen", "announced", "ended"),
    ("announced", "seen", "ended"),
]
SHORT_LIVES: list[tuple[str, ...]] = [("ended", "announced"), ("announced", "ended")]


def report(event: Event) -> None:
    name, tid = event
    getattr(pieces(), f"guard_table_{name}")(tid)


def interleavings(lives: list[list[Event]]) -> Iterator[list[Event]]:
    """Every order that keeps each thread's own order."""
    if not any(lives):
        yield []
    for i, life in enumerate(lives):
        if life:
            rest = [other if j != i else life[1:] for j, other in enumerate(lives)]
            for tail in interleavings(rest):
                yield [life[0], *tail]


def is_live(history: list[Event], tid: int) -> bool:
    names = [name for name, about in history if about == tid]
    return bool(names) and "ended" not in names


def check(history: list[Event]) -> None:
    assert not pieces().guard_table_live(), "left over from before"
    for i, event in enumerate(history):
        report(event)
        expected = any(is_live(history[: i + 1], tid) for _, tid in history)
        assert pieces().guard_table_live() == expected, history[: i + 1]
    assert not pieces().guard_table_live()


@pytest.mark.parametrize("first", LIVES + SHORT_LIVES)
@pytest.mark.parametrize("second", LIVES + SHORT_LIVES)
def test_two_threads_in_every_order(first: tuple[str, ...], second: tuple[str, ...]) -> None:
    for history in interleavings([[(name, 100) for name in first], [(name, 163) for name in second]]):
        check(history)


def test_three_threads_in_every_order() -> None:
    for lives in itertools.combinations_with_replacement(LIVES, 3):
        for history in itertools.islice(
            interleavings([[(name, 10 + i) for name in life] for i, life in enumerate(lives)]), 0, None, 7
        ):
            check(history)


@given(st.lists(st.tuples(st.sampled_from(LIVES + SHORT_LIVES), st.integers(1, 5)), max_size=12))
def test_a_thread_id_can_be_used_again(lives: list[tuple[tuple[str, ...], int]]) -> None:
    for names, tid in lives:
        check([(name, tid) for name in names])


@given(st.integers(1, TID_LIMIT - 1))
def test_stops_without_news_change_nothing(tid: int) -> None:
    for name in ("announced", "seen", "seen", "seen"):
        report((name, tid))
        assert pieces().guard_table_live()
    report(("ended", tid))
    assert not pieces().guard_table_live()


def take_new(tid: int) -> bool:
    return bool(pieces().guard_table_take_new(tid) & 0xFF)  # a C bool: the rest of the register says nothing


def set_new(tid: int, *, is_new_runtime: bool) -> None:
    pieces().guard_table_set_new(tid, is_new_runtime)


@given(st.integers(1, TID_LIMIT - 1))
def test_a_new_runtime_gets_the_key_once(tid: int) -> None:
    assert not take_new(tid)
    set_new(tid, is_new_runtime=True)
    assert not take_new(tid ^ 1), "its neighbour does not"
    assert take_new(tid)
    assert not take_new(tid)


@given(st.integers(1, TID_LIMIT - 1))
def test_what_else_is_executed_gets_no_key(tid: int) -> None:
    set_new(tid, is_new_runtime=True)
    set_new(tid, is_new_runtime=False)
    assert not take_new(tid)


@given(st.integers(1, TID_LIMIT - 1))
def test_the_next_thread_of_that_id_gets_no_key(tid: int) -> None:
    report(("seen", tid))
    set_new(tid, is_new_runtime=True)
    report(("ended", tid))
    assert not take_new(tid)
    report(("announced", tid))


@pytest.mark.parametrize("tid", [TID_LIMIT, 2**32 - 1])
def test_impossible_thread_ids_get_no_key(tid: int) -> None:
    set_new(tid, is_new_runtime=True)
    assert not take_new(tid)


@pytest.mark.parametrize("tid", [TID_LIMIT, TID_LIMIT + 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize("name", ["seen", "announced", "ended"])
def test_impossible_thread_ids_are_ignored(name: str, tid: int) -> None:
    report((name, tid))
    assert not pieces().guard_table_live()


def test_a_creator_killed_before_its_report_leaves_no_trace_in_the_count() -> None:
    """Its thread is seen and ends; a later thread of the same id lives as usual once it is seen."""
    for name in ("seen", "ended"):
        report((name, 77))
    assert not pieces().guard_table_live()
    report(("seen", 77))
    assert pieces().guard_table_live()
    report(("announced", 77))
    assert pieces().guard_table_live()
    report(("ended", 77))
    assert not pieces().guard_table_live()
