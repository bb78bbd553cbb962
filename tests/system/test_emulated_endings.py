"""How programs end in emulated machines, and what a person is told who asked for what cannot be."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from tests.machines.build import assembled
from tests.system.arms import CLOISTER_ENVIRONMENT
from tests.system.emulated import COMPILERS, MACHINES, PROGRAMS, X86, Keyed, Result, architecture, build

from cloister.measure.image import Architecture

BUSYBOX = "/bin/busybox"
ENDINGS = PROGRAMS / "endings.c"
SIGINT = -int(signal.SIGINT)


WAYS = ("exit 0", "exit 1", "exit 127", "exit 128", "exit 255", "_exit 300", "abort", "null", "call-null", "read-only",
        "high", "data", "overflow", "divide", "trap", "breakpoint")  # fmt: skip
ELSEWHERE = {"exit 255": 255, "abort": 134, "null": 139, "overflow": 139, "trap": 133}
"""What Linux makes of them on arm64 and riscv64; __builtin_trap is a breakpoint there."""


@pytest.mark.parametrize(("machine", "way"), [(X86[n % len(X86)], way) for n, way in enumerate(WAYS)])
def test_a_program_ends_as_natively(machine: str, way: str, emulated: Keyed, built: Path, tmp_path: Path) -> None:
    program = build(built, ENDINGS, "gcc")
    expected = emulated.natively(program, *way.split(), cwd=tmp_path)
    result = emulated.run(machine, program, *way.split(), cwd=tmp_path)
    assert (result.status, result.stdout) == (expected.status, b"before\n")
    assert "Traceback" not in result.said


@pytest.mark.parametrize("machine", ["trustzone", "cca", "keystone"])
@pytest.mark.parametrize("way", ELSEWHERE)
def test_and_on_other_processors(machine: str, way: str, emulated: Keyed, built: Path, tmp_path: Path) -> None:
    program = build(built, ENDINGS, COMPILERS[architecture(machine)])
    result = emulated.run(machine, program, *way.split(), cwd=tmp_path)
    assert (result.status, result.stdout) == (ELSEWHERE[way], b"before\n")


@pytest.mark.parametrize(
    ("machine", "way", "said"),
    [
        ("native", "null", "cloister: the program was ended by SIGSEGV: write at 0x0: "),
        ("sev-snp", "null", "cloister: the program was ended by SIGSEGV: write at 0x0: "),
        ("sgx", "divide", "cloister: the program was ended by SIGFPE: divide error at 0x"),
        ("tdx", "trap", "cloister: the machine stopped the program: illegal instruction at 0x"),
    ],
)
def test_a_person_is_told_why(machine: str, way: str, said: str, emulated: Keyed, built: Path, tmp_path: Path) -> None:
    result = emulated.run(machine, build(built, ENDINGS, "gcc"), way, cwd=tmp_path)
    assert result.said.startswith(said)
    assert result.said.count("\n") == 1, "one line, and no mention of calls that do not matter"


def test_avx_is_named(emulated: Keyed, tmp_path: Path) -> None:
    program = tmp_path / "avx"
    program.write_bytes(assembled(tmp_path, ".globl _start\n_start: vpaddd %ymm0, %ymm1, %ymm2\n"))
    program.chmod(0o755)
    result = emulated.run("sme", str(program), cwd=tmp_path)
    assert result.status == 132
    assert "(AVX, which this processor has not: compile without -march=native and -mavx)" in result.said


UNSUPPORTED = {
    "thread": ("pthread_create: Function not implemented", "clone"),
    "fork": ("fork: Function not implemented", "clone"),
    "system": ("system: ", "clone"),
    "exec": ("execve: Function not implemented", "execve"),
    "raise": ("raise: Function not implemented", "tgkill"),
    "alarm": ("alarm: Function not implemented", "alarm"),
    "socket": ("socket: Function not implemented", "socket"),
}


@pytest.mark.parametrize(("machine", "what"), [(X86[n % len(X86)], what) for n, what in enumerate(UNSUPPORTED)])
def test_what_there_is_not_is_named_at_the_end(
    machine: str, what: str, emulated: Keyed, built: Path, tmp_path: Path
) -> None:
    result = emulated.run(machine, build(built, PROGRAMS / "unsupported.c", "gcc"), what, cwd=tmp_path)
    own, call = UNSUPPORTED[what]
    lines = result.said.splitlines()
    assert (result.status, lines[0][: len(own)]) == (1, own)
    told = f"cloister: the program failed, and had asked for what emulated machines do not have: {call} "
    assert lines[1:] == [told + "(there are no threads, processes, signal handlers or sockets)"]


def test_nothing_is_said_of_it_quietly_or_after_success(emulated: Keyed, built: Path, tmp_path: Path) -> None:
    program = build(built, PROGRAMS / "unsupported.c", "gcc")
    quiet = emulated.run("native", program, "socket", cwd=tmp_path, options=["--quiet"])
    assert quiet == Result(status=1, stdout=b"", stderr=b"socket: Function not implemented\n")
    assert emulated.run("native", program, "ignored", cwd=tmp_path) == Result(status=0, stdout=b"", stderr=b"")


# ---- streams


@pytest.mark.needs_program("busybox")
@pytest.mark.parametrize("words", [("cat",), ("sha256sum",)])
def test_ten_megabytes_go_through(words: tuple[str, ...], emulated: Keyed, tmp_path: Path) -> None:
    given = os.urandom(10_000_000)
    expected = emulated.natively(BUSYBOX, *words, cwd=tmp_path, given=given)
    assert emulated.run("sev", BUSYBOX, *words, cwd=tmp_path, given=given) == expected


@pytest.mark.needs_program("busybox", "bash")
@pytest.mark.parametrize(
    "line",
    ["cat <&-", "echo hi >&-", "seq 3 2>&-", "echo hi >/dev/full", "cat <&- >&- 2>&-", "sh -c 'read x; echo $?' <&-"],
)
def test_closed_and_full_streams_fail_as_natively(line: str, emulated: Keyed, tmp_path: Path) -> None:
    """A closed descriptor's number must not become that of a file of the machine's, such as DRAM."""
    prefix = ["bash", "-c", f'"$@" {line}', "bash"]
    expected = emulated.natively(*prefix, BUSYBOX, cwd=tmp_path)
    real = emulated.words("native", BUSYBOX, options=["--quiet", "--dram", "dram.bin"])
    done = subprocess.run([*prefix, *real], cwd=tmp_path, env=CLOISTER_ENVIRONMENT, capture_output=True, timeout=60)  # noqa: PLW1510 - the status is compared
    assert Result(status=done.returncode, stdout=done.stdout, stderr=done.stderr) == expected
    (tmp_path / "dram.bin").unlink()


@pytest.mark.needs_program("busybox", "bash")
def test_a_reader_that_goes_away_ends_the_program(emulated: Keyed, tmp_path: Path) -> None:
    words = ["bash", "-c", '"$@" | head -n 1; echo ${PIPESTATUS[0]}', "bash"]
    expected = emulated.natively(*words, BUSYBOX, "yes", cwd=tmp_path)
    result = emulated.natively(
        *words, *emulated.words("sgx", BUSYBOX, "yes"), cwd=tmp_path, environment=CLOISTER_ENVIRONMENT
    )
    assert result == expected == Result(status=0, stdout=b"y\n141\n", stderr=b"")


# ---- sizes


@pytest.mark.slow
def test_two_hundred_megabytes(emulated: Keyed, built: Path, tmp_path: Path) -> None:
    program = build(built, PROGRAMS / "working_set.c", "gcc")
    expected = emulated.natively(program, "200", cwd=tmp_path)
    assert emulated.run("sev-snp", program, "200", cwd=tmp_path, options=["--memory", "512"]) == expected


@pytest.mark.parametrize("machine", ["sgx", "tdx", "keystone"])
def test_a_working_set_far_larger_than_the_caches(machine: str, emulated: Keyed, built: Path, tmp_path: Path) -> None:
    source = PROGRAMS / "working_set.c"
    expected = emulated.natively(build(built, source, "gcc"), "8", cwd=tmp_path)
    program = build(built, source, COMPILERS[architecture(machine)])
    assert emulated.run(machine, program, "8", cwd=tmp_path, options=["--frames", "64"]) == expected


@pytest.mark.parametrize("machine", MACHINES)
def test_too_little_memory_says_so(machine: str, emulated: Keyed, tmp_path: Path) -> None:
    """A program of 3 MiB of zeros in a machine of 2 MiB."""
    program = tmp_path / "large"
    exits = {
        Architecture.X86_64: "mov $60, %eax; syscall",
        Architecture.ARM64: "mov x8, #93; svc #0",
        Architecture.RISCV64: "li a7, 93; ecall",
    }
    text = f".globl _start\n_start: {exits[architecture(machine)]}\n.bss\n.skip 3 << 20\n"
    program.write_bytes(assembled(tmp_path, text, architecture(machine)))
    program.chmod(0o755)
    result = emulated.run(machine, str(program), cwd=tmp_path, options=["--memory", "2"])
    assert result.status in {2, 121, 125}
    assert result.said.startswith("cloister run: ")
    assert "memory" in result.said or "DRAM" in result.said
    assert result.said.count("\n") == 1, "no traceback"


def test_a_program_that_was_refused_memory_is_told_of_the_option(emulated: Keyed, built: Path, tmp_path: Path) -> None:
    program = build(built, PROGRAMS / "working_set.c", "gcc")
    result = emulated.run("sev", program, "40", cwd=tmp_path, options=["--memory", "16"])
    assert result.status == 1
    assert result.said == (
        "malloc: Cannot allocate memory\n"
        "cloister: the program failed, and had been refused memory: give the machine more than --memory 16\n"
    )
