"""What root tells a process that forks, by an ordinary page or a covered /proc, changes nothing in its memory."""

import contextlib
import os
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloister.launch.runtime_file import runtime_path

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_root]

SOURCE = Path(__file__).resolve().parent / "runtime_programs" / "forking.c"
SECONDS = 60
WORD_AT = 8
"""Of an entry of a robust list: the kernel finds the word so far behind the pointer (get_robust_list(2))."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("forking") / "forking"
    subprocess.run(["cc", "-O1", "-Wall", "-Werror", "-pthread", "-o", target, SOURCE], check=True)
    return target


@contextlib.contextmanager
def started(*command: str | Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The program, and where its shared word is; it forks when it is told to."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process, int(process.stdout.readline(), 16)
        finally:
            process.kill()


def outcome(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate("\n", timeout=SECONDS)
    return output.strip()


def ordinary_pages(pid: int) -> list[int]:
    """Where anonymous shared memory starts that is not secret."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
        return [int(line.split("-")[0], 16) for line in lines if "rw-s" in line and "/dev/zero" in line]
    return []


def lead_astray(pid: int, address: int, stop: threading.Event, written: list[int]) -> None:
    """Every ordinary page begins with a pointer to the word, as an entry of a robust list would."""
    with contextlib.suppress(OSError):
        memory = os.open(f"/proc/{pid}/mem", os.O_RDWR | os.O_CLOEXEC)
        try:
            while not stop.is_set():
                for page in ordinary_pages(pid):
                    written += [os.pwrite(memory, struct.pack("<Q", address - WORD_AT), page) for _ in range(50)]
        finally:
            os.close(memory)


def test_the_kernel_does_not_follow_a_pointer_that_root_wrote(program: Path) -> None:
    """It did: at a child's death it marked the word to which the pointer led, in memory that is secret."""
    stop, written = threading.Event(), list[int]()
    with started(runtime_path(), "--", program, "forking", "word") as (process, address):
        attacker = threading.Thread(target=lead_astray, args=(process.pid, address, stop, written))
        attacker.start()
        try:
            said = outcome(process)
        finally:
            stop.set()
            attacker.join()
    assert len(written) > 100, "the attack must have been made"
    assert said == "changed 0 disturbed 0"


@pytest.mark.needs_program("unshare", "nsenter")
def test_a_covered_proc_does_not_make_a_parent_with_threads_seem_alone(program: Path, tmp_path: Path) -> None:
    """It did: its child then shared its memory for a while, in which the other threads went on writing."""
    (tmp_path / "one").mkdir()
    command = ("unshare", "--mount", runtime_path(), "--", program, "forking", "thread")
    with started(*command) as (process, _):
        cover = ["nsenter", "-t", str(process.pid), "-m", "mount", "--bind", str(tmp_path), f"/proc/{process.pid}/task"]
        subprocess.run(cover, check=True)
        assert outcome(process) == "changed 0 disturbed 0"


@pytest.mark.parametrize("word", ["word", "thread"])
def test_control_nothing_changes_where_nobody_lies(program: Path, word: str) -> None:
    with started(runtime_path(), "--", program, "forking", word) as (process, _):
        assert outcome(process) == "changed 0 disturbed 0"
