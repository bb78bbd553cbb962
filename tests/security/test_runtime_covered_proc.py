"""Root covers /proc where a program looks: what it hands to programs that it executes stays hidden all the same."""

import contextlib
import secrets
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cloister.launch.runtime_file import runtime_path

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_root, pytest.mark.needs_program("unshare", "nsenter")]

SCRIPT = 'read -r S; echo ready; while read -r line; do TOKEN="$S" "$0" "$S"; done'
PROGRAM = """
static long call(long number, long a, long b)
{ long result;
  __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b) : "rcx", "r11", "memory");
  return result; }
void _start(void) { long moment[2] = {0, 50000000}; call(35, (long)moment, 0); call(231, 0, 0); }
"""
"""Sleeps a moment: nothing that the runtime's filter would stop, so it lives on where it is executed natively."""
ROUNDS, SECONDS = 20, 30


@pytest.fixture(scope="module")
def sleeper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sleeper")
    (place / "sleeper.c").write_text(PROGRAM)
    command = ["cc", "-O1", "-nostdlib", "-static", "-o", str(place / "sleeper"), str(place / "sleeper.c")]
    subprocess.run(command, check=True)
    return place / "sleeper"


def shown_of_children(pid: int) -> bytes:
    """Arguments and variables of the program's children, by a /proc that nobody covered."""
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return b"".join(
            Path(f"/proc/{child}/{name}").read_bytes() for child in children for name in ("cmdline", "environ")
        )
    return b""


def cover(pid: int, false_proc: Path) -> None:
    """Mount this over /proc, in the process's own mount namespace."""
    subprocess.run(["nsenter", "-t", str(pid), "-m", "mount", "--bind", str(false_proc), "/proc"], check=True)


def is_seen(command: list[str], program: Path, false_proc: Path | None) -> bool:
    """Whether a secret that a shell hands on is seen, with /proc covered by `false_proc` in the shell's namespace."""
    secret = secrets.token_hex(16)
    with subprocess.Popen(
        ["unshare", "--mount", *command, "-c", SCRIPT, str(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(f"{secret}\n")
            process.stdin.flush()
            assert process.stdout.readline() == "ready\n"
            if false_proc is not None:
                cover(process.pid, false_proc)
            process.stdin.write("\n" * ROUNDS)
            process.stdin.close()
            limit = time.monotonic() + SECONDS
            while process.poll() is None and time.monotonic() < limit:
                if secret.encode() in shown_of_children(process.pid):
                    return True
            return False
        finally:
            process.kill()


def test_control_a_native_shell_shows_what_it_hands_on(sleeper: Path) -> None:
    assert is_seen(["/bin/sh"], sleeper, None)


def test_the_runtime_is_not_looked_for_where_root_says(sleeper: Path, tmp_path: Path) -> None:
    """It was: /proc/self/exe led to what was executed, which then got all in the open, as another enclave's start."""
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "exe").symlink_to(sleeper)
    assert not is_seen([str(runtime_path()), "--", "/bin/sh", "sh"], sleeper, tmp_path)


EXECUTES_A_DESCRIPTOR = """
import os
own = os.open("/bin/echo", os.O_RDONLY)
print("ready", flush=True)
input()
os.execve(own, ["echo", "own"], {})
"""


def executed(false_proc: Path | None) -> tuple[str, str]:
    """What such a program and what it executes say, on both streams."""
    command = ["unshare", "--mount", runtime_path(), "--", sys.executable, "python3", "-c", EXECUTES_A_DESCRIPTOR]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as one:
        assert one.stdout
        assert one.stdout.readline() == "ready\n"
        if false_proc is not None:
            cover(one.pid, false_proc)
        return one.communicate("\n", timeout=SECONDS)


def test_control_an_open_program_is_executed() -> None:
    assert executed(None) == ("own\n", "")


def test_an_open_program_is_not_exchanged_on_the_way_to_being_executed(tmp_path: Path) -> None:
    """It was: the descriptor is opened anew by its name in /proc, where root put a program of his own."""
    (tmp_path / "self" / "fd").mkdir(parents=True)
    (tmp_path / "roots").write_text("#!/bin/sh\necho of root\n")
    (tmp_path / "roots").chmod(0o755)
    for number in range(3, 64):
        (tmp_path / "self" / "fd" / str(number)).symlink_to(tmp_path / "roots")
    said, error = executed(tmp_path)
    assert "of root" not in said
    assert "PermissionError" in error
