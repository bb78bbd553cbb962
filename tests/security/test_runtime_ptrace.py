"""ptrace(2) stays shut: for the program, its threads, its children and its guards, from the start to the end."""

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.security import attacks_unsafe as attacks
from tests.security.victims import Victim, build, is_gone, victim, wait_until_gone

from cloister.launch import _abi
from cloister.launch.runtime_file import runtime_path

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_root]

MARK = "the program ran"
WALL = 0x40000000  # __WALL, waitpid(2): threads too


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("victim"))


@pytest.fixture
def enclaved(program: Path) -> Iterator[Victim]:
    with victim(program) as running:
        yield running


def attach_error(tid: int, request: int) -> int:
    """The errno of trying; 0 if it worked (then it is undone)."""
    try:
        attacks.ptrace(request, tid)
    except OSError as error:
        return int(error.errno or 0)
    if request == attacks.SEIZE:
        attacks.ptrace(0x4207, tid)  # PTRACE_INTERRUPT: only a stopped thread can be let go
    os.waitpid(tid, WALL)
    attacks.ptrace(attacks.DETACH, tid)
    return 0


def test_a_native_program_can_be_traced(program: Path) -> None:
    """The control: without the enclave the same attempts work."""
    with victim(program, enclaved=False) as running:
        assert len(running.threads()) == 5
        for tid in running.threads():
            assert attach_error(tid, attacks.SEIZE) == 0
            assert attach_error(tid, attacks.ATTACH) == 0


@pytest.mark.parametrize("request_number", [attacks.SEIZE, attacks.ATTACH], ids=["seize", "attach"])
def test_nobody_can_attach(enclaved: Victim, request_number: int) -> None:
    tids = enclaved.threads()
    assert len(tids) == 7, "four threads of the program, its child, two guards"
    assert {tid: attach_error(tid, request_number) for tid in tids} == dict.fromkeys(tids, errno.EPERM)
    assert enclaved.is_unharmed()


def test_new_threads_and_children_are_guarded_at_once(enclaved: Victim) -> None:
    for line in enclaved.ask("untraced"):
        pid = int(line.split()[1])
        if pid > 0:
            try:
                assert attach_error(pid, attacks.SEIZE) == errno.EPERM
            finally:
                os.kill(pid, signal.SIGKILL)
    assert enclaved.is_unharmed()


def test_the_program_cannot_open_itself(enclaved: Victim) -> None:
    """It may ask to be dumpable and to be traced by anyone; it is told yes, and nothing changes."""
    answer = enclaved.ask("open")
    assert answer == ["dumpable 0"]
    assert attach_error(enclaved.pid, attacks.SEIZE) == errno.EPERM


@pytest.mark.parametrize("which", [0, 1])
def test_killing_a_guard_kills_everything(enclaved: Victim, which: int) -> None:
    everyone = [enclaved.pid, enclaved.child, *enclaved.guards()]
    assert len(everyone) == 4
    os.kill(enclaved.guards()[which], signal.SIGKILL)
    assert wait_until_gone(everyone) == []


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGCHLD", "SIGQUIT"])
def test_other_signals_do_not_move_a_guard(enclaved: Victim, name: str) -> None:
    for guard in enclaved.guards():
        os.kill(guard, signal.Signals[name])
    time.sleep(0.05)
    assert not any(map(is_gone, enclaved.guards()))
    assert enclaved.is_unharmed()
    assert attach_error(enclaved.pid, attacks.SEIZE) == errno.EPERM


@pytest.mark.parametrize("which", [(0,), (1,), (0, 1)], ids=["first", "second", "both"])
def test_stopping_guards_opens_nothing(enclaved: Victim, which: tuple[int, ...]) -> None:
    for index in which:
        os.kill(enclaved.guards()[index], signal.SIGSTOP)
    time.sleep(0.1)
    for tid in enclaved.threads():
        assert attach_error(tid, attacks.SEIZE) == errno.EPERM
    assert enclaved.is_unharmed(), "the program must not hang"
    assert enclaved.ask("child") == ["foreign 0"], "its new children must not hang either"


def test_continuing_everybody_stops_nobody(enclaved: Victim) -> None:
    """As `systemctl stop` does with all processes of a service. The guards must not wait for each other."""
    first, second = enclaved.guards()
    for _ in range(50):
        os.kill(first, signal.SIGCONT)
        os.kill(second, signal.SIGCONT)
    assert enclaved.is_unharmed()
    assert enclaved.ask("child") == ["foreign 0"]
    for tid in enclaved.threads():
        assert attach_error(tid, attacks.SEIZE) == errno.EPERM


def test_stopping_and_killing(enclaved: Victim) -> None:
    everyone = [enclaved.pid, enclaved.child, *enclaved.guards()]
    first, second = enclaved.guards()
    os.kill(first, signal.SIGSTOP)
    os.kill(second, signal.SIGKILL)
    assert wait_until_gone(everyone) == []


