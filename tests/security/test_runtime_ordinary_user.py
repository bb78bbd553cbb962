"""An ordinary user: works with a raised limit or the file capability; refused, with the fix named, without both."""

import contextlib
import os
import resource
import shutil
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.security import attacks_unsafe as attacks
from tests.security.victims import Victim, build, victim

from cloister.launch import _abi
from cloister.launch.runtime_file import runtime_path

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_root]

NOBODY = 65534
SMALL, LARGE = 64 << 10, 4 << 30


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory that anybody can enter, with the runtime and a victim in it."""
    path = Path(os.path.realpath(tmp_path_factory.mktemp("everyone")))
    for parent in (path, *path.parents):
        if parent.stat().st_uid == os.geteuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    shutil.copy(runtime_path(), path / "cloister-enclave")
    build(path)
    path.chmod(0o777)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def become_nobody(limit: int | None) -> Callable[[], None]:
    """What to do before execve: the limit of locked memory in bytes (None: as it is), then no privileges at all."""

    def prepare() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)

    return prepare


def can_set(limit: int) -> bool:
    """Whether root may set this limit here: raising the hard limit needs CAP_SYS_RESOURCE."""
    command = ["prlimit", f"--memlock={limit}:{limit}", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def run_as_nobody(place: Path, limit: int | None, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(place / "cloister-enclave"), "--", *words]
    return subprocess.run(
        command, preexec_fn=become_nobody(limit), capture_output=True, text=True, check=False, timeout=60, cwd=place
    )


def give_capability(place: Path) -> None:
    done = subprocess.run(
        ["setcap", "cap_ipc_lock+ep", place / "cloister-enclave"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"file capabilities do not work here: {done.stderr.strip()}")


PROGRAM = ("/bin/sh", "sh", "-c", "id -u; echo $((6*7)) | cat; grep CapEff /proc/self/status")


def check_ran(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == [str(NOBODY), "42"]


def test_the_default_limit_is_refused_with_the_fix(place: Path) -> None:
    done = run_as_nobody(place, SMALL, *PROGRAM)
    assert (done.returncode, done.stdout) == (_abi.EXIT_CANNOT_PROTECT, "")
    assert "RLIMIT_MEMLOCK" in done.stderr
    assert "setcap cap_ipc_lock" in done.stderr
    assert "ulimit -l" in done.stderr


def test_eight_megabytes_either_run_or_are_refused(place: Path) -> None:
    """The usual limit; never a run without protection, never a crash."""
    done = run_as_nobody(place, 8 << 20, *PROGRAM)
    assert done.returncode in (0, _abi.EXIT_CANNOT_PROTECT), done.stderr
    if done.returncode:
        assert done.stdout == ""
        assert "fix:" in done.stderr


def test_a_limit_that_leaves_nothing_for_the_guards_is_named(place: Path) -> None:
    """Enough for a program with a small stack: a guard has no room. That is what is said, not that ptrace is denied."""

    def prepare() -> None:
        resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, 1 << 20))
        become_nobody(6 << 20)()

    done = subprocess.run(
        [str(place / "cloister-enclave"), "--", "/bin/true", "true"],
        preexec_fn=prepare, capture_output=True, text=True, check=False, timeout=60, cwd=place,
    )  # fmt: skip
    assert done.returncode == _abi.EXIT_CANNOT_PROTECT
    assert "RLIMIT_MEMLOCK" in done.stderr
    assert "ptrace" not in done.stderr


def test_a_raised_limit_is_enough(place: Path) -> None:
    if not can_set(LARGE):
        pytest.skip("root may not raise the limit of locked memory here (no CAP_SYS_RESOURCE)")
    check_ran(run_as_nobody(place, LARGE, *PROGRAM))


@pytest.mark.needs_program("setcap")
def test_the_file_capability_is_enough(place: Path) -> None:
    give_capability(place)
    done = run_as_nobody(place, SMALL, *PROGRAM)
    check_ran(done)


@pytest.mark.needs_program("setcap")
def test_memory_is_unreadable_for_the_same_user_and_for_root(place: Path) -> None:
    give_capability(place)
    with victim_as_nobody(place) as running:
        for name, pid, address in running.places:
            for read in (attacks.mem_read, attacks.vm_read):
                with pytest.raises(OSError, match=r"error|denied|permitted|address"):
                    read(pid, address, 1)
                assert as_nobody_fails(read, pid, address), name
        for tid in running.threads():
            with pytest.raises(OSError, match="not permitted"):
                attacks.ptrace(attacks.SEIZE, tid)
        assert running.is_unharmed()


def as_nobody_fails(read: Callable[[int, int, int], bytes], pid: int, address: int) -> bool:
    """Whether the same read fails in a child that has the victim's user id."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            become_nobody(None)()
            with contextlib.suppress(OSError):
                read(pid, address, 1)
                os._exit(1)
            os._exit(0)
        os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@contextlib.contextmanager
def victim_as_nobody(place: Path) -> Iterator[Victim]:
    with victim(
        place / "victim", runtime=place / "cloister-enclave", cwd=place, preexec_fn=become_nobody(SMALL)
    ) as running:
        yield running


@pytest.mark.needs_program("setcap")
@pytest.mark.parametrize("raised", [False, True], ids=["as it is", "limit raised by root"])
def test_no_core_file_holds_the_secret(place: Path, raised: bool) -> None:  # noqa: FBT001  a parameter of the test
    """For an ordinary user a limit stops core files. Where root lifts it, one may appear, without secrets."""
    give_capability(place)
    with victim_as_nobody(place) as running:
        if raised:
            try:
                attacks.raise_core_limit(running.pid)
            except PermissionError:
                pytest.skip("root may not change other users' limits here (no CAP_SYS_RESOURCE)")
        os.kill(running.pid, signal.SIGSEGV)
        assert running.process.wait(timeout=20) == -signal.SIGSEGV
    found = list(place.glob("core*"))
    assert raised or not found
    assert not any(running.secret in path.read_bytes() for path in found)
