"""Starting a program that waits at a gate until its tracer is ready.

The child is made by fork in the calling thread, because ptrace and wait go by thread, and waits on a pipe before
it executes the program. Between fork and exec it only makes system calls.
"""

import errno
import os
import shutil
import signal
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cloister.errors import NotExecutable, NotFound, ObservationError, UsageError

__all__ = ["Gated", "Program", "start_gated"]

GO = b"g"
ERRNO_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to run: `path` is the file, `argv` what the program sees, descriptors None are inherited."""

    argv: tuple[str, ...]
    path: str
    env: dict[str, str] = field(repr=False)
    stdin: int | None = None
    stdout: int | None = None
    stderr: int | None = None
    cwd: str | None = None

    @staticmethod
    def find(argv: Sequence[str], env: Mapping[str, str] | None, cwd: str | None = None) -> "Program":
        """Look the program up in PATH as a shell does. Raises `UsageError`, `NotFound`, `NotExecutable`."""
        if not argv:
            raise UsageError("no program to trace; write it after `--`")
        environment = dict(os.environ if env is None else env)
        where = argv[0] if "/" not in argv[0] or cwd is None else str(Path(cwd, argv[0]))
        found = shutil.which(where, path=environment.get("PATH", os.defpath))
        if found is None and Path(where).exists():
            raise NotExecutable(f"{argv[0]} may not be executed; give it execute permission (chmod +x)")
        if found is None:
            raise NotFound(f"{argv[0]}: no such program; give its path, or install it")
        return Program(argv=tuple(argv), path=str(Path(found).absolute()) if cwd else found, env=environment, cwd=cwd)


@dataclass(kw_only=True)
class Gated:
    """A child that waits. Use `go` once, then `executed` to learn whether the exec worked."""

    pid: int
    gate: int = field(repr=False)
    report: int = field(repr=False)

    def go(self) -> None:
        """Open the gate."""
        os.write(self.gate, GO)
        os.close(self.gate)
        self.gate = -1

    def failure(self, program: Program) -> Exception | None:
        """After the child ended or executed: the reason why the exec failed, or None."""
        data = os.read(self.report, ERRNO_BYTES)
        os.close(self.report)
        self.report = -1
        if len(data) < ERRNO_BYTES:
            return None
        code = int.from_bytes(data, "little")
        if code == errno.ENOENT:
            return NotFound(f"{program.path}: not found when executed; its interpreter may be missing")
        if code in (errno.EACCES, errno.ENOEXEC):
            return NotExecutable(f"{program.path} may not be executed: {os.strerror(code)}")
        return ObservationError(f"{program.path} could not be started: {os.strerror(code)}")

    def close(self) -> None:
        """Drop what is still open. A child whose gate closes unopened ends by itself."""
        for descriptor in (self.gate, self.report):
            if descriptor >= 0:
                os.close(descriptor)
        self.gate = self.report = -1


def start_gated(program: Program) -> Gated:
    """Fork a child that executes `program` when its gate opens."""
    gate_read, gate_write = os.pipe()
    report_read, report_write = os.pipe()
    with warnings.catch_warnings():
        # Python warns of forks beside threads; this child only makes system calls before it execs.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.close(gate_write)
        become(program, gate_read, report_write)
    os.close(gate_read)
    os.close(report_write)
    return Gated(pid=pid, gate=gate_write, report=report_read)


def become(program: Program, gate: int, report: int) -> None:
    """In the child: wait, arrange descriptors, execute. Never returns."""
    try:
        if os.read(gate, 1) == GO:
            arrange(program.stdin, program.stdout, program.stderr)
            if program.cwd is not None:
                os.chdir(program.cwd)
            # Python ignores these two; a program expects them as the shell leaves them.
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            os.execve(program.path, program.argv, program.env)
    except OSError as error:
        os.write(report, (error.errno or errno.EIO).to_bytes(ERRNO_BYTES, "little"))
    finally:
        os._exit(127)


def arrange(*sources: int | None) -> None:
    """Make `sources` the standard descriptors, also when one of them is a standard descriptor itself."""
    copies = [None if source is None else os.dup(source) for source in sources]
    for target, copy in enumerate(copies):
        if copy is not None:
            os.dup2(copy, target, inheritable=True)
