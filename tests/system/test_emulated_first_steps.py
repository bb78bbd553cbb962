"""What somebody meets who tries emulated machines for the first time: mistakes, and a terminal."""

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
from tests.system.emulated import PROGRAMS, Keyed, build
from tests.system.process_tree import moments
from tests.system.terminal import Terminal

BUSYBOX = "/bin/busybox"
ENDINGS = PROGRAMS / "endings.c"
SIGINT = -int(signal.SIGINT)


@pytest.mark.slow
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
        ("sev --start-fd 0", arm): (2, ["--start-fd is for programs without --tee"]),
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


@pytest.mark.needs_program("bash")
@pytest.mark.parametrize(
    ("before", "status", "said"),
    [
        ("mkdir gone; cd gone; rmdir ../gone", 2, "the working directory is gone"),
        ("ulimit -f 10", 125, "File too large; see `ulimit -a`"),
    ],
)
def test_what_the_system_refuses_is_said(
    before: str, status: int, said: str, emulated: Keyed, built: Path, tmp_path: Path
) -> None:
    program = build(built, ENDINGS, "gcc")
    words = ["bash", "-c", f'{before}; "$@"', "bash", *emulated.words("sev-snp", program, "exit", "0")]
    result = emulated.natively(*words, cwd=tmp_path, environment=CLOISTER_ENVIRONMENT)
    assert result.status == status
    assert result.said.startswith("cloister run: ")
    assert said in result.said
    assert result.said.count("\n") == 1


def test_without_the_extra(emulated: Keyed, built: Path, tmp_path: Path) -> None:
    (tmp_path / "unicorn.py").write_text("raise ImportError('as if it were not installed')\n")
    path = f"{tmp_path}:{CLOISTER_ENVIRONMENT['PYTHONPATH']}"
    program = build(built, ENDINGS, "gcc")
    result = emulated.run("sgx", program, cwd=tmp_path, environment={**CLOISTER_ENVIRONMENT, "PYTHONPATH": path})
    expected = "cloister run: emulated machines need the extra `emulate`: pip install 'cloister[emulate]'\n"
    assert (result.status, result.said) == (2, expected)


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


@pytest.mark.parametrize("milliseconds", [0, 100, 200])
def test_control_c_at_any_moment_leaves_no_traceback(milliseconds: int, emulated: Keyed, tmp_path: Path) -> None:
    """Also while Python is still importing."""
    program = tmp_path / "loop"
    program.write_bytes(assembled(tmp_path, ".globl _start\n_start: jmp _start\n"))
    program.chmod(0o755)
    with Terminal(emulated.words("native", str(program)), env=CLOISTER_ENVIRONMENT) as terminal:
        terminal.expect(rb"outside the software enclave")  # said just before the emulator starts
        time.sleep(milliseconds / 1000)
        terminal.type(b"\x03")
        assert terminal.wait() == SIGINT
    assert b"Traceback" not in terminal.seen


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
        tmux.command("send-keys", f"clear; echo round {key}; . {tmp_path}/go", "Enter")
        tmux.screen_with(f"round {key}\n")  # the screen of the round before is gone
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


@pytest.mark.needs_program("busybox")
def test_a_shell_with_a_line_editor_shows_what_is_typed_once(emulated: Keyed) -> None:
    """The owner's terminal echoes; the program is told that its own does not, and leaves it at that."""
    with Terminal(emulated.words("sgx", BUSYBOX, "sh"), env={**CLOISTER_ENVIRONMENT, "PS1": "ready> "}) as terminal:
        terminal.expect(rb"ready> ")
        terminal.type(b"echo $((6*7))\n")
        terminal.expect(rb"echo \$\(\(6\*7\)\)\r\n42\r\nready> ")
        terminal.type(b"ls\n")
        terminal.expect(rb"sh: can't fork: Function not implemented\r\n")
        terminal.type(b"exit 4\n")
        assert terminal.wait() == 4
    assert terminal.seen.count(b"echo $((6*7))") == 1
