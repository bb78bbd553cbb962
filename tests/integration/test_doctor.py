"""The doctor's probes on this machine's kernel, and on children that misbehave."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cloister.doctor import Command, Status, child, enclave, kernel_unsafe
from cloister.doctor.child import ProbeFailed, ask, hold
from cloister.doctor.runtime import RUNTIME_PATH, RuntimeFile
from cloister.launch.runtime_file import runtime_path

PLAIN = RuntimeFile(
    path=Path("/nowhere"),
    present=True,
    executable=True,
    capability="none",
    lifts_memory_lock=False,
    more_room=Command(text="sudo setcap cap_ipc_lock+ep /nowhere"),
)
NOBODY = 65534


def secret_memory_or_skip() -> None:
    try:
        ask(lambda: kernel_unsafe.map_secret_span(4096))
    except ProbeFailed as error:
        pytest.skip(f"no secret memory here: {error}")


def test_an_ordinary_page_is_read_and_a_secret_one_is_not() -> None:
    secret_memory_or_skip()
    with hold(kernel_unsafe.map_secret_page) as held:
        assert held.answer["kept"]
        assert kernel_unsafe.read_memory(held.pid, held.answer["ordinary"]) == kernel_unsafe.MARKER
        with pytest.raises(OSError, match="error") as refused:
            kernel_unsafe.read_memory(held.pid, held.answer["secret"])
    assert refused.value.errno == errno.EIO


def test_a_kernel_that_gives_secret_pages_away_is_not_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_unsafe, "read_memory", lambda *_: kernel_unsafe.MARKER)
    assert enclave.secret_memory().status is not Status.OK


def test_no_verdict_without_the_control(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ordinary memory is refused too, the refusal of secret memory proves nothing."""
    secret_memory_or_skip()

    def refuse(*_: object) -> bytes:
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr(kernel_unsafe, "read_memory", refuse)
    assert enclave.secret_memory().status is Status.UNKNOWN


def limited() -> dict[str, object]:
    """In a child: an ordinary user with the usual limit looks at locked memory."""
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (8 << 20, 8 << 20))
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    check = enclave.locked_memory(PLAIN)
    return {"status": check.status.value, "fix": str(check.fix)}


@pytest.mark.needs_root
def test_an_ordinary_user_is_told_about_the_limit() -> None:
    secret_memory_or_skip()
    answer = ask(limited)
    assert answer["status"] == "denied"
    assert "setcap cap_ipc_lock" in answer["fix"]


def test_sealed_code_runs_and_cannot_be_written() -> None:
    answer = ask(kernel_unsafe.run_sealed_code)
    assert (answer["returned"], answer["writable"]) == (42, False)


def test_the_filter_traps_in_the_child_only() -> None:
    before = Path("/proc/self/status").read_text()
    assert ask(kernel_unsafe.trap_system_call) == {"trapped": True}
    fields = [line for line in before.splitlines() if line.startswith(("Seccomp", "NoNewPrivs"))]
    assert all(line in Path("/proc/self/status").read_text() for line in fields)


def die() -> dict[str, object]:
    os.kill(os.getpid(), signal.SIGUSR1)
    return {}


def sleep() -> dict[str, object]:
    time.sleep(60)
    return {}


def test_a_probe_that_crashes_is_reported() -> None:
    with pytest.raises(ProbeFailed, match="SIGUSR1"):
        ask(die)


def test_a_probe_that_exits_is_reported() -> None:
    with pytest.raises(ProbeFailed, match="exited"):
        ask(lambda: os._exit(3))


def test_a_probe_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "SECONDS", 0.2)
    started = time.monotonic()
    with pytest.raises(ProbeFailed, match="did not answer"):
        ask(sleep)
    assert time.monotonic() - started < 5
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_failed_call_keeps_its_errno() -> None:
    with pytest.raises(ProbeFailed) as failed:
        ask(lambda: kernel_unsafe.kvm_version("/nonexistent"))
    assert failed.value.errno == errno.ENOENT


def open_descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_no_descriptor_is_left_open() -> None:
    before = open_descriptors()
    ask(lambda: {"fine": True})
    assert open_descriptors() == before


def test_the_command_prints_json_and_leaves_stderr_empty() -> None:
    words = [sys.executable, "-m", "cloister", "doctor", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in {0, 120}
    assert done.stdout.startswith("{")
    assert done.stderr == ""


@pytest.mark.needs_runtime
def test_the_command_prints_the_runtime_s_path() -> None:
    """Doctor and launcher each know the place, because neither may import the other."""
    words = [sys.executable, "-m", "cloister", "doctor", "--runtime-path"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == str(RUNTIME_PATH) == runtime_path()
