"""How the runtime starts and refuses: exit codes, the start block, the report, and a file that changes under it."""

import json
import os
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from cloister.launch import _abi
from cloister.launch.command import start_block
from cloister.launch.runtime_file import runtime_path

pytestmark = pytest.mark.needs_runtime

SHOW = "import os, sys, json; json.dump([sys.orig_argv[2:], dict(os.environ)], sys.stdout)"


def run(words: Sequence[str], *, descriptor: int | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(runtime_path()), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        pass_fds=() if descriptor is None else (descriptor,),
    )


def program(path: Path, content: bytes, mode: int = 0o755) -> str:
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def elf_header(*, elf_class: int = 2, machine: int = 62, segments: int = 1) -> bytes:
    ident = b"\x7fELF" + bytes([elf_class, 1, 1])
    return struct.pack("<16sHHIQQQIHHHHHH", ident, 2, machine, 1, 0, 64, 0, 0, 64, 56, segments, 64, 0, 0).ljust(
        4096, b"\0"
    )


CANNOT_ENCLAVE = {
    "32-bit": b"\x7fELF\x01\x01\x01".ljust(16, b"\0")
    + struct.pack("<HHIIII", 2, 3, 1, 0x8048000, 52, 0).ljust(4096, b"\0"),
    "another machine": elf_header(machine=183),
    "no segments": elf_header(segments=0),
    "nothing to load": elf_header(),
    "plain text": b"hello\n",
    "empty": b"",
    "cut": elf_header()[:30],
}


@pytest.mark.parametrize("what", CANNOT_ENCLAVE)
def test_what_cannot_be_enclaved(tmp_path: Path, what: str) -> None:
    path = program(tmp_path / "program", CANNOT_ENCLAVE[what])
    done = run(["--", path, "program"])
    assert (done.returncode, done.stdout) == (_abi.EXIT_CANNOT_ENCLAVE, "")
    assert path in done.stderr


def test_what_is_not_there_or_not_executable(tmp_path: Path) -> None:
    missing = run(["--", str(tmp_path / "missing"), "x"])
    assert missing.returncode == _abi.EXIT_NOT_FOUND
    assert str(tmp_path / "missing") in missing.stderr
    for path in (program(tmp_path / "data", b"#!/bin/sh\n", 0o644), str(tmp_path)):
        done = run(["--", path, "x"])
        assert done.returncode == _abi.EXIT_NOT_EXECUTABLE
        assert path in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--"],
        ["--", "/bin/true"],
        ["/bin/true", "true"],
        ["--unknown", "--", "/bin/true", "true"],
        ["--start-fd=", "--", "/bin/true", "true"],
        ["--start-fd=x", "--", "/bin/true", "true"],
        ["--start-fd=-1", "--", "/bin/true", "true"],
        ["--start-fd=99999999999", "--", "/bin/true", "true"],
        ["--report=" + "r" * 600, "--", "/bin/true", "true"],
        ["--unsafe-no-guards", "--", "/bin/true", "true"],
    ],
)
def test_a_wrong_command_line_runs_nothing(words: list[str]) -> None:
    done = run(words)
    assert done.returncode == _abi.EXIT_USAGE
    assert "cloister" in done.stderr


def with_block(block: bytes, *, path: str = "/usr/bin/env") -> subprocess.CompletedProcess[str]:
    """Run with `block` on a pipe; a block larger than a pipe would need a second process."""
    reader, writer = os.pipe()
    try:
        os.write(writer, block)
        os.close(writer)
        return run([f"--start-fd={reader}", "--", path, "ignored"], descriptor=reader)
    finally:
        os.close(reader)


ODD = ["", " ", "a b", "tab\t", "line\n", "\udcff\udcfe", "--", "ümlaut", "x" * 5000]


def test_arguments_and_variables_arrive_exactly() -> None:
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "EMPTY": "", "ODD": "\udcff=\n", "LONG": "y" * 9000}
    block = start_block(["python3", "-c", SHOW, *ODD], environment)
    done = with_block(block, path=os.path.realpath("/usr/bin/python3"))
    assert done.returncode == 0, done.stderr
    words, variables = json.loads(done.stdout)
    assert words[1:] == ODD
    assert variables == environment


BROKEN = {
    "empty": b"",
    "cut in the counts": b"\1\0\0\0\0\0",
    "cut in a length": b"\1\0\0\0\0\0\0\0\5\0",
    "cut in a string": b"\1\0\0\0\0\0\0\0\5\0\0\0ab",
    "no program": struct.pack("<II", 0, 0),
    "too many strings": struct.pack("<II", _abi.START_MAX_STRINGS + 1, 0),
    "too many variables": struct.pack("<III", 1, 2**32 - 1, 0),
    "a string too long": struct.pack("<III", 1, 0, _abi.START_MAX_BYTES + 1),
    "a length of all ones": struct.pack("<III", 1, 0, 2**32 - 1),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_damaged_start_block_runs_nothing(what: str) -> None:
    done = with_block(BROKEN[what])
    assert (done.returncode, done.stdout) == (_abi.EXIT_INTERNAL, "")
    assert "start block" in done.stderr


def test_the_largest_start_block_that_python_makes(tmp_path: Path) -> None:
    """As many bytes as the limit allows in as few strings; the stack must hold them or the message must say so."""
    block = start_block(["true", "x" * 100_000], {"A": "b"})
    path = tmp_path / "block"
    path.write_bytes(block)
    with path.open("rb") as file:
        done = run([f"--start-fd={file.fileno()}", "--", "/bin/true", "ignored"], descriptor=file.fileno())
    assert done.returncode == 0, done.stderr


def test_the_report_has_one_line_per_process(tmp_path: Path) -> None:
    report = tmp_path / "report"
    done = run([f"--report={report}", "--", "/bin/sh", "sh", "-c", "(exit 3); /bin/true; true"])
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert len(lines) == 3, "the subshell, true, the shell"
    assert len({line["pid"] for line in lines}) == 3
    assert all(line["secret_bytes"] > 0 and line["sealed_bytes"] > 0 for line in lines)
    assert all(line["unprotected_jit_bytes"] == 0 for line in lines)
    assert [Path(line["exe"]).name for line in lines].count("true") == 1
    assert report.stat().st_mode & 0o777 == 0o600


def test_editing_the_program_file_changes_nothing_that_runs(tmp_path: Path) -> None:
    source, binary = tmp_path / "program.c", tmp_path / "program"
    source.write_text(
        '#include <stdio.h>\nstatic const char text[] = "ORIGINAL";\n'
        "int main(void) { puts(text); fflush(stdout); getchar(); puts(text); return 0; }\n"
    )
    subprocess.run(["cc", "-O0", "-o", binary, source], check=True)
    pipe = subprocess.PIPE
    with subprocess.Popen([runtime_path(), "--", binary, "program"], stdin=pipe, stdout=pipe) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ORIGINAL\n"
        with binary.open("r+b") as file:  # in place: the same inode
            content = file.read()
            file.seek(0)
            file.write(content.replace(b"ORIGINAL", b"MODIFIED"))
        output, _ = process.communicate(b"\n", timeout=20)
        assert output == b"ORIGINAL\n"
        assert process.returncode == 0
