"""A forked child that still shares its parent's memory is as shut as any, and what root can write changes nothing."""

import contextlib
import os
import re
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.security import attacks_unsafe as attacks

from cloister.launch.runtime_file import runtime_path

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_root]

HERE = Path(__file__).resolve().parent
RUNTIME = HERE.parents[1] / "runtime" / "src"
SECONDS = 60
SECRET = struct.pack("<I", 0x5EC8E7)
CONDITIONAL = {
    *("execve", "rt_sigaction", "rt_sigprocmask"),  # answered by the runtime
    *("open", "openat", "prctl", "getrlimit", "prlimit64"),  # made where the filter would let them through
    *("dup2", "dup3", "close_range"),  # wait for other threads: there are none
}
"""Intercepted calls that the runtime makes for a deferred child all the same."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("forker") / "forker"
    source = HERE / "runtime_programs" / "forker.c"
    subprocess.run(["cc", "-O1", "-Wall", "-Werror", "-o", target, source], check=True)
    return target


@contextlib.contextmanager
def started(program: Path, *words: str, native: bool = False) -> Iterator[subprocess.Popen[str]]:
    enclaved: list[str | Path] = [runtime_path(), "--", program, "forker"]
    command = [*([program] if native else enclaved), *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def held_child(process: subprocess.Popen[str]) -> tuple[int, int]:
    """Its process id, and where it reads the secret."""
    assert process.stdout
    _, pid, address = process.stdout.readline().split()
    return int(pid), int(address, 16)


def released(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate("\n", timeout=SECONDS)
    return output.strip()


def test_the_memory_of_a_native_child_is_readable(program: Path) -> None:
    """The control."""
    with started(program, "hold", native=True) as process:
        pid, address = held_child(process)
        assert attacks.mem_read(pid, address, 4) == attacks.vm_read(pid, address, 4) == SECRET
        assert released(process) == "status 1792"


def test_the_memory_of_a_deferred_child_is_not(program: Path) -> None:
    with started(program, "hold") as process:
        pid, address = held_child(process)
        for read in (attacks.mem_read, attacks.vm_read):
            with pytest.raises(OSError, match=r"Input/output error|Bad address"):
                read(pid, address, 4)
        with pytest.raises(OSError, match="Bad address"):
            attacks.vm_write(pid, address, b"root")
        with pytest.raises(PermissionError):
            attacks.ptrace(attacks.SEIZE, pid)
        assert released(process) == "status 1792"


def test_the_child_has_no_descriptor_more(program: Path) -> None:
    with started(program, "hold") as process:
        pid, _ = held_child(process)
        assert sorted(os.listdir(f"/proc/{pid}/fd")) == sorted(os.listdir(f"/proc/{process.pid}/fd"))
        assert released(process) == "status 1792"


def ordinary_shared_pages(pid: int) -> list[tuple[int, int]]:
    """The anonymous shared memory that is not secret: start and size."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    spans = [line.split()[0].split("-") for line in lines if "rw-s" in line and "/dev/zero" in line]
    return [(int(start, 16), int(end, 16) - int(start, 16)) for start, end in spans]


def scribble(pid: int, stop: threading.Event, written: list[int]) -> None:
    """Whatever the parent and the kernel tell each other there says something else all the time."""
    values = [bytes(4096), b"\xff" * 4096, struct.pack("<I", 0x40000001) * 1024, struct.pack("<I", 0x3FFFFFFE) * 1024]
    with contextlib.suppress(OSError), attacks.open_file(f"/proc/{pid}/mem", os.O_RDWR) as memory:
        while not stop.is_set():
            for start, size in ordinary_shared_pages(pid):
                for value in values:
                    with contextlib.suppress(OSError):
                        written.append(os.pwrite(memory, value[: min(size, 4096)], start))


def test_a_false_bell_does_not_part_parent_and_child_too_early(program: Path) -> None:
    """Root may write to the page by which the kernel wakes the parent, who then looks at secret memory."""
    stop, written = threading.Event(), list[int]()
    with started(program, "loop", "30") as process:
        attacker = threading.Thread(target=scribble, args=(process.pid, stop, written))
        attacker.start()
        try:
            output, _ = process.communicate(timeout=SECONDS)
        finally:
            stop.set()
            attacker.join()
    assert len(written) > 100, "the attack must have been made"
    assert output == "wrong 0\n"


def test_a_deferred_child_is_refused_what_every_process_is(program: Path) -> None:
    with started(program, "open") as process:
        output, _ = process.communicate(timeout=SECONDS)
    lines = output.splitlines()
    assert [line.split()[2] for line in lines] == ["taken", "taken", "refused", "refused"]
    assert {line.split()[-1] for line in lines} == {"0"}


def calls_in(text: str, pattern: str) -> set[str]:
    return set(re.findall(pattern, text))


def test_no_intercepted_call_is_made_for_a_deferred_child() -> None:
    """What is made from the gate passes the filter, so nothing that the filter would stop may be made there."""
    rules = (RUNTIME / "filter_rules.h").read_text()
    intercepted = calls_in(rules[: rules.index("exit_rule")], r"\{__NR_(\w+),")
    made = calls_in((RUNTIME / "deferral_calls.c").read_text(), r"case __NR_(\w+):")
    assert len(intercepted) > 30
    assert len(made) > 40
    assert intercepted & made == CONDITIONAL
