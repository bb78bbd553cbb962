"""No core file: not by any signal, not with unlimited core size, not after root has raised the limit from outside."""

import contextlib
import os
import resource
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.security import attacks_unsafe as attacks
from tests.security.victims import build, victim

from cloister.launch.runtime_file import runtime_path

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


SHELL = "kill -SEGV $$"


def end_of_executed_shell(place: Path, words: list[str]) -> list[Path]:
    """The cores of a shell that is executed by `words` and sends itself a fatal signal."""
    done = subprocess.run(
        [*words, "-c", f"exec /bin/sh -c '{SHELL}'"], cwd=place, preexec_fn=unlimited, check=False, timeout=30
    )
    assert done.returncode == -signal.SIGSEGV
    return list(place.glob("core*"))


def test_an_executed_program_leaves_none(cores: Path) -> None:
    """execve(2) makes a process dumpable again: the runtime's new image has to forbid it again."""
    assert end_of_executed_shell(cores, [str(runtime_path()), "--", "/bin/sh", "sh"]) == []
    assert end_of_executed_shell(cores, ["/bin/sh"]), "the control"


CHILDREN = "read -r S; echo ready; while :; do TOKEN=$S /bin/true $S; done"


def collect(place: Path) -> list[bytes]:
    """Core files have one name on some machines: each is taken before the next overwrites it."""
    found = []
    for path in place.glob("core*"):
        with contextlib.suppress(FileNotFoundError):
            found.append(path.read_bytes())
            path.unlink()
    return found


def shoot_children(place: Path, words: list[str], secret: bytes, seconds: float) -> list[bytes]:
    """The cores that children of a shell leave when they are shot as soon as they are seen."""
    cores, pipe = list[bytes](), subprocess.PIPE
    command = [*words, "-c", CHILDREN]
    process = subprocess.Popen(
        command,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        cwd=place,
        preexec_fn=unlimited,  # noqa: PLW1509  no threads here
    )
    try:
        assert process.stdin
        assert process.stdout
        process.stdin.write(secret + b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"ready\n"
        limit, children = time.monotonic() + seconds, Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while time.monotonic() < limit:
            for child in children.read_text().split():
                with contextlib.suppress(OSError):
                    if Path(f"/proc/{child}/cmdline").read_bytes().startswith((b"cloister", b"/bin/true")):
                        os.kill(int(child), signal.SIGABRT)
            cores += collect(place)
    finally:
        process.kill()
        process.communicate()
    return cores + collect(place)


def test_cores_of_a_start_hold_nothing(cores: Path) -> None:
    """Until the new image forbids core files it has nothing to hide: no arguments, no variables, and not the key."""
    secret = b"handed-" + secrets.token_hex(16).encode()
    words = [str(runtime_path()), "--", "/bin/sh", "sh"]
    found = shoot_children(cores, words, secret, 3.0)
    assert found, "some must have come before they were forbidden"
    assert not [core for core in found if secret in core]


def test_cores_of_a_native_start_hold_arguments(cores: Path) -> None:
    """The control."""
    secret = b"handed-" + secrets.token_hex(16).encode()
    assert [core for core in shoot_children(cores, ["/bin/sh"], secret, 1.0) if secret in core]


def test_the_program_cannot_make_itself_dumpable(program: Path, cores: Path) -> None:
    with victim(program, cwd=cores, preexec_fn=unlimited) as running:
        running.ask("open")
        os.kill(running.pid, signal.SIGSEGV)
        running.process.wait(timeout=20)
    assert list(cores.glob("core*")) == []
