"""Engine A on real programs: compared with strace, and on threads, signals, job control, secrets."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from cloister.errors import NotExecutable, NotFound, ObservationError
from cloister.observe.trace import (
    Call,
    Ended,
    EngineName,
    NameKind,
    Options,
    Signal,
    Stop,
    Trace,
    Tracer,
    Unfinished,
    Unreadable,
    trace_document,
    trace_process,
    trace_program,
)

SECRET = b"s3cret-K1tten"
SECRETS = {"password": SECRET}
PTRACE = Options(engine=EngineName.PTRACE)
# join returns before the thread has left the kernel for the last time; the sleep lets it.
THREADS = """
import threading, time
thread = threading.Thread(target=lambda: open('/dev/null').close())
thread.start(), thread.join(), time.sleep(0.2)
"""


def script(text: str) -> list[str]:
    return [os.path.realpath(sys.executable), "-I", "-S", "-c", text]


def trace(argv: Sequence[str], stdin: bytes = b"") -> Trace:
    reader, writer = os.pipe()
    os.write(writer, stdin)
    os.close(writer)
    with Path(os.devnull).open("wb") as sink:
        try:
            return trace_program(
                argv,
                secrets=SECRETS,
                stdin=reader,
                stdout=sink.fileno(),
                stderr=sink.fileno(),
                timeout=30,
                options=PTRACE,
            )
        finally:
            os.close(reader)


def by_order(calls: Sequence[Call]) -> list[list[str]]:
    """Names by task, tasks in the order in which they appear."""
    tasks: dict[int, list[str]] = {}
    for call in calls:
        tasks.setdefault(call.tid, []).append(call.name)
    return sorted(tasks.values(), key=lambda names: names[0] != "execve")


def strace(argv: Sequence[str], folder: Path) -> list[list[str]]:
    # The same kind of standard descriptors as `trace` gives: programs ask what they are.
    null = subprocess.DEVNULL
    command = ["strace", "-ff", "-o", str(folder / "s"), "--", *argv]
    subprocess.run(command, check=True, timeout=60, stdin=null, stdout=null, stderr=null)
    files = sorted(folder.glob("s.*"), key=lambda path: int(path.suffix[1:]))
    return [re.findall(r"^(\w+)\(", path.read_text(), re.MULTILINE) for path in files]


@pytest.mark.needs_program("strace")
@pytest.mark.parametrize(
    "argv", [["/bin/true"], ["/bin/cat", "/etc/hostname"], script(THREADS)], ids=["true", "cat", "threads"]
)
def test_the_same_calls_as_strace(argv: list[str], tmp_path: Path) -> None:
    expected = strace(argv, tmp_path)
    reader = os.open(os.devnull, os.O_RDONLY)
    with Path(os.devnull).open("wb") as sink:
        seen = trace_program(
            argv, secrets={}, stdin=reader, stdout=sink.fileno(), stderr=sink.fileno(), timeout=30, options=PTRACE
        )
    os.close(reader)
    assert expected[0][0] == "execve"
    assert calm(by_order(seen.calls)) == calm(expected)


def calm(tasks: list[list[str]]) -> list[list[str]]:
    """Without what differs from run to run: waiting for one another, and trimming maps to random addresses."""
    if len(tasks) == 1:
        return tasks
    varying = ("futex", "brk", "mmap", "munmap", "mprotect", "madvise")
    return [[name for name in task if name not in varying] for task in tasks]


def test_arguments_results_and_names() -> None:
    seen = trace(["/bin/cat", "/etc/hostname", "/nonexistent"])
    assert seen.status == 1
    opened = [call for call in seen.calls if call.name == "openat"]
    assert any(call.arguments[1].text == '"/etc/hostname"' and "</etc/hostname>" in call.result_text for call in opened)
    assert any(call.failed and call.result_text.startswith("-1 ENOENT") for call in opened)
    files = {name.text: name.succeeded for name in seen.summary.of_kind(NameKind.FILE)}
    assert files["/etc/hostname"]
    assert not files["/nonexistent"]
    assert seen.summary.of_kind(NameKind.PROGRAM)[0].text == "/bin/cat"
    assert seen.summary.flows["/etc/hostname"].bytes_in == len(Path("/etc/hostname").read_bytes())
    assert isinstance(seen.calls[-1].result, Unfinished)


def test_which_calls_carried_the_secret_and_its_bytes_nowhere() -> None:
    seen = trace(["/bin/sh", "-c", "read x; echo $x; echo $x | base64; X=$x /bin/true $x"], SECRET + b"\n")
    found = {
        (item.name, item.carried.argument, item.carried.encoding.partition("@")[0]) for item in seen.summary.carried
    }
    assert {("read", "buf", "raw"), ("write", "buf", "raw"), ("write", "buf", "base64")} <= found
    assert {("execve", "argv", "raw"), ("execve", "envp", "raw")} <= found
    # dash reads a line byte by byte: the secret comes in pieces.
    assert any(item.carried.pieces for item in seen.summary.carried)
    document = json.dumps(trace_document(seen))
    assert SECRET.decode() not in document
    assert "<secret:password" in document


def test_exit_status_and_signals() -> None:
    assert trace(["/bin/sh", "-c", "exit 7"]).status == 7
    killed = trace(["/bin/sh", "-c", "kill -TERM $$"])
    assert killed.status == 128 + signal.SIGTERM
    assert [event.signal for event in killed.events if isinstance(event, Signal)] == [signal.SIGTERM]
    caught = trace(["/bin/sh", "-c", "trap 'exit 5' USR1; kill -USR1 $$"])
    assert caught.status == 5


def test_forks_and_threads_are_followed() -> None:
    seen = trace(["/bin/sh", "-c", "(exit 3); /bin/true | /bin/true"])
    assert len({call.pid for call in seen.calls}) == 4
    assert [event.status for event in seen.events if isinstance(event, Ended)].count(3) == 1
    threaded = trace(script(THREADS))
    assert len({call.tid for call in threaded.calls}) == 2
    assert len({call.pid for call in threaded.calls}) == 1


def test_a_thread_that_executes_takes_over() -> None:
    execute = "t = threading.Thread(target=os.execv, args=('/bin/sh', ['sh', '-c', 'exit 4']))"
    seen = trace(script(f"import threading, os; {execute}; t.start(); t.join()"))
    assert seen.status == 4


def test_a_stopped_program_stays_stopped_and_goes_on() -> None:
    seen = trace(["/bin/sh", "-c", "(sleep 0.2; kill -CONT $$) & kill -STOP $$; wait; exit 6"])
    assert seen.status == 6
    assert signal.SIGSTOP in [event.signal for event in seen.events if isinstance(event, Signal)]


def test_secret_memory_is_a_typed_reason() -> None:
    program = """
