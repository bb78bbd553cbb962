"""The walk through the exercise, played by a script at three terminals: the walk's own and the two it asks for."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloister.app.lab.program import SECRET
from cloister.app.lab.terminal import Terminal

SOURCES = Path(__file__).parents[2] / "src"
CLOISTER = [sys.executable, "-m", "cloister"]

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_program("cc")]


@pytest.fixture
def guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """The walk, started in an empty directory, at its first question."""
    monkeypatch.setenv("PYTHONPATH", str(SOURCES))
    with Terminal([*CLOISTER, "lab", "--interactive"], tmp_path) as terminal:
        terminal.expect("when they are open.*: $")
        yield terminal


def type_secret(program: Terminal) -> None:
    """What the person does at terminal 1."""
    program.expect("Enter a secret: ")
    program.enter(SECRET)
    program.expect("Hash of your input: 2084933351\n")


def dump(directory: Path, guide: Terminal, log: str) -> None:
    """What the person does at terminal 2: the line that the walk printed, without sudo."""
    pid = guide.transcript.rpartition("dumpmem.py ")[2].partition(" ")[0]
    with (directory / log).open("wb") as output:
        subprocess.run([sys.executable, "dumpmem.py", pid], cwd=directory, stdout=output, check=True, timeout=60)


def play_half(guide: Terminal, directory: Path, start: list[str], log: str) -> None:
    """Follow the walk from the start of the program to the trace."""
    with Terminal(start, directory) as program:
        type_secret(program)
        guide.enter("")
        guide.expect(f"> {log}\n.*\n.*grep is done.*: $")
        dump(directory, guide, log)
        guide.enter("")
        guide.expect(f"stands \\d+ times in {log}")
        guide.expect("when it has ended.*: $")
        program.enter("")
        program.end()
    guide.enter("")
    guide.expect("when you have seen it.*: $")
    guide.enter("")


def test_the_native_half_finds_the_secret_and_stopping_is_inconclusive(guide: Terminal, tmp_path: Path) -> None:
    directory = tmp_path / "cloister-lab"
    guide.enter("")
    guide.expect("=== natively ===(.|\n)*when it waits.*: $")
    play_half(guide, directory, ["./app"], "native.log")
    guide.expect("ok: FUNFOO stands 2 times in native.log")
    guide.expect("=== in the software enclave ===(.|\n)*when it waits.*: $")
    guide.enter("q")
    guide.expect("half an experiment shows nothing")
    assert guide.exit_code() == 16


def test_a_step_left_out_is_noticed(guide: Terminal, tmp_path: Path) -> None:
    directory = tmp_path / "cloister-lab"
    guide.enter("")
    guide.expect("when it waits.*: $")
    guide.enter("")
    guide.expect("not yet: nothing runs that was started with `./app`")
    with Terminal(["./app"], directory) as program:
        type_secret(program)
        guide.enter("")
        guide.expect("when grep is done.*: $")
        guide.enter("")
        guide.expect("not yet: .*native.log is not a dump of process")
        (directory / "native.log").write_text(f"PID = {program.pid}\n")
        guide.enter("")
        guide.expect("not yet: .*has no END")
        (directory / "native.log").write_text(f"PID = {program.pid}\n\nEND\n")
        guide.enter("")
        guide.expect("not yet: FUNFOO is not in native.log")


@pytest.mark.needs_runtime
def test_the_whole_walk_ends_with_protected(guide: Terminal, tmp_path: Path) -> None:
    directory = tmp_path / "cloister-lab"
    guide.enter("")
    guide.expect("when it waits.*: $")
    play_half(guide, directory, ["./app"], "native.log")
    guide.expect("=== in the software enclave ===(.|\n)*when it waits.*: $")
    play_half(guide, directory, [*CLOISTER, "run", "./app"], "enclave.log")
    guide.expect("ok: FUNFOO stands 0 times in enclave.log")
    guide.expect("PROTECTED")
    assert guide.exit_code() == 0
