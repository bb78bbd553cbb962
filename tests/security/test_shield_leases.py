"""Root at the lease of a volume (guard_lease.h): its signals, and how it keeps back the guard's, show no old state."""

import contextlib
import errno
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.services.shielded import Shielded
from tests.services.two_families import build, families

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_root, pytest.mark.needs_program("cc")]

HERE = Path(__file__).resolve().parent / "runtime_programs"
ROW = 50  # calls, of which the first few ask the guard


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build(tmp_path_factory.mktemp("lease"))


@pytest.fixture
def place(tmp_path: Path) -> Shielded:
    return Shielded(tmp_path)


@contextlib.contextmanager
def recaller(directory: Path, number: int, *pids: int) -> Iterator[None]:
    target = directory / "recaller"
    subprocess.run(["cc", "-O1", "-Wall", "-o", target, HERE / "recaller.c"], check=True)
    with subprocess.Popen([target, str(number), *map(str, pids)]) as sender:
        try:
            yield
            assert sender.poll() is None
        finally:
            sender.kill()


def test_forged_recalls_are_needless_at_most(place: Shielded, program: str, tmp_path: Path) -> None:
    """Sent all the time, to both families, while they work."""
    last = told = 0
    with families(place, program) as both, recaller(tmp_path, signal.SIGSYS, both.process.pid, both.other()):
        assert both.ask("wait nanosleep").split()[:2] == ["0", "0"], "nobody has a lease yet"
        for _ in range(3):
            told = int(both.ask("race 300"))
            assert told > 0
            assert int(both.ask("answer")) == told
        for turn in range(1, 10):
            last = told + turn * ROW
            assert both.ask(f"tell write {last - ROW + 1} {last}") == str(last)
            assert both.ask("read") == str(last)
        assert both.ask("wait nanosleep").split()[:2] == ["0", "0"]
    content = place.tree()[b"file"]
    assert content is not None
    assert int.from_bytes(content, "little") == last


def test_who_is_ended_by_a_sent_sigsys_has_lost_nothing(place: Shielded, program: str) -> None:
    """Natively it ends the process, too."""
    with families(place, program) as both:
        assert both.ask(f"tell write 1 {ROW}") == str(ROW)
        assert both.ask(f"signal {signal.SIGSYS:d}") == "0"
        assert both.ask("answer") == "gone"
        assert both.read_quickly() == ROW


@contextlib.contextmanager
def freezer(pid: int) -> Iterator[Callable[[str], int]]:
    """Freezes and thaws this process by a control group, of version 2 or 1."""
    first, second = Path("/sys/fs/cgroup/freezer"), Path("/sys/fs/cgroup")
    root, file, thaws, freezes = second, "cgroup.freeze", "0", "1"
    if first.is_dir():
        root, file, thaws, freezes = first, "freezer.state", "THAWED", "FROZEN"
    elif not (second / "cgroup.controllers").exists():
        pytest.skip("no control group can be frozen here")
    group = root / f"cloister-test-{pid}"
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(pid))
        yield lambda order: (group / file).write_text({"freeze": freezes, "thaw": thaws}[order])
    finally:
        (group / file).write_text(thaws)
        (root / "cgroup.procs").write_text(str(pid))
        group.rmdir()


@pytest.mark.long
def test_who_keeps_a_recall_back_shows_nobody_an_old_state(place: Shielded, program: str) -> None:
    """The process that has the lease is frozen: others wait, and then fail; they go on once it does."""
    with families(place, program) as both, freezer(both.other()) as freeze:
        assert both.ask("write 1 1") == "1"
        assert both.ask(f"tell write 2 {ROW}") == str(ROW)
        freeze("freeze")
        begun = time.monotonic()
        assert int(both.ask("read")) == -errno.EIO
        assert time.monotonic() - begun > 20
        freeze("thaw")
        assert both.read_quickly() == ROW
