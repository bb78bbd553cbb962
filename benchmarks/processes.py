"""Running programs: to their end with a clock, or as servers that are gone afterwards whatever happens."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.benchmark import NotMeasured

__all__ = [
    "READY_SECONDS",
    "Finished",
    "free_port",
    "last_round",
    "numbers_of",
    "run",
    "serving",
    "start_milliseconds",
    "whole",
    "whole_and_last",
]

RUN_SECONDS = 60.0
READY_SECONDS = 20.0
STOP_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A program that ended well: seconds from before its start to after its end, and its standard output."""

    seconds: float
    output: str


def run(command: Sequence[str], *, given: str = "") -> Finished:
    """Run a program with `given` on its standard input; NotMeasured unless it exits with 0 in a minute."""
    begin = time.perf_counter()
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise NotMeasured(f"{name_of(command)} did not end within {RUN_SECONDS:.0f} s") from error
    seconds = time.perf_counter() - begin
    if done.returncode:
        raise NotMeasured(f"{name_of(command)} ended with {done.returncode}: {last_words(done.stderr)}")
    return Finished(seconds=seconds, output=done.stdout)


def numbers_of(command: Sequence[str]) -> dict[str, float]:
    """Run one of our own programs, which print lines of a name and a number."""
    words = [line.split() for line in run(command).output.splitlines()]
    return {name: float(number) for name, number in words}


def whole(command: Sequence[str], *, says: str) -> float:
    """Seconds of a whole process; NotMeasured if it prints anything else."""
    finished = run(command)
    if finished.output != says:
        raise NotMeasured(f"{name_of(command)} printed {finished.output!r}, not {says!r}")
    return finished.seconds


def last_round(command: Sequence[str]) -> float:
    """What a program that measures itself says of its last round: seconds."""
    return numbers_of(command)["last"]


def whole_and_last(command: Sequence[str]) -> dict[str, float]:
    """Seconds of a whole process, and what it says of its last round."""
    finished = run(command)
    return {"whole": finished.seconds, "last": float(finished.output.split()[1])}


def start_milliseconds(command: list[str], count: int) -> float:
    """Mean time from posix_spawn(3) to the end of a program that does nothing, over `count` starts in a row."""
    begin = time.perf_counter()
    for _ in range(count):
        pid = os.posix_spawn(command[0], command, os.environ)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status:
            raise NotMeasured(f"{name_of(command)} ended with {status}")
    return (time.perf_counter() - begin) / count * 1e3


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def serving(command: Sequence[str], port: int, scratch: Path) -> Iterator[None]:
    """Run a server in `scratch` while the block runs, beginning when `port` answers.

    It gets a session of its own, so that its workers end with it even if it dies without ending them.
    """
    log = scratch / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, cwd=scratch, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_until_ready(server, command, port, log)
        yield
    finally:
        stop(server)


def wait_until_ready(server: subprocess.Popen[bytes], command: Sequence[str], port: int, log: Path) -> None:
    """Return when the server accepts connections; NotMeasured if it ends or takes too long."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and not has_ended(server.pid):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.01)
    raise NotMeasured(f"{name_of(command)} does not answer on its port: {last_words(log.read_text(errors='replace'))}")


def stop(server: subprocess.Popen[bytes]) -> None:
    """Ask the server to end, then end whatever is left of its session.

    It is reaped last: until then nobody else can get its number, so the signals reach this session and no other.
    """
    os.kill(server.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline and not has_ended(server.pid):
        time.sleep(0.01)
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def has_ended(pid: int) -> bool:
    """Whether a child has ended, without reaping it (waitid(2))."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def last_words(text: str) -> str:
    """The last two lines of what a program said: what went wrong and, where programs say it, how to fix it."""
    return "; ".join(line.strip() for line in text.strip().splitlines()[-2:]) or "no message"


def name_of(command: Sequence[str]) -> str:
    """How messages name a command: the program that it is about, not what starts it."""
    words = command[command.index("--") + 1 :] if "--" in command else command
    return Path(words[0]).name
