"""What a program is given at its start: arguments, environment, streams, signal state; and what it gives back."""

import hashlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from tests.system.arms import ARMS, CLOISTER_ENVIRONMENT, ENVIRONMENT, Arm, cloister_run, command

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime]

PROGRAMS = Path(__file__).parent / "programs"
ODD_WORDS = (
    "",
    "a b",
    "-x",
    "--",
    "--report=no",
    "ä€\U0001f9ea",
    "\udcff\udc80\x01",
    "\n",
    "*?[~$`'\"\\",
    "#!",
    "",
    "=",
)
LONG_WORD = "w" * 100_000  # below the kernel's 128 KiB for one string, execve(2)


@pytest.fixture(scope="module")
def report_start(tmp_path_factory: pytest.TempPathFactory) -> str:
    program = tmp_path_factory.mktemp("start") / "report_start"
    subprocess.run(["cc", "-O1", "-o", program, PROGRAMS / "report_start.c"], check=True, timeout=60)
    return str(program)


def output(
    arm: Arm,
    argv: Sequence[str],
    *,
    by: Callable[[Arm, Sequence[str]], list[str]] = command,
    env: Mapping[str, str] = ENVIRONMENT,
    before: Callable[[], None] | None = None,
) -> tuple[int, bytes, bytes]:
    done = subprocess.run(
        by(arm, argv),
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
        preexec_fn=before,
    )
    return done.returncode, done.stdout, done.stderr


def assert_same(argv: Sequence[str], **how: object) -> bytes:
    native, enclaved = (output(arm, argv, **how) for arm in ARMS)  # type: ignore[arg-type]
    assert enclaved == native
    return native[1]


@pytest.mark.needs_program("cc")
@pytest.mark.parametrize(
    "words", [(), ODD_WORDS, ("many",) * 5000, (LONG_WORD,) * 15], ids=["none", "odd", "5000", "long"]
)
def test_arguments_are_those_of_a_native_run(report_start: str, words: tuple[str, ...]) -> None:
    said = assert_same([report_start, *words])
    assert f"argc {len(words) + 1},".encode() in said


@pytest.mark.needs_program("cc")
def test_arguments_pass_through_cloister_run(report_start: str) -> None:
    assert_same([report_start, *ODD_WORDS], by=cloister_run, env=CLOISTER_ENVIRONMENT)


def test_cloister_run_adds_nothing_to_the_environment() -> None:
    bare = {"PYTHONPATH": CLOISTER_ENVIRONMENT["PYTHONPATH"]}
    done = subprocess.run(
        cloister_run("enclaved", ["/usr/bin/env", "-0"]), env=bare, capture_output=True, timeout=60, check=True
    )
    assert done.stdout.split(b"\0") == [f"PYTHONPATH={bare['PYTHONPATH']}".encode(), b""]


@pytest.mark.needs_program("cc")
@pytest.mark.parametrize(
    "environment",
    [{}, {"EMPTY": "", "ODD": "\udcff\n=\x01", "": "no name"}, {f"NAME_{n}": "v" * (n % 100) for n in range(3000)}],
    ids=["empty", "odd", "3000"],
)
def test_the_environment_is_that_of_a_native_run(report_start: str, environment: dict[str, str]) -> None:
    said = assert_same([report_start], env=environment)
    assert said.count(b"\nenv ") == len(environment)


@pytest.mark.needs_program("cc")
def test_signal_state_is_inherited(report_start: str) -> None:
    def prepare() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGCHLD, signal.SIGRTMIN})

    said = assert_same([report_start], before=prepare)
    assert b"signal 1 ignored\n" in said
    assert b"signal 10 default blocked\n" in said


@pytest.mark.needs_program("cc")
def test_a_closed_standard_stream_stays_closed(report_start: str) -> None:
    script = 'exec "$0" 0<&- 2>&- 7</dev/null'
    said = [
        subprocess.run(
            ["sh", "-c", script.replace('"$0"', '"$0" "$@"'), *command(arm, [report_start])],
            stdout=subprocess.PIPE,
            env=ENVIRONMENT,
            timeout=60,
            check=True,
        ).stdout
        for arm in ARMS
    ]
    assert b"fd 7 type 20000 flags 0" in said[0]
    assert b"fd 0 " not in said[0]
    assert said[1] == said[0]


@pytest.mark.parametrize("through", ["runtime", "cloister run"])
def test_a_large_binary_pipe_is_byte_exact(through: str) -> None:
    data = os.urandom(1 << 20) * 24 + b"\0\xff\r\n\x04\x1a" * 1001
    how = command if through == "runtime" else cloister_run
    done = subprocess.run(
        how("enclaved", ["cat"]), input=data, capture_output=True, env=CLOISTER_ENVIRONMENT, timeout=60, check=True
    )
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()
    assert done.stderr == b""


def test_a_closed_pipe_ends_the_program_as_natively() -> None:
    statuses = []
    for arm in ARMS:
        with subprocess.Popen(command(arm, ["yes"]), stdout=subprocess.PIPE, env=ENVIRONMENT) as process:
            assert process.stdout
            assert process.stdout.read(10) == b"y\n" * 5
            process.stdout.close()
            statuses.append(process.wait(30))
    assert statuses == [-signal.SIGPIPE] * 2


def test_every_exit_status() -> None:
    """By the runtime: 256 times the command line tool would only start Python 256 times."""
    script = 'for i in $(seq 0 255); do "$@" sh -c "exit $i"; echo $?; done'
    prefix = command("enclaved", ["sh"])[:-1]
    done = subprocess.run(
        ["bash", "-c", script.replace(" sh -c", " -c"), "bash", *prefix, "sh"],
        capture_output=True,
        env=ENVIRONMENT,
        timeout=100,
        check=True,
    )
    assert done.stdout.split() == [str(number).encode() for number in range(256)]
    assert done.stderr == b""


@pytest.mark.parametrize("status", [0, 1, 2, 120, 127, 255])
def test_exit_statuses_through_cloister_run(status: int) -> None:
    argv = cloister_run("enclaved", ["sh", "-c", f"exit {status}"])
    assert subprocess.run(argv, env=CLOISTER_ENVIRONMENT, timeout=60, check=False).returncode == status