def test_guards_end_with_the_program(enclaved: Victim) -> None:
    guards = enclaved.guards()
    os.kill(enclaved.child, signal.SIGKILL)
    os.kill(enclaved.pid, signal.SIGKILL)
    assert wait_until_gone(guards) == []


def start_runtime(prepare: Callable[[], object], runtime: Path | None = None) -> tuple[int, int]:
    """The pid of a runtime that runs /bin/echo, and the read end of its output; `prepare` runs in it before execve."""
    path = str(runtime or runtime_path())
    output, child_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.dup2(child_end, 1)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            prepare()
            os.execv(path, [path, "--", "/bin/echo", "echo", MARK])
        os._exit(99)
    os.close(child_end)
    return pid, output


def traced_run(prepare: Callable[[], object], runtime: Path | None = None) -> tuple[int, bytes]:
    """Exit code and output of the runtime started under this process's own ptrace, as a debugger starts a program."""
    pid, output = start_runtime(prepare, runtime)
    status = follow(pid)
    with os.fdopen(output, "rb") as stream:
        return os.waitstatus_to_exitcode(status), stream.read()


def with_a_false_filter() -> None:
    attacks.answer_like_a_filter(_abi.FILTER_PROBE_NR, _abi.FILTER_PROBE_BASE + _abi.ABI_VERSION)
    attacks.ptrace(attacks.TRACEME)


def follow(pid: int) -> int:
    """Let the traced process go on at each stop; its wait status at the end."""
    while True:
        _, status = os.waitpid(pid, WALL)
        if not os.WIFSTOPPED(status):
            return status
        number = os.WSTOPSIG(status)
        attacks.ptrace(attacks.CONTINUE, pid, 0, 0 if number == signal.SIGTRAP else number)


def test_a_traced_runtime_runs_nothing() -> None:
    assert traced_run(lambda: attacks.ptrace(attacks.TRACEME)) == (_abi.EXIT_CANNOT_PROTECT, b"")


def test_a_traced_runtime_is_not_fooled_by_a_filter() -> None:
    """A filter that answers as the runtime's own would makes it believe that it was executed from an enclave."""
    assert traced_run(with_a_false_filter) == (_abi.EXIT_CANNOT_PROTECT, b"")


@pytest.mark.needs_program("strace")
def test_strace_gets_nothing(tmp_path: Path) -> None:
    command = ["strace", "-f", "-o", str(tmp_path / "trace"), str(runtime_path()), "--", "/bin/echo", "echo", MARK]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (_abi.EXIT_CANNOT_PROTECT, "")
    assert "guarded" in done.stderr


@pytest.mark.needs_program("gdb")
def test_gdb_cannot_attach(enclaved: Victim) -> None:
    gdb = shutil.which("gdb")
    assert gdb
    command = [gdb, "-nx", "-batch", "-p", str(enclaved.pid), "-ex", "info registers"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert "rsp" not in done.stdout
    assert "not permitted" in done.stdout + done.stderr
    assert enclaved.is_unharmed()


def test_seizing_during_the_start_stops_it() -> None:
    """Whoever is first: either the attacker gets EPERM, or the runtime sees the tracer and runs nothing."""
    refused, too_late = (_abi.EXIT_CANNOT_PROTECT, b""), (0, MARK.encode() + b"\n")
    for attempt in range(40):
        pid, output = start_runtime(lambda: None)
        time.sleep(attempt * 0.0001)
        won = seize(pid)
        status = follow(pid)
        with os.fdopen(output, "rb") as stream:
            assert (os.waitstatus_to_exitcode(status), stream.read()) == (refused if won else too_late)


def seize(pid: int) -> bool:
    try:
        attacks.ptrace(attacks.SEIZE, pid)
    except (PermissionError, ProcessLookupError):
        return False
    return True


def running(path: Path) -> list[int]:
    """The live processes that execute this very file."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if Path(os.readlink(f"/proc/{name}/exe")) == path and not is_gone(int(name)):
                found.append(int(name))
    return found


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """A copy of the runtime, so that its processes can be told from others': none lives on after any kind of end."""
    copy = tmp_path / "cloister-enclave"
    shutil.copy(runtime_path(), copy)
    assert traced_run(lambda: attacks.ptrace(attacks.TRACEME), copy)[0] == _abi.EXIT_CANNOT_PROTECT
    assert traced_run(lambda: None, copy) == (0, MARK.encode() + b"\n")
    for attempt in range(20):
        pid, output = start_runtime(lambda: None, copy)
        os.close(output)
        time.sleep(attempt * 0.0002)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    for attempt in range(10):
        with subprocess.Popen([copy, "--", "/bin/sleep", "sleep", "100"], stdin=subprocess.DEVNULL) as process:
            time.sleep(attempt * 0.001)
            for guard in set(running(copy)) - {process.pid}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(guard, signal.SIGKILL)
            process.kill()
    limit = time.monotonic() + 3
    while running(copy) and time.monotonic() < limit:
        time.sleep(0.05)
    assert running(copy) == []
