"""A running victim (runtime_programs/victim.c), native or enclaved, with its threads, child and guards."""

import contextlib
import os
import secrets
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cloister.launch.runtime_file import runtime_path
from cloister.observe.family import family

SOURCE = Path(__file__).resolve().parent / "runtime_programs" / "victim.c"
SECONDS = 20
Prepare = Callable[[], object]


def build(directory: Path, *flags: str) -> Path:
    """Compile the victim; the compiler's complaints are the failure."""
    target = directory / "victim"
    done = subprocess.run(
        ["cc", "-O1", "-pthread", *flags, "-o", target, SOURCE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return target


@dataclass(frozen=True, kw_only=True)
class Victim:
    """The process, its secret, and where (place, pid, address) copies of it stand."""

    process: subprocess.Popen[bytes]
    secret: bytes
    child: int
    places: list[tuple[str, int, int]]

    @property
    def pid(self) -> int:
        """The program's process id."""
        return self.process.pid

    def guards(self) -> list[int]:
        """The guards' process ids."""
        return [member.pid for member in family(self.pid) if member.role == "guard"]

    def threads(self) -> list[int]:
        """Every thread of the program, its child and its guards."""
        return [tid for pid in (self.pid, self.child, *self.guards()) for tid in threads_of(pid)]

    def ask(self, command: str) -> list[str]:
        """Send a command; the lines it answers with."""
        assert self.process.stdin
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()
        return read_until(self.process, "done")

    def is_unharmed(self) -> bool:
        """Whether the program still runs and every copy of the secret is whole."""
        return self.ask("check") == ["whole 1"]


def threads_of(pid: int) -> list[int]:
    return sorted(int(name) for name in os.listdir(f"/proc/{pid}/task"))


def read_until(process: subprocess.Popen[bytes], last: str) -> list[str]:
    """Lines up to `last`, without it; the victim's own flushing makes each line whole."""
    assert process.stdout
    lines: list[str] = []
    limit = time.monotonic() + SECONDS
    while not lines or lines[-1] != last:
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, limit - time.monotonic()))
        assert ready, f"no answer after {SECONDS} s; so far {lines}"
        line = process.stdout.readline()
        assert line, f"the victim ended with {process.wait()}; so far {lines}"
        lines.append(line.decode().strip())
    return lines[:-1]


@contextlib.contextmanager
def victim(
    program: Path,
    *,
    enclaved: bool = True,
    runtime: Path | None = None,
    cwd: Path | None = None,
    preexec_fn: Prepare | None = None,
) -> Iterator[Victim]:
    """Start a victim and wait until it is ready; afterwards end everything. `cwd`, `preexec_fn`: as Popen has them."""
    command = [str(runtime or runtime_path()), "--", str(program), str(program)] if enclaved else [str(program)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        bufsize=0,
        start_new_session=True,
        cwd=cwd,
        preexec_fn=preexec_fn,  # noqa: PLW1509  tests that pass one start no threads before
    )
    child = 0
    try:
        secret = b"secret-" + secrets.token_hex(16).encode()
        assert process.stdin
        process.stdin.write(secret + b"\n")
        words = [line.split() for line in read_until(process, "ready")]
        child = next(int(at) for name, at in words if name == "child")
        places = [(name, process.pid, int(at, 16)) for name, at in words if name != "child"]
        places += [(f"child {name}", child, at) for name, _, at in places if not name.startswith("thread")]
        yield Victim(process=process, secret=secret, child=child, places=places)
    finally:
        end(process, child)


def end(process: subprocess.Popen[bytes], child: int) -> None:
    for pid in (child, process.pid):
        with contextlib.suppress(ProcessLookupError):
            if pid:
                os.kill(pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            stream.close()


def is_gone(pid: int) -> bool:
    """Whether the process has ended (a zombie has)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state in "ZX"


def wait_until_gone(pids: list[int], seconds: float = 2.0) -> list[int]:
    """Those that are still there after `seconds`."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit and not all(map(is_gone, pids)):
        time.sleep(0.02)
    return [pid for pid in pids if not is_gone(pid)]
