"""How programs end in emulated machines, and what a person is told who asked for what cannot be."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.machines.build import assembled
from tests.system.arms import CLOISTER_ENVIRONMENT
from tests.system.emulated import COMPILERS, MACHINES, PROGRAMS, X86, Keyed, Result, architecture, build
from tests.system.process_tree import moments
from tests.system.terminal import Terminal

from cloister.measure.image import Architecture

BUSYBOX = "/bin/busybox"
ENDINGS = PROGRAMS / "endings.c"
SIGINT = -int(signal.SIGINT)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("built")


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Keyed:
    return Keyed(tmp_path_factory.mktemp("keys"))


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


# ---- what somebody new meets


def test_mistakes_are_explained(emulated: Keyed, built: Path, tmp_path: Path) -> None:
    arm = build(built, ENDINGS, "aarch64-linux-gnu-gcc")
    (tmp_path / "script").write_text("#!/bin/sh\necho hi\n")
    (tmp_path / "script").chmod(0o755)
    (tmp_path / "empty").write_text("")
    (tmp_path / "empty").chmod(0o755)
    (tmp_path / "plain").write_text("not executable")
    (tmp_path / "kept").write_text("somebody's file")
    table: dict[tuple[str, str], tuple[int, list[str]]] = {
        ("sgx", arm): (121, ["is for arm64", "compile it with gcc -static"]),
        ("keystone", arm): (121, ["is for arm64", "compile it with riscv64-linux-gnu-gcc -static"]),
        ("sev", sys.executable): (121, ["is dynamically linked", "link it with -static"]),
        ("tdx", "./script"): (121, ["./script is a script", "for example /bin/busybox sh ./script"]),
        ("tdx", "./empty"): (121, ["./empty is not an ELF program"]),
        ("sme", "./plain"): (126, ["may not execute", "chmod +x ./plain"]),
        ("cca", "./"): (127, ["Is a directory"]),
        ("sgx", "./missing"): (127, ["./missing: No such file"]),
        ("sgx", "no-such-program"): (127, ["no such program in PATH", "./no-such-program"]),
        ("no-tee", arm): (2, ["no emulated machine is called 'no-tee'", "sev-snp"]),
        ("cca --dram kept", arm): (2, ["cannot make DRAM", "File exists", "does not exist yet"]),
        ("cca --dram no/where", arm): (2, ["cannot make DRAM", "No such file"]),
        ("cca --frames 5", arm): (2, ["--frames 5", "at least 64"]),
        ("cca --memory 0", arm): (2, ["--memory 0", "at least 1 MiB"]),
        ("sme --unsafe-debug", arm): (121, ["is for arm64"]),
        ("cca --host no/where", arm): (2, ["no", "No such file", "a directory that exists"]),
    }
    for (options, program), (status, words) in table.items():
        machine, *more = options.split()
        result = emulated.run(machine, program, cwd=tmp_path, options=more)
        assert (result.status, result.stdout) == (status, b""), (options, program, result)
        assert result.said.startswith("cloister run: "), result
        assert result.said.count("\n") == 1, result
        for word in words:
            assert word in result.said
    assert (tmp_path / "kept").read_text() == "somebody's file"
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    "options", [["--unsafe-outside"], ["--dram", "x"], ["--unsafe-plain-console"], ["--host", "x"], ["--unsafe-debug"]]
)
def test_options_of_machines_do_nothing_to_other_programs(options: list[str], tmp_path: Path) -> None:
    """--unsafe-outside alone would run the program unprotected."""
    words = [sys.executable, "-m", "cloister", "run", *options, "--", "/bin/echo", "ran"]
    result = Keyed.natively(*words, cwd=tmp_path, environment=CLOISTER_ENVIRONMENT)
    assert (result.status, result.stdout) == (2, b"")
    assert f"{options[0]} is for emulated machines, and --tee NAME chooses one" in result.said


def test_without_the_extra(emulated: Keyed, built: Path, tmp_path: Path) -> None:
    (tmp_path / "unicorn.py").write_text("raise ImportError('as if it were not installed')\n")
    path = f"{tmp_path}:{CLOISTER_ENVIRONMENT['PYTHONPATH']}"
    program = build(built, ENDINGS, "gcc")
    result = emulated.run("sgx", program, cwd=tmp_path, environment={**CLOISTER_ENVIRONMENT, "PYTHONPATH": path})
    expected = "cloister run: emulated machines need the extra `emulate`: pip install 'cloister[emulate]'\n"
    assert (result.status, result.said) == (2, expected)


# ---- a person at a terminal


def test_control_c_ends_it_and_leaves_the_terminal_as_it_was(emulated: Keyed, built: Path) -> None:
    program = build(built, PROGRAMS / "talk.c", "gcc")
    with Terminal(emulated.words("sev-es", program), env=CLOISTER_ENVIRONMENT) as terminal:
        terminal.expect(rb"cloister: emulated TEE \(sev-es\) outside the software enclave; root reads")
        terminal.expect(rb"terminal 111\r\n1> ")
        terminal.type(b"hello\n")
        terminal.expect(rb"hello\r\nyou said: hello\r\n2> ")
        terminal.type(b"\x03")
        assert terminal.wait() == SIGINT


def test_control_c_ends_a_program_that_computes(emulated: Keyed, tmp_path: Path) -> None:
    program = tmp_path / "loop"
    program.write_bytes(assembled(tmp_path, ".globl _start\n_start: jmp _start\n"))
    program.chmod(0o755)
    with Terminal(emulated.words("tdx", str(program)), env=CLOISTER_ENVIRONMENT) as terminal:
        terminal.expect(rb"outside the software enclave")
        time.sleep(1)
        terminal.type(b"\x03")
        assert terminal.wait() == SIGINT


def test_control_d_is_the_end_of_input(emulated: Keyed, built: Path) -> None:
    program = build(built, PROGRAMS / "talk.c", "riscv64-linux-gnu-gcc")
    with Terminal(emulated.words("keystone", program), env=CLOISTER_ENVIRONMENT) as terminal:
        terminal.expect(rb"1> ")
        terminal.type(b"\x04")
        terminal.expect(rb"bye\r\n")
        assert terminal.wait() == 3


def test_an_interrupted_machine_does_not_keep_its_socket(emulated: Keyed, built: Path, tmp_path: Path) -> None:
    program, place = build(built, PROGRAMS / "talk.c", "gcc"), str(tmp_path / "host")
    for _ in range(2):
        words = emulated.words("native", program, options=["--host", place])
        with Terminal(words, env=CLOISTER_ENVIRONMENT) as terminal:
            terminal.expect(rb"1> ")
            busy = emulated.run("native", program, cwd=tmp_path, options=["--host", place])
            assert (busy.status, busy.stdout) == (2, b""), "a running machine keeps it"
            terminal.type(b"\x03")
            assert terminal.wait() == SIGINT
    Path(place).unlink()
    Path(place).write_text("somebody's file")
    assert emulated.run("native", program, cwd=tmp_path, options=["--host", place]).status == 2
    assert Path(place).read_text() == "somebody's file"


class Tmux:
    """A tmux server of its own, with one window of 100 by 20."""

    def __init__(self, directory: Path) -> None:
        self.words = ["tmux", "-S", str(directory / "tmux"), "-f", "/dev/null"]
        self.command("new-session", "-d", "-x", "100", "-y", "20", "env PS1='$ ' sh")

    def command(self, *words: str) -> str:
        done = subprocess.run(
            [*self.words, *words], env=CLOISTER_ENVIRONMENT, capture_output=True, text=True, timeout=20, check=True
        )
        return done.stdout

    def screen_with(self, text: str) -> str:
        """The screen, once it shows a text."""
        screen = ""
        for _ in moments(20):
            screen = self.command("capture-pane", "-p", "-J")
            if text in screen:
                return screen
        raise AssertionError(f"{text!r} does not come; on the screen:\n{screen}")


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Tmux]:
    one = Tmux(tmp_path)
    yield one
    one.command("kill-server")


@pytest.mark.needs_program("tmux")
def test_a_conversation_in_tmux(emulated: Keyed, built: Path, tmux: Tmux, tmp_path: Path) -> None:
    """What a person types and sees: the prompt, the echo once, Ctrl-C, and a shell whose terminal still works."""
    program = build(built, PROGRAMS / "talk.c", "gcc")
    (tmp_path / "go").write_text(shlex.join(emulated.words("sgx", program, options=["--quiet"])))
    for key, seen in (("C-c", "$ "), ("C-d", "bye")):
        tmux.command("send-keys", f"clear; . {tmp_path}/go", "Enter")
        tmux.screen_with("\n1> ")
        tmux.command("send-keys", "good evening", "Enter")
        screen = tmux.screen_with("\n2> ")
        assert screen.count("1> good evening\nyou said: good evening\n2> ") == 1, screen
        tmux.command("send-keys", key)
        tmux.screen_with("^C" if key == "C-c" else seen)
    tmux.command("send-keys", "clear; echo status $?; stty", "Enter")
    screen = tmux.screen_with("speed")
    assert "-echo" not in screen.split()
    assert "-icanon" not in screen.split()
