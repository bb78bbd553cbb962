"""The program under attack: started by the battery, native or enclaved, with a fresh secret, and ended by it."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cloister.errors import LaunchError
from cloister.launch.command import RuntimeOptions, enclave_command, find_program, start_block
from cloister.launch.start_pipe import filled_pipe
from cloister.observe.family import GUARD_COMM, family, read_status
from cloister.observe.prove.grounds.gate import Gate
from cloister.observe.prove.secret import PLACEHOLDER, Secret

__all__ = [
    "HOLDER",
    "VICTIM",
    "Arena",
    "Setting",
    "Start",
    "Target",
    "open_core_limit",
    "settle",
    "threads_of",
    "wait_for",
]

VICTIM = (
    "/bin/sh",
    "-c",
    (
        'read -r S; [ -n "$S" ] || S=$TOKEN; echo "ready ${#S}"; while read -r C; do case $C in '
        'check) echo "whole ${#S}";; '
        "fork) i=0; while [ $i -lt 3000 ]; do ( : ); i=$((i+1)); done; echo forked;; "
        'exec) i=0; while [ $i -lt 3000 ]; do TOKEN="$S" /bin/true "$S"; i=$((i+1)); done; echo executed;; '
        "grow) i=0; while [ $i -lt 40 ]; do B=$S; j=0; while [ $j -lt 17 ]; do B=$B$B; j=$((j+1)); done; "
        "B=; i=$((i+1)); done; echo grown;; "
        "fill) B=$S; while :; do B=$B$B; done;; "
        "spin) i=0; while [ $i -lt 3000000 ]; do i=$((i+1)); done; echo spun;; "
        "esac; done"
    ),
)
"""The built-in victim: a shell that takes a secret from standard input, or from TOKEN, and does what it is told."""

START_SECONDS = 20.0
SETTLE_SECONDS = 0.1
END_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is attacked, and what an attack may do to the machine.

    `words` is empty for the built-in victim. `variable` is the environment variable that carries the secret; empty:
    standard input. `delay` is how long a program of the user's is given to take it.
    """

    words: tuple[str, ...] = ()
    variable: str = ""
    delay: float = 0.5
    unsafe_no_guard: bool = False
    may_change_machine: bool = False


@dataclass(frozen=True, kw_only=True)
class Target:
    """A running program that holds `secret`, in a directory of its own. Its standard output is a file there."""

    process: subprocess.Popen[bytes]
    secret: bytes = field(repr=False)
    enclaved: bool
    directory: Path
    output: Path

    @property
    def pid(self) -> int:
        """The program's process id."""
        return self.process.pid

    def family(self) -> list[int]:
        """The program, its children and its guards."""
        return [member.pid for member in family(self.pid)]

    def guards(self) -> list[int]:
        """Its guards; none natively."""
        return [member.pid for member in family(self.pid) if member.role == "guard"]

    def threads(self) -> list[int]:
        """Every thread of the family."""
        return [tid for pid in self.family() for tid in threads_of(pid)]

    def tell(self, command: str) -> None:
        """A line to its standard input."""
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.write(command.encode() + b"\n")

    def said(self, what: bytes) -> bool:
        """Whether its output has this."""
        return what in self.output.read_bytes()

    def is_ready(self) -> bool:
        """Whether it said on a line of its own that it has its secret: refusals of the runtime say "already"."""
        return any(line.startswith(b"ready") for line in self.output.read_bytes().splitlines())

    def alive(self) -> bool:
        """Whether it still runs. Looks at /proc, so that a tracer's waitpid(2) is not disturbed."""
        with contextlib.suppress(OSError):
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        return False


def threads_of(pid: int) -> list[int]:
    """Thread ids; none when it has ended."""
    with contextlib.suppress(OSError):
        return sorted(int(name) for name in os.listdir(f"/proc/{pid}/task"))
    return []


def wait_for(condition: Callable[[], object], seconds: float, step: float = 0.01) -> bool:
    """Whether the condition came true within the time."""
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            return False
        time.sleep(step)
    return True


@dataclass(frozen=True, kw_only=True)
class Start:
    """How a start differs from the usual one.

    `in_the_open`: variable and arguments go through execve(2). `raw`: the words are the whole command already.
    `manifest`: the descriptor of what a strict enclave may load. `user`: who runs it, instead of root. `shield`: the
    block of the enclaved arm's shields. `streams`: its standard input and outputs; with a shielded console, where that
    is. `gate`: where it waits until it is traced.
    """

    in_the_open: bool = False
    raw: bool = False
    manifest: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    user: int | None = None
    shield: bytes = field(default=b"", repr=False)
    streams: tuple[int, int] | None = None
    console: bool = False
    gate: Gate | None = None

    def options(self, *, unsafe_no_guard: bool) -> RuntimeOptions:
        """What the runtime is asked for."""
        options = RuntimeOptions(unsafe_no_guard=unsafe_no_guard, manifest_fd=self.manifest, shield=bool(self.shield))
        if self.console and self.streams is not None:
            options.console_fd = self.streams[1]
        return options

    def inherited(self) -> list[int]:
        """Descriptors that are handed on."""
        found = [] if self.manifest is None else [self.manifest]
        found += [] if self.streams is None else [self.streams[1]]
        return found + ([] if self.gate is None else [self.gate.theirs.fileno()])


