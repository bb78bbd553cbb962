"""Engine B: the kernel's tracepoints, natively and on the software enclave."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloister.launch.command import RuntimeOptions, enclave_command
from cloister.observe.family import GUARD_COMM
from cloister.observe.trace import EngineName, NameKind, Options, Stop, Tracer, Unfinished, Unreadable, trace_program
from cloister.observe.trace.processes import comm, tracer_of
from cloister.observe.trace.tracefs import open_tracefs, why_unavailable

TRACEPOINTS = Options(engine=EngineName.TRACEPOINTS)
SECRET = b"s3cret-K1tten"
PROGRAM = "/bin/cat"


@pytest.fixture(autouse=True)
def instances() -> Iterator[None]:
    """Skip where the kernel's tracer is not available; check that every instance is removed."""
    missing = why_unavailable()
    if missing:
        pytest.skip(missing)
    before = own_instances()
    yield
    assert own_instances() <= before


def own_instances() -> set[str]:
    root = open_tracefs()
    try:
        folder = os.open("instances", os.O_RDONLY, dir_fd=root)
        try:
            return {name for name in os.listdir(folder) if name.startswith(f"cloister-{os.getpid()}-")}
        finally:
            os.close(folder)
    finally:
        os.close(root)


def test_the_same_calls_as_ptrace() -> None:
    with Path(os.devnull).open("r+b") as null:
        fd = null.fileno()
        seen = [
            trace_program(["/bin/true"], secrets={}, stdin=fd, stdout=fd, timeout=30, options=Options(engine=engine))
            for engine in EngineName
        ]
    names = [[call.name for call in trace.calls] for trace in seen]
    assert names[0] == names[1]
    assert names[0][0] == "execve"
    assert [trace.status for trace in seen] == [0, 0]
    programs = seen[1].summary.of_kind(NameKind.PROGRAM)
    assert [name.text for name in programs] == ["/bin/true"]
    assert any("beside the running program" in note for note in seen[1].notes)


def test_forks_are_followed_and_exit_codes_passed_on() -> None:
    seen = trace_program(
        ["/bin/sh", "-c", "/bin/true | /bin/true; exit 7"], secrets={}, timeout=30, options=TRACEPOINTS
    )
    assert seen.status == 7
    assert len({call.pid for call in seen.calls}) == 3
    assert [name.text for name in seen.summary.of_kind(NameKind.PROGRAM)] == ["/bin/sh", "/bin/true"]


def test_a_program_that_waits_is_killed_after_the_timeout() -> None:
    seen = trace_program(["/bin/sleep", "60"], secrets={}, timeout=0.5, options=TRACEPOINTS)
    assert seen.status == 128 + signal.SIGKILL
    assert not Path(f"/proc/{seen.pid}").exists()


def test_contents_of_a_native_program_that_waits_are_found() -> None:
    with subprocess.Popen([PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        carried = observe(process, process.pid)
        assert "password" in {item for _, item in carried}
        process.kill()


def observe(process: subprocess.Popen[bytes], pid: int) -> set[tuple[str, str]]:
    """Attach, pass the secret through the program, let go; (call, label) of what carried it."""
    tracer = Tracer.process(pid, secrets={"password": SECRET}, options=TRACEPOINTS)
    tracer.start()
    pass_through(process, tracer)
    tracer.stop(Stop.DETACH)
    seen = tracer.wait(20)
    assert isinstance(seen.status, Unfinished)
    return {(item.name, item.carried.label) for item in seen.summary.carried}


def pass_through(process: subprocess.Popen[bytes], tracer: Tracer) -> None:
    """Wait until the tracer sees the blocked read, feed the secret, wait for the echo to be recorded."""
    assert process.stdin
    assert process.stdout
    until(lambda: any(call.name == "read" for call in tracer.in_progress()))
    process.stdin.write(SECRET + b"\n")
    assert process.stdout.read(len(SECRET) + 1) == SECRET + b"\n"
    until(lambda: "write" in tracer.summary.counts)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert true()


@pytest.fixture
def enclaved() -> Iterator[subprocess.Popen[bytes]]:
    command = enclave_command(PROGRAM, [], RuntimeOptions())
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        try:
            assert process.stdin
            assert process.stdout
            process.stdin.write(b"ready\n")
            assert process.stdout.read(6) == b"ready\n"
            yield process
        finally:
            process.kill()


@pytest.mark.needs_runtime
def test_an_enclaved_program_shows_sizes_and_channels_but_no_contents(enclaved: subprocess.Popen[bytes]) -> None:
    assert comm(tracer_of(enclaved.pid)) == GUARD_COMM
    tracer = Tracer.process(enclaved.pid, secrets={"password": SECRET})
    assert tracer.choice.engine is EngineName.TRACEPOINTS
    assert "guard holds it" in tracer.choice.reason
    tracer.start()
    pass_through(enclaved, tracer)
    tracer.stop(Stop.DETACH)
    seen = tracer.wait(20)
    assert seen.summary.carried == []
    moved = {call.name: call for call in seen.calls if call.transfers}
    for name in ("read", "write"):
        assert moved[name].result == len(SECRET) + 1
        assert moved[name].transfers[0].channel.startswith("pipe:[")
        assert moved[name].arguments[1].contents == Unreadable(reason="secret memory")
    assert enclaved.poll() is None


@pytest.mark.needs_runtime
def test_starting_an_enclave_under_trace_uses_tracepoints_and_leaves_out_the_guards() -> None:
    command = enclave_command("/bin/sleep", ["0.3"], RuntimeOptions())
    seen = trace_program(command, secrets={}, timeout=30)
    assert seen.engine is EngineName.TRACEPOINTS
    assert seen.status == 0
    assert seen.summary.counts["memfd_secret"].calls > 0
    assert "secret memory" in seen.summary.unreadable
    assert any("guard were left out" in note for note in seen.notes)
