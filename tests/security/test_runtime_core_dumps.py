"""No core file: not by any signal, not with unlimited core size, not after root has raised the limit from outside."""

import contextlib
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.security import attacks_unsafe as attacks
from tests.security.victims import build, victim

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_root]

FATAL = ["SIGSEGV", "SIGABRT", "SIGQUIT", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGXCPU", "SIGXFSZ", "SIGSYS"]
"""Every signal whose default action is a core dump: signal(7)."""
NOBODY = 65534


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("victim"))


@pytest.fixture
def cores(tmp_path: Path) -> Iterator[Path]:
    """A working directory in which a core file would land."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if pattern.startswith("|") or "/" in pattern:
        pytest.skip(f"core files go elsewhere on this machine: core_pattern is {pattern}")
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    if most == 0:
        pytest.skip("the hard limit forbids core files on this machine")
    tmp_path.chmod(0o777)
    yield tmp_path
    for path in tmp_path.glob("core*"):
        path.unlink()


def unlimited() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))


def die(program: Path, place: Path, name: str, *, enclaved: bool, from_outside: bool = False) -> list[Path]:
    """Let a victim die of a signal; the core files it left."""
    with victim(program, enclaved=enclaved, cwd=place, preexec_fn=unlimited) as running:
        if from_outside:
            for pid in (running.pid, running.child):
                attacks.raise_core_limit(pid)
        for pid in (running.child, running.pid):
            os.kill(pid, signal.Signals[name])
        assert running.process.wait(timeout=20) == -signal.Signals[name]
    return list(place.glob("core*"))


def test_a_native_program_leaves_one(program: Path, cores: Path) -> None:
    """The control."""
    found = die(program, cores, "SIGSEGV", enclaved=False)
    assert found
    with victim(program, enclaved=False, cwd=cores, preexec_fn=unlimited) as running:
        os.kill(running.pid, signal.SIGABRT)
        running.process.wait()
        newest = max(cores.glob("core*"), key=lambda path: path.stat().st_mtime_ns)
        assert running.secret in newest.read_bytes()


@pytest.mark.parametrize("name", FATAL)
def test_an_enclaved_program_leaves_none(program: Path, cores: Path, name: str) -> None:
    assert die(program, cores, name, enclaved=True) == []


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGQUIT"])
def test_raising_the_limit_from_outside_changes_nothing(program: Path, cores: Path, name: str) -> None:
    assert die(program, cores, name, enclaved=True, from_outside=True) == []


def test_guards_leave_none(program: Path, cores: Path) -> None:
    with victim(program, cwd=cores, preexec_fn=unlimited) as running:
        for guard in running.guards():
            attacks.raise_core_limit(guard)
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.guards()[0], signal.SIGSEGV)
            os.kill(running.guards()[1], signal.SIGKILL)
        running.process.wait(timeout=20)
    assert list(cores.glob("core*")) == []


def test_the_program_cannot_make_itself_dumpable(program: Path, cores: Path) -> None:
    with victim(program, cwd=cores, preexec_fn=unlimited) as running:
        running.ask("open")
        os.kill(running.pid, signal.SIGSEGV)
        running.process.wait(timeout=20)
    assert list(cores.glob("core*")) == []