@dataclass(frozen=True, kw_only=True)
class Arena:
    """One arm. Every target that is started here is ended when its `with` block is."""

    setting: Setting
    enclaved: bool
    directory: Path

    @contextlib.contextmanager
    def target(
        self,
        *,
        words: Sequence[str] = (),
        variable: str | None = None,
        built_in: bool = False,
        start: Start | None = None,
    ) -> Iterator[Target]:
        """The program, once it holds the secret.

        `words`: another program. `built_in`: the built-in victim, whatever the user chose. `variable`: how the secret
        is given, as in `Setting`; by default as the user chose. `start`: what else is not as usual.
        """
        chosen = tuple(words) or (VICTIM if built_in else self.setting.words or VICTIM)
        ours = bool(words) or built_in or not self.setting.words
        how = ("" if ours else self.setting.variable) if variable is None else variable
        with self.started(chosen, Secret.fresh("battery").value, how, start) as target:
            if not how:
                target.tell(target.secret.decode())
            elif ours:
                target.tell("")  # the built-in victim reads a line first
            settle(target, ours=ours, seconds=self.setting.delay)
            yield target

    @contextlib.contextmanager
    def started(
        self, words: Sequence[str], secret: bytes, variable: str = "", how: Start | None = None
    ) -> Iterator[Target]:
        """The program, just started. `variable` gives it the secret by a start block, as `cloister prove` does."""
        with tempfile.TemporaryDirectory(dir=self.directory) as name:
            directory = Path(name)
            directory.chmod(0o777)
            process, output = self.launch(list(words), secret, variable, directory, how or Start())
            try:
                yield Target(process=process, secret=secret, enclaved=self.enclaved, directory=directory, output=output)
            finally:
                end(process)

    def victim(self) -> tuple[str, ...]:
        """The user's program, or the built-in victim."""
        return self.setting.words or VICTIM

    def command(self, words: Sequence[str]) -> list[str]:
        """The command that runs this in this arm."""
        if not self.enclaved:
            return list(words)
        return enclave_command(words[0], words[1:], RuntimeOptions(unsafe_no_guard=self.setting.unsafe_no_guard))

    def launch(
        self, words: list[str], secret: bytes, variable: str, directory: Path, how: Start
    ) -> tuple[subprocess.Popen[bytes], Path]:
        """The running native or enclaved command, and the file that takes its output."""
        environment = {variable: secret.decode()} if variable else {}  # at the lowest address
        environment.update({**os.environ, **how.environment})
        words = [word.replace(PLACEHOLDER, secret.decode()) for word in words]
        words[0] = str(Path(find_program(words[0])).absolute())
        inherit = how.inherited()
        pipe = None
        if self.enclaved and not how.raw:
            options = how.options(unsafe_no_guard=self.setting.unsafe_no_guard)
            if (variable and not how.in_the_open) or how.shield:
                options.start_fd = pipe = filled_pipe(start_block(words, environment, shield=how.shield))
                inherit.append(pipe)
                environment.pop(variable, None)
                words = words[:1]
            words = enclave_command(words[0], words[1:], options)
        output = directory / "output"
        try:
            with output.open("wb") as stream:
                process = subprocess.Popen(
                    words if how.gate is None else how.gate.command(words),
                    stdin=subprocess.PIPE if how.streams is None else how.streams[0],
                    stdout=stream if how.streams is None else how.streams[1],
                    stderr=subprocess.STDOUT,
                    bufsize=0,
                    cwd=how.cwd or directory,
                    env=environment,
                    pass_fds=inherit,
                    start_new_session=True,
                    user=how.user,
                    group=how.user,
                    extra_groups=None if how.user is None else (),
                )
        finally:
            if pipe is not None:
                os.close(pipe)
        return process, output


def settle(target: Target, *, ours: bool, seconds: float) -> None:
    """Wait until the program holds the secret. LaunchError if it does not get so far."""
    if ours:
        wait_for(lambda: target.is_ready() or not target.alive(), START_SECONDS)
        if not target.is_ready():
            tail = target.output.read_text(errors="replace")[-200:].replace(target.secret.decode(), "SECRET")
            raise LaunchError(f"the target did not get ready: {tail.strip() or 'it said nothing'}")
        time.sleep(SETTLE_SECONDS)
    else:
        time.sleep(seconds)
    if not target.alive():
        raise LaunchError("the target ended before it could be attacked: it must wait once it has the secret")


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill the program, its children and its guards, and wait until they are gone."""
    members = [member.pid for member in family(process.pid)] if is_own_child(process.pid) else []
    for pid in members:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=END_SECONDS)
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    wait_for(lambda: not any(still_there(pid) for pid in members), 1.0)


def is_own_child(pid: int) -> bool:
    """Whether the number still means what was started: it may have ended under a tracer's waitpid(2)."""
    with contextlib.suppress(OSError, KeyError):
        return read_status(pid).parent == os.getpid()
    return False


def still_there(pid: int) -> bool:
    """Whether this guard or child has not ended."""
    with contextlib.suppress(OSError, KeyError):
        return read_status(pid).comm == GUARD_COMM and Path(f"/proc/{pid}/maps").read_bytes() != b""
    return False


def open_core_limit(pid: int) -> None:
    """prlimit(2): core files as large as they come, up to the hard limit where that cannot be raised."""
    try:
        resource.prlimit(pid, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (PermissionError, ValueError):
        _, most = resource.prlimit(pid, resource.RLIMIT_CORE)
        resource.prlimit(pid, resource.RLIMIT_CORE, (most, most))


HOLDER = (
    sys.executable,
    "-c",
    (
        "import mmap, os, sys\n"
        "s = sys.stdin.buffer.readline().strip()\n"
        "f = os.memfd_create('holder'); os.ftruncate(f, 4096); m = mmap.mmap(f, 4096); m[:len(s)] = s\n"
        "open('written', 'wb').write(s)\n"
        "print('ready', flush=True); sys.stdin.read()\n"
    ),
)
"""The control of attacks on files and descriptors: it keeps its secret in a memfd and in a file of its directory."""
