"""Programs on a real terminal: interactive shells with job control, editing keys, resizing, full-screen programs."""

import contextlib
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.arms import ARMS, CLOISTER_ENVIRONMENT, Arm, cloister_run
from tests.system.conftest import MemoryProof
from tests.system.process_tree import moments, read_process
from tests.system.terminal import Terminal

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime]

ENVIRONMENT = {**CLOISTER_ENVIRONMENT, "PS1": "<>", "TERM": "xterm"}
BASH = ["bash", "--norc", "--noprofile", "--noediting", "-i"]
CONTROL_C, CONTROL_D, CONTROL_Z, CONTROL_BACKSLASH = b"\x03", b"\x04", b"\x1a", b"\x1c"
NOTICE = rb"cloister: software enclave; [^\n]*\n"
PROMPT = rb"<>"


@contextlib.contextmanager
def bash(arm: Arm) -> Iterator[Terminal]:
    with Terminal(cloister_run(arm, BASH), env=ENVIRONMENT) as terminal:
        terminal.expect(PROMPT)
        yield terminal


def order(terminal: Terminal, line: bytes) -> bytes:
    """Type a line; returns what stands on the screen between it and the next prompt."""
    terminal.type(line + b"\n")
    return terminal.expect(re.escape(line) + rb"\r\n(.*?)" + PROMPT)[1]


def session_of_job_control(terminal: Terminal) -> list[bytes]:
    """A person's session; returns what they saw, with process ids replaced."""
    seen = [order(terminal, b"echo $((6 * 7)) | cat; tty >/dev/null && echo at a terminal")]
    terminal.type(b"sleep 100\n")
    wait_for_job(terminal, "sleep")
    terminal.type(CONTROL_Z)
    seen.append(terminal.expect(rb"\[1\]\+  Stopped +sleep 100\r\n")[0])
    terminal.expect(PROMPT)
    seen += [order(terminal, b"jobs"), order(terminal, b"bg"), order(terminal, b"jobs")]
    terminal.type(b"fg\n")
    terminal.expect(rb"sleep 100\r\n")
    wait_for_job(terminal, "sleep")
    terminal.type(CONTROL_C)
    terminal.expect(PROMPT)
    seen.append(order(terminal, b"echo status $?"))
    terminal.type(b"cat | cat\n")
    wait_for_job(terminal, "cat")
    terminal.type(b"through two\n")
    seen.append(terminal.expect(rb"through two\r\nthrough two\r\n")[0])
    terminal.type(CONTROL_D)
    terminal.expect(PROMPT)
    terminal.type(b"sleep 100\n")
    wait_for_job(terminal, "sleep")
    terminal.type(CONTROL_BACKSLASH)
    seen.append(terminal.expect(rb"Quit")[0])
    terminal.expect(PROMPT)
    seen.append(order(terminal, b"sleep 0.1 & wait %1; echo waited $?"))
    seen.append(order(terminal, b"kill -INT $$; echo still here"))
    terminal.type(b"exit 37\n")
    assert terminal.wait() == 37
    return [re.sub(rb"\b\d{3,}\b", b"N", text) if b"sleep 100" not in text else text for text in seen]


def wait_for_job(terminal: Terminal, name: str) -> None:
    """Until it runs in the foreground: before it is executed it is still the shell, which ignores some keys."""
    for _ in moments(10):
        process = read_process(terminal.foreground())
        if process and process.name == name:
            return
    raise AssertionError(f"{name} did not come into the foreground")


@pytest.mark.needs_program("bash")
def test_job_control() -> None:
    seen = []
    for arm in ARMS:
        with bash(arm) as terminal:
            seen.append(session_of_job_control(terminal))
    assert seen[1] == seen[0]


@pytest.mark.needs_program("bash")
def test_an_interactive_shell_keeps_its_secret(memory_proof: MemoryProof, marker: bytes) -> None:
    with bash("native") as native, bash("enclaved") as enclaved:
        for terminal in (native, enclaved):
            order(terminal, b"stty -echo")
            terminal.type(b"read -r kept\n" + marker + b"\n")
            terminal.expect(PROMPT)
            terminal.type(b"(read -r inner <<<$kept; exec 3<&0; echo in the subshell; read -r _) \n")
            terminal.expect(rb"in the subshell\r\n")
        memory_proof([native.pid], [enclaved.pid], marker)
        for terminal in (native, enclaved):
            terminal.type(b"\nexit 3\n")
            assert terminal.wait() == 3


WATCHER = """
trap 'echo resized to $(stty size)' WINCH
echo "$(stty size), watching"
while :; do read -t 0.05 -r _; done
"""


@pytest.mark.needs_program("bash")
def test_resizing_is_seen_by_the_program() -> None:
    for arm in ARMS:
        with Terminal(cloister_run(arm, ["bash", "-c", WATCHER]), env=ENVIRONMENT) as terminal:
            terminal.expect(rb"24 80, watching\r\n")
            terminal.resize(columns=100, lines=40)
            terminal.expect(rb"resized to 40 100\r\n")
            terminal.type(CONTROL_C)
            assert terminal.wait() == -signal.SIGINT, arm


@pytest.mark.parametrize(("key", "number"), [(CONTROL_C, signal.SIGINT), (CONTROL_BACKSLASH, signal.SIGQUIT)])
def test_a_key_ends_a_program_that_is_alone_on_its_terminal(key: bytes, number: signal.Signals) -> None:
    for arm in ARMS:
        with Terminal(cloister_run(arm, ["cat"]), env=ENVIRONMENT) as terminal:
            terminal.type(b"hello\n")
            terminal.expect(rb"hello\r\n.*hello\r\n")
            terminal.type(key)
            assert terminal.wait() == -number, arm


@pytest.mark.needs_program("bash")
def test_a_terminal_that_goes_away_ends_the_shell_and_its_jobs() -> None:
    """Closing the window: the kernel sends SIGHUP. The fixture then looks for what stayed behind."""
    for arm in ARMS:
        with Terminal(cloister_run(arm, BASH), env=ENVIRONMENT) as terminal:
            terminal.expect(PROMPT)
            order(terminal, b"sleep 60 & sleep 61 | cat &")
            terminal.hang_up()


@pytest.mark.needs_program("vim")
def test_an_editor(tmp_path: Path) -> None:
    for arm in ARMS:
        file = tmp_path / arm
        with Terminal(cloister_run(arm, ["vim", "-u", "NONE", "-N", str(file)]), env=ENVIRONMENT) as terminal:
            terminal.expect(rb"\[New\]")
            terminal.type(b"ihello\x1byyp:wq\n")
            assert terminal.wait() == 0, arm
        assert file.read_text() == "hello\nhello\n"


def test_the_notice_is_for_people_only() -> None:
    with Terminal(cloister_run("enclaved", ["true"]), env=ENVIRONMENT) as terminal:
        terminal.expect(NOTICE)
        assert terminal.wait() == 0