import ctypes, mmap, os, sys
libc = ctypes.CDLL(None)
fd = libc.syscall(447, 0)
if fd < 0: sys.exit(77)
os.ftruncate(fd, 4096)
libc.mmap.restype = ctypes.c_void_p
address = libc.mmap(None, ctypes.c_size_t(4096), 3, 1, fd, ctypes.c_long(0))
libc.write(2, ctypes.c_void_p(address), ctypes.c_size_t(64))
"""
    seen = trace(script(program))
    if seen.status == 77:
        pytest.skip("memfd_secret is not available on this machine")
    (call,) = [call for call in seen.calls if call.name == "write" and call.result == 64]
    assert call.arguments[1].contents == Unreadable(reason="secret memory")
    assert "unreadable: secret memory" in call.arguments[1].text
    assert call.transfers[0].size == 64


def test_network_destinations_are_visible() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        seen = trace(
            script(f"import socket; s = socket.create_connection(('127.0.0.1', {port})); s.send(b'{SECRET.decode()}')")
        )
    assert f"127.0.0.1:{port}" in [name.text for name in seen.summary.of_kind(NameKind.DESTINATION)]
    (send,) = [call for call in seen.calls if call.name == "sendto"]
    assert send.transfers[0].channel.endswith(f"->127.0.0.1:{port}")
    assert [item.label for item in send.carried] == ["password"]


def test_missing_programs_are_reported(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such program"):
        trace(["/nonexistent/program"])
    plain = tmp_path / "plain"
    plain.write_text("x")
    with pytest.raises(NotExecutable, match="chmod"):
        trace([str(plain)])
    plain.write_text("#!/nonexistent/interpreter\n")
    plain.chmod(0o755)
    with pytest.raises(NotFound, match="interpreter"):
        trace([str(plain)])


def test_a_program_that_waits_is_stopped_after_the_timeout() -> None:
    begun = time.monotonic()
    seen = trace_program(["/bin/sleep", "60"], secrets={}, timeout=0.5, options=PTRACE)
    assert time.monotonic() - begun < 20
    assert seen.status == 128 + signal.SIGKILL
    assert seen.calls[-1].name == "clock_nanosleep"
    assert not Path(f"/proc/{seen.pid}").exists()


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    program = "import sys, os\nfor line in sys.stdin.buffer.raw: os.write(1, line)"
    with subprocess.Popen(script(program), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"ready\n")
        process.stdout.read(6)
        yield process
        process.kill()


def test_a_running_process_is_traced_and_let_go(sleeper: subprocess.Popen[bytes]) -> None:
    assert sleeper.stdin
    assert sleeper.stdout
    tracer = Tracer.process(sleeper.pid, secrets=SECRETS)
    assert tracer.choice.engine is EngineName.PTRACE
    tracer.start()
    deadline = time.monotonic() + 20
    while not any(call.name == "read" for call in tracer.in_progress()) and time.monotonic() < deadline:
        time.sleep(0.01)
    sleeper.stdin.write(SECRET + b"\n")
    assert sleeper.stdout.read(len(SECRET) + 1) == SECRET + b"\n"
    tracer.stop(Stop.DETACH)
    seen = tracer.wait(20)
    assert {("read", "raw"), ("write", "raw")} <= {(item.name, item.carried.encoding) for item in seen.summary.carried}
    assert isinstance(seen.status, Unfinished)
    sleeper.stdin.write(b"still alive\n")
    assert sleeper.stdout.read(12) == b"still alive\n"


def test_tracing_until_a_call(sleeper: subprocess.Popen[bytes]) -> None:
    assert sleeper.stdin
    feeder = threading.Timer(0.5, sleeper.stdin.write, (b"x\n",))
    feeder.start()
    seen = trace_process(sleeper.pid, secrets={}, until=lambda call: call.name == "write", timeout=20)
    feeder.join()
    assert any(call.name == "write" for call in seen.calls)
    assert sleeper.poll() is None


def test_two_traces_at_once_do_not_disturb_each_other_nor_other_children() -> None:
    with subprocess.Popen(["/bin/sh", "-c", "exit 9"]) as other:
        results: list[Trace] = []
        workers = [
            threading.Thread(target=lambda: results.append(trace(["/bin/sh", "-c", "exit 3"]))) for _ in range(2)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert other.wait(20) == 9
    assert [result.status for result in results] == [3, 3]


def test_a_process_that_another_tracer_holds_is_refused(sleeper: subprocess.Popen[bytes]) -> None:
    holder = Tracer.process(sleeper.pid, secrets={})
    holder.start()
    deadline = time.monotonic() + 20
    while not holder.in_progress() and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(ObservationError, match="ptrace refused"):
        trace_process(sleeper.pid, secrets={}, options=PTRACE, timeout=5)
    holder.stop(Stop.DETACH)
    holder.wait(20)
