"""`cloister trace` as a user meets it: streams, exit codes, signals, a terminal."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SECRET = "s3cret-K1tten"
SOURCE = Path(__file__).parents[2] / "src"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SOURCE)}
COMMAND = [sys.executable, "-m", "cloister", "trace"]


def cloister(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], input=stdin, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
    )


def test_streams_and_exit_code_are_the_programs() -> None:
    done = cloister("--engine", "ptrace", "--", "/bin/sh", "-c", "cat; exit 7", stdin="through\n")
    assert done.returncode == 7
    assert done.stdout == "through\n"
    assert "write(1<pipe:[" in done.stderr
    assert '"through\\n"' in done.stderr
    assert "+++ exited with 7 +++" in done.stderr
    assert "tracing with ptrace: asked for" in done.stderr
    assert "metadata still visible" in done.stderr


def test_lines_go_to_a_file(tmp_path: Path) -> None:
    done = cloister("-o", str(tmp_path / "calls"), "--", "/bin/echo", "hello")
    assert (done.stdout, done.stderr) == ("hello\n", "")
    assert 'execve("/bin/echo", ["/bin/echo", "hello"]' in (tmp_path / "calls").read_text()


def test_json_is_the_only_thing_on_standard_output(tmp_path: Path) -> None:
    planted = tmp_path / "pw"
    planted.write_text(SECRET + "\n")
    done = cloister("--json", "--secret-file", str(planted), "--", "/bin/cat", stdin=SECRET + "\n")
    document = json.loads(done.stdout)
    assert document["format"] == "cloister-trace-1"
    assert document["engine"] == "ptrace"
    assert document["status"] == 0
    assert {item["name"] for item in document["summary"]["carried"]} == {"read", "write"}
    assert "<secret:pw 13 bytes>" in done.stdout
    assert SECRET not in done.stdout
    assert SECRET in done.stderr  # the program's own output


def test_exit_status_of_the_trace() -> None:
    carried = cloister("--exit-status", "trace", "--secret", SECRET, "--", "/bin/cat", stdin=SECRET)
    assert carried.returncode == 10
    clean = cloister("--exit-status", "trace", "--secret", SECRET, "--", "/bin/sh", "-c", "exit 7")
    assert clean.returncode == 0


COPIERS = {
    "copy_file_range": "os.copy_file_range(source, sink, 64)",
    "sendfile": "os.sendfile(sink, source, 0, 64)",
    "splice": "pipe = os.pipe(); os.splice(source, pipe[1], 64); os.splice(pipe[0], sink, 64)",
}


@pytest.mark.parametrize("call", COPIERS)
def test_what_the_kernel_moves_by_itself_is_no_zero(tmp_path: Path, call: str) -> None:
    planted, copy = tmp_path / "pw", tmp_path / "copy"
    planted.write_text(SECRET)
    code = (
        f"import os, sys; source = os.open(sys.argv[1], 0); sink = os.open(sys.argv[2], 0o101, 0o600); {COPIERS[call]}"
    )
    words = ("--", sys.executable, "-I", "-c", code, str(planted), str(copy))
    done = cloister("--summary", "--exit-status", "trace", "--secret-file", str(planted), *words)
    assert copy.read_text() == SECRET
    assert "calls that carried a secret: 0\n" in done.stderr
    moved = re.search(
        r"bytes moved inside the kernel, contents not looked at: (\d+) in (\d calls?) \((.*)\)", done.stderr
    )
    assert moved
    assert (int(moved[1]) % len(SECRET), moved[3]) == (0, call)
    assert done.returncode == 16


def test_without_a_secret_nothing_is_counted() -> None:
    done = cloister("--summary", "--exit-status", "trace", "--", "/bin/true")
    assert "calls that carried a secret: not looked for" in done.stderr
    assert done.returncode == 16


def test_two_secrets_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "pw").write_text(SECRET + folder)
    done = cloister("--secret-file", str(tmp_path / "one/pw"), "--secret-file", str(tmp_path / "two/pw"), "--", "true")
    assert done.returncode == 2
    assert "another secret is called pw already" in done.stderr


def test_a_secret_on_standard_input_is_not_the_programs() -> None:
    done = cloister("--summary", "--secret-stdin", "--", "/bin/cat", stdin=f"{SECRET}\nx {SECRET}\n")
    assert done.stdout == f"x {SECRET}\n"
    assert "calls that carried a secret: 2" in done.stderr
    assert SECRET not in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "give either a program"),
        (["-p", "1", "--", "true"], 2, "give either a program"),
        (["--secret-file", "/nonexistent", "--", "true"], 2, "readable file"),
        (["-p", "1073741824"], 3, "does not exist"),
        (["--", "/nonexistent"], 127, "no such program"),
    ],
)
def test_what_cannot_work_says_why(words: list[str], code: int, message: str) -> None:
    done = cloister(*words)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_signal_sent_to_the_tracer_reaches_the_program() -> None:
    program = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    command = [*COMMAND, "--summary", "--", "/bin/sh", "-c", program]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        assert process.wait(30) == 5


def test_ctrl_c_in_a_terminal_reaches_the_program_and_the_trace_is_reported(tmp_path: Path) -> None:
    output = tmp_path / "calls"
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [*COMMAND, "-o", str(output), "--", "/bin/cat"], ENVIRONMENT)
    try:
        os.write(terminal, b"hello\n")
        read_until(terminal, b"hello\r\nhello\r\n")
        os.write(terminal, b"\x03")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 128 + signal.SIGINT
    finally:
        os.close(terminal)
    text = output.read_text()
    assert "--- SIGINT {si_signo=SIGINT, si_code=SI_KERNEL} ---" in text
    assert "+++ killed by SIGINT +++" in text
    assert "metadata still visible" in text


def read_until(terminal: int, wanted: bytes) -> None:
    seen, deadline = b"", time.monotonic() + 30
    while wanted not in seen and time.monotonic() < deadline:
        seen += os.read(terminal, 4096)
    assert wanted in seen


def test_attaching_and_letting_go_with_ctrl_c() -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as sleeper:
        try:
            command = [*COMMAND, "-p", str(sleeper.pid)]
            with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as process:
                assert process.stderr
                assert "tracing with" in process.stderr.readline()
                time.sleep(0.3)
                process.send_signal(signal.SIGINT)
                assert "1 system call of 1 process in" in process.communicate(timeout=30)[1]
                assert process.returncode == 0
            assert sleeper.poll() is None
        finally:
            sleeper.kill()
