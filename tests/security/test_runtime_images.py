"""Root against programs that a strict enclave executes: their command line, text and vDSO, before they are sealed."""

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.integration.runtime_programs.strict import descriptor_of, measured, scenarios, started_with, strict_command

from cloister.launch.runtime_file import runtime_path
from cloister.measure.software import Manifest

pytestmark = pytest.mark.needs_runtime

Attack = Callable[[int, threading.Event], None]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenarios(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def libraries(program: Path) -> dict[str, bytes]:
    return started_with(program)


def command_line(pid: int) -> tuple[int, bytes]:
    """Where the kernel's copy stands in the process, and what it says."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        return start, os.pread(memory.fileno(), end - start, start)


def children_of(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def changing(before: bytes, after: bytes, hits: list[int]) -> Attack:
    """An attack that changes words of the command lines of what the program executes."""

    def attack(pid: int, stop: threading.Event) -> None:
        while not stop.is_set():
            for child in children_of(pid):
                with contextlib.suppress(OSError, IndexError):
                    start, words = command_line(child)
                    if (at := words.find(before)) >= 0:
                        with Path(f"/proc/{child}/mem").open("r+b", buffering=0) as memory:
                            hits.append(os.pwrite(memory.fileno(), after, start + at))

    return attack


def nothing(_pid: int, _stop: threading.Event) -> None:
    """No attack."""


def executed_again(command: list[str], attack: Attack, descriptor: int) -> tuple[str, str]:
    """What a shell that executes a program many times got and said meanwhile."""
    stop, pipe = threading.Event(), subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, pass_fds=[descriptor]) as process:
        attacker = threading.Thread(target=attack, args=(process.pid, stop))
        attacker.start()
        output, errors = process.communicate(timeout=100)
        stop.set()
        attacker.join()
    return output, errors


CHANGES = {
    "another measured program": (b"/bin/echo\0", b"/bin/true\0"),
    "a program nobody measured": (b"/bin/echo\0", b"/bin/date\0"),
    "no block": (b"--handoff-fd=", b"--report=/tm/"),
}


@pytest.mark.needs_root
@pytest.mark.parametrize("what", CHANGES)
def test_the_command_line_of_what_is_executed(what: str) -> None:
    """Root writes into it between execve(2) and the runtime's reading. The sealed block says which program it is."""
    before, after = CHANGES[what]
    files = started_with(Path("/bin/sh")) | measured(["/bin/echo", "/bin/true"])
    script = "i=0; while [ $i -lt 60 ]; do i=$((i+1)); /bin/echo right || echo refused; done"
    hits: list[int] = []
    with descriptor_of(Manifest(files).serialize()) as descriptor:
        command = strict_command(descriptor, "/bin/sh", "-c", script)
        output, errors = executed_again(command, changing(before, after, hits), descriptor)
    assert any(hits), "the attack was in time at least once"
    assert set(output.split()) <= {"right", "refused"}, (output, errors)
    assert output.split().count("right") + output.split().count("refused") == 60
    with descriptor_of(Manifest(files).serialize()) as descriptor:
        command = strict_command(descriptor, "/bin/sh", "-c", "/bin/echo right || echo refused")
        assert executed_again(command, nothing, descriptor)[0] == "right\n", "the control: nobody attacks"


def symbol(name: str) -> int:
    """Where a function of the runtime stands, in every process."""
    listing = subprocess.run(["nm", runtime_path()], check=True, capture_output=True, text=True).stdout
    return next(int(line.split()[0], 16) for line in listing.splitlines() if line.split()[-1] == name)


RETURN_1 = b"\xb8\x01\0\0\0\xc3"  # mov $1, %eax; ret


def writing(place: Callable[[int], int], data: bytes, hits: list[int]) -> Attack:
    """An attack that writes into new images of the runtime, before anything of theirs is sealed."""

    def attack(pid: int, stop: threading.Event) -> None:
        while not stop.is_set():
            for child in children_of(pid):
                with contextlib.suppress(OSError, IndexError):
                    if b"--handoff-fd" in command_line(child)[1]:
                        with Path(f"/proc/{child}/mem").open("r+b", buffering=0) as memory:
                            hits.append(os.pwrite(memory.fileno(), data, place(child)))

    return attack


def vdso_of(pid: int) -> int:
    """Where the kernel's own vDSO is mapped; IndexError once it is sealed."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return int(next(iter([line for line in lines if line.endswith("[vdso]")][:1] or [""])).split("-")[0] or "0", 16)


def written_images(program: Path, word: str, files: dict[str, bytes], attack: Attack) -> list[str]:
    """What a program said that a shell executed again and again meanwhile; "refused" where it was not started."""
    script = f"i=0; while [ $i -lt 40 ]; do i=$((i+1)); {program} {word} || echo refused; done"
    listed = files | started_with(Path("/bin/sh")) | measured([program])
    with descriptor_of(Manifest(listed).serialize()) as descriptor:
        output, _ = executed_again(strict_command(descriptor, "/bin/sh", "-c", script), attack, descriptor)
    return output.splitlines()


@pytest.mark.needs_root
@pytest.mark.needs_program("nm")
def test_the_text_of_a_new_image(program: Path, libraries: dict[str, bytes]) -> None:
    """Root writes into the runtime's text after execve(2), before it is sealed: strict would be what root says."""
    hits: list[int] = []
    at = symbol("measured_is_copy")
    lines = written_images(program, "memfd", libraries, writing(lambda _: at, RETURN_1, hits))
    assert any(hits), "the attack was in time at least once"
    assert set(lines) <= {"memfd: EACCES", "sealed memfd: EACCES", "refused"}
    assert set(written_images(program, "memfd", libraries, nothing)) == {"memfd: EACCES", "sealed memfd: EACCES"}


@pytest.mark.needs_root
def test_the_vdso_of_a_new_image(program: Path, libraries: dict[str, bytes]) -> None:
    """Code that the kernel maps into every process, which nobody measures: root may not change it either."""
    hits: list[int] = []
    lines = written_images(program, "vdso", libraries, writing(lambda pid: vdso_of(pid) + 9, b"\x01", hits))
    assert any(hits), "the attack was in time at least once"
    assert set(lines) <= {"vdso: 0", "refused"}
    assert set(written_images(program, "vdso", libraries, nothing)) == {"vdso: 0"}
