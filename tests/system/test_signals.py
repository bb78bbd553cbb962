"""Signals: to the program and from it, with the same wait status as natively."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.system.arms import ARMS, CLOISTER_ENVIRONMENT, ENVIRONMENT, Arm, cloister_run, command
from tests.system.conftest import MemoryProof
from tests.system.conversation import Conversation

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime]

HARMLESS = {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH}
STOPPING = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
DEADLY = sorted(set(signal.Signals) - HARMLESS - STOPPING)
ANSWERING = """
import os, signal, sys
secret = sys.stdin.readline()
def answer(number, frame):
    os.write(1, f"got {number} {len(secret)}\\n".encode())
    if number == signal.SIGTERM:
        sys.exit(43)
for name in ("USR1", "HUP", "INT", "QUIT", "WINCH", "CONT", "TERM"):
    signal.signal(signal.Signals["SIG" + name], answer)
os.write(1, b"ready\\n")
while True:
    signal.pause()
"""

GROUP = """
trap 'echo shell got it; exit 9' TERM
(trap 'echo subshell got it; exit' TERM; echo ready; while :; do sleep 0.02; done) &
wait
"""


def wait_status(arm: Arm, argv: list[str]) -> int:
    """The whole word of wait(2), core flag included."""
    words = command(arm, argv)
    pid = os.posix_spawnp(
        words[0], words, ENVIRONMENT, setsigdef=set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}
    )
    return os.waitpid(pid, 0)[1]


@pytest.mark.parametrize("number", DEADLY, ids=lambda number: signal.Signals(number).name)
def test_a_program_that_ends_itself_by_a_signal(number: int) -> None:
    native, enclaved = (wait_status(arm, ["sh", "-c", f"kill -{int(number)} $$"]) for arm in ARMS)
    assert os.WIFSIGNALED(native)
    assert os.WTERMSIG(native) == number
    assert os.WTERMSIG(enclaved) == number
    assert os.WIFSIGNALED(enclaved)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGHUP, signal.SIGSEGV, signal.SIGSYS]
)
def test_a_signal_from_outside_ends_cloister_run_and_the_program(number: signal.Signals, tmp_path: Path) -> None:
    argv = cloister_run("enclaved", ["sh", "-c", "echo ready; while :; do sleep 0.02; done"])
    with Conversation(argv, cwd=tmp_path, env=CLOISTER_ENVIRONMENT) as talk:
        talk.expect(b"ready")
        os.kill(talk.pid, number)
        assert talk.process.wait(20) == -number


@pytest.mark.needs_program("/usr/bin/python3")
def test_handlers_answer_signals_from_outside(memory_proof: MemoryProof, marker: bytes, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        argv = ["/usr/bin/python3", "-c", ANSWERING]
        talks = [stack.enter_context(Conversation(command(arm, argv), cwd=tmp_path)) for arm in ARMS]
        for talk in talks:
            talk.send(marker + b"\n")
            talk.expect(b"ready\n")
            for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH) * 20:
                os.kill(talk.pid, number)
                talk.expect(b"got %d %d\n" % (number, len(marker) + 1))
        memory_proof([talks[0].pid], [talks[1].pid], marker)
        for talk in talks:
            os.kill(talk.pid, signal.SIGTERM)
        native, enclaved = (talk.finish() for talk in talks)
    assert native.status == 43
    assert enclaved == native


def test_stop_and_continue_are_seen_by_the_parent() -> None:
    for arm in ARMS:
        words = command(arm, ["sleep", "30"])
        # A group of its own with a parent in this session: SIGTSTP does not stop an orphaned group (setpgid(2)).
        pid = os.posix_spawnp(words[0], words, ENVIRONMENT, setpgroup=0)
        seen = []
        for number, flag in (
            (signal.SIGSTOP, os.WUNTRACED),
            (signal.SIGCONT, os.WCONTINUED),
            (signal.SIGTSTP, os.WUNTRACED),
        ):
            os.kill(pid, number)
            seen.append(os.waitpid(pid, flag)[1])
        os.kill(pid, signal.SIGKILL)
        final = os.waitpid(pid, 0)[1]
        assert os.WSTOPSIG(seen[0]) == signal.SIGSTOP, arm
        assert os.WIFCONTINUED(seen[1]), arm
        assert os.WSTOPSIG(seen[2]) == signal.SIGTSTP, arm
        assert os.WTERMSIG(final) == signal.SIGKILL, arm


def test_a_whole_process_group_is_reached(tmp_path: Path) -> None:
    outcomes = []
    for arm in ARMS:
        with Conversation(command(arm, ["bash", "-c", GROUP]), cwd=tmp_path, new_group=True) as talk:
            talk.expect(b"ready")
            assert os.getpgid(talk.pid) == talk.pid
            os.killpg(talk.pid, signal.SIGTERM)
            done = talk.finish()
            outcomes.append((done.status, sorted(done.stdout.splitlines())))
    assert outcomes[0] == (9, [b"ready", b"shell got it", b"subshell got it"])
    assert outcomes[1] == outcomes[0]


def test_a_timeout_program_ends_it_as_natively() -> None:
    argv = ["timeout", "--preserve-status", "0.2", "sleep", "30"]
    statuses = [subprocess.run(command(arm, argv), env=ENVIRONMENT, timeout=20, check=False).returncode for arm in ARMS]
    assert statuses == [128 + signal.SIGTERM] * 2


def test_a_program_killed_while_it_starts_leaves_no_guard_behind() -> None:
    """At any moment of the start, which takes a few milliseconds. The fixture looks for what stayed behind."""
    words = command("enclaved", ["sleep", "30"])
    for moment in range(60):
        pid = os.posix_spawnp(words[0], words, ENVIRONMENT)
        time.sleep(moment / 10_000)
        os.kill(pid, signal.SIGKILL)
        assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
