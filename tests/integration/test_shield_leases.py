"""The lease of a volume (guard_lease.h): one family works as if alone, and others see what it did all the same."""

import os
import signal
import time
from pathlib import Path

import pytest
from tests.services.shielded import Shielded
from tests.services.two_families import Families, build, families

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_program("cc")]

ROW = 50  # calls, of which the first few ask the guard


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build(tmp_path_factory.mktemp("lease"))


@pytest.fixture
def place(tmp_path: Path) -> Shielded:
    return Shielded(tmp_path)


def number_in(place: Shielded) -> int:
    content = place.tree()[b"file"]
    assert content is not None
    return int.from_bytes(content, "little")


def test_what_one_wrote_the_other_reads_at_once(place: Shielded, program: str) -> None:
    """In turn, after rows of changes that nobody was told of."""
    last = 0
    with families(place, program) as both:
        for turn in range(1, 30):
            last = turn * ROW
            assert both.ask(f"{'tell ' * (turn % 2)}write {last - ROW + 1} {last}") == str(last)
            assert both.ask(f"{'tell ' * (1 - turn % 2)}read") == str(last)
            assert both.ask(f"{'tell ' * (turn % 2)}read") == str(last)
    assert number_in(place) == last


def test_nobody_reads_anything_old_while_the_other_writes(place: Shielded, program: str) -> None:
    with families(place, program) as both:
        assert int(both.ask("race 400")) > 0
        assert int(both.ask("answer")) > 0


@pytest.mark.parametrize("kind", ["poll", "select", "epoll"])
def test_who_waits_gives_it_back_and_waits_on(place: Shielded, program: str, kind: str) -> None:
    """The program has no handler of a signal, so its calls are not interrupted."""
    with families(place, program) as both:
        assert both.ask(f"tell write 1 {ROW}") == str(ROW)
        assert both.ask(f"post wait {kind}") == "0"
        time.sleep(0.2)
        assert both.read_quickly() == ROW
        assert both.ask("post read") == "0"
        result, error, _ = both.ask("answer").split()
        assert (result, error) == ("1", "0")
        assert both.ask("answer") == str(ROW)


@pytest.mark.parametrize(
    ("kind", "ends"), [("nanosleep", "0 0"), ("registers", "0 0"), ("timedpoll", "0 0"), ("semaphore", "-1 110")]
)
def test_who_waits_for_a_time_waits_as_long_as_it_wanted(place: Shielded, program: str, kind: str, ends: str) -> None:
    """1200 ms: what is left of them, not all once more; no call says EINTR, and registers are as they were."""
    with families(place, program) as both:
        assert both.ask(f"tell write 1 {ROW}") == str(ROW)
        assert both.ask(f"post wait {kind}") == "0"
        time.sleep(0.9)
        assert both.read_quickly() == ROW
        result, _, taken = both.ask("answer").rpartition(" ")
        assert result == ends
        assert 1190 <= int(taken) < 1900


def test_a_thread_that_had_it_has_ended(place: Shielded, program: str) -> None:
    with families(place, program) as both:
        assert both.ask(f"tell thread 1 {ROW}") == str(ROW)
        assert both.read_quickly() == ROW


@pytest.mark.parametrize("how", ["SIGTERM", "SIGPIPE", "SIGINT", "SIGUSR1", "SIGRTMIN"])
def test_a_signal_that_ends_who_had_it_loses_nothing(place: Shielded, program: str, how: str) -> None:
    """As natively: what write(2) has taken is there, whatever becomes of the writer."""
    with families(place, program) as both:
        assert both.ask(f"tell write 1 {ROW}") == str(ROW)
        assert both.ask(f"signal {signal.Signals[how]:d}") == "0"
        assert both.ask("answer") == "gone"
        assert both.read_quickly() == ROW
    assert number_in(place) == ROW


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_that_ends_the_whole_program_loses_nothing(place: Shielded, program: str, how: str) -> None:
    """Nobody else is there, and nobody synced."""
    with place.start([program, "/data/file"]) as process:
        assert Families(process=process).ask(f"write 1 {ROW}") == str(ROW)
        process.send_signal(signal.Signals[how])
        assert process.wait(60) == -signal.Signals[how]
    assert number_in(place) == ROW


def test_who_has_it_is_stopped_and_goes_on(place: Shielded, program: str) -> None:
    """As by the terminal's Ctrl-Z: others must not wait for it."""
    with families(place, program) as both:
        assert both.ask(f"tell write 1 {ROW}") == str(ROW)
        assert both.ask(f"signal {signal.SIGSTOP:d}") == "0"
        time.sleep(0.2)
        assert both.read_quickly() == ROW
        assert both.ask(f"write {ROW + 1} {2 * ROW}") == str(2 * ROW)
        assert both.ask(f"signal {signal.SIGCONT:d}") == "0"
        assert both.ask("tell read") == str(2 * ROW)


def test_who_is_stopped_and_continued_at_once_goes_on(place: Shielded, program: str) -> None:
    with families(place, program) as both:
        for turn in range(1, 21):
            assert both.ask(f"tell write 1 {ROW}") == str(ROW)
            other = both.other()
            os.kill(other, signal.SIGSTOP)
            time.sleep(turn * 2e-5)
            os.kill(other, signal.SIGCONT)
            assert both.ask(f"tell write 1 {ROW + turn}") == str(ROW + turn)
            assert both.read_quickly() == ROW + turn


@pytest.mark.parametrize("way", ["end", "killed"])
def test_who_had_it_is_gone(place: Shielded, program: str, way: str) -> None:
    """Who exits has told all. Who is killed loses what was not synced; nobody else does, and the volume is whole."""
    with families(place, program) as both:
        assert both.ask(f"tell write 1 {ROW}") == str(ROW)
        assert both.ask("tell sync") == "0"
        assert both.ask(f"tell write {ROW + 1} {2 * ROW}") == str(2 * ROW)
        if way == "end":
            assert both.ask("tell end 0") == "gone"
        else:
            assert both.ask(f"signal {signal.SIGKILL:d}") == "0"
        there = both.read_quickly()
        assert there == 2 * ROW if way == "end" else ROW <= there <= 2 * ROW
        assert both.ask("sync") == "0"
        assert both.ask(f"write 1 {3 * ROW}") == str(3 * ROW)
        assert both.ask("sync") == "0"
    assert number_in(place) == 3 * ROW


def test_it_has_one_at_all(place: Shielded, program: str) -> None:
    """Who is killed loses something that it had written, in one of ten times at least: else the rest shows nothing."""
    for _ in range(10):
        with families(place, program) as both:
            assert both.ask(f"tell write 1 {ROW}") == str(ROW)
            assert both.ask("tell sync") == "0"
            assert both.ask(f"tell write {ROW + 1} {2 * ROW}") == str(2 * ROW)
            assert both.ask(f"signal {signal.SIGKILL:d}") == "0"
            if both.read_quickly() == ROW:
                return
    raise AssertionError("nobody ever lost anything, so nobody had a lease")
