"""The administrator's tools, really tried on a waiting process: what each got, in the kernel's or the tool's own words.

Each attempt takes the target and returns an `Attempt`; none leaves anything attached. They run on a process that
the lab started itself, and the last one, the core dump, ends it.
"""

import errno
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloister.app.lab.program import DUMP_SCRIPT
from cloister.app.lab.terminal import Terminal
from cloister.observe.report.record import Attempt, Outcome
from cloister.observe.trace import ptrace_unsafe
from cloister.observe.trace.memory_unsafe import read_by_call, read_by_file

__all__ = ["Target", "core_dump", "try_everything"]

NOBODY = 65534
TOOL_SECONDS = 30.0
PEEK_BYTES = 64
COMPLAINT = re.compile(
    r"not permitted|denied|[Cc]annot access|[Ii]nput/output error|[Cc]ould not|unable", re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True)
class Target:
    """A waiting process: where its input went to (0 if unknown), what to look for, and a directory for files."""

    pid: int
    address: int
    secret: bytes
    directory: Path


def try_everything(target: Target) -> tuple[Attempt, ...]:
    """Every attempt that leaves the process running, in the order of the report."""
    attempts: Sequence[Callable[[Target], Attempt]] = (
        another_user,
        proc_mem,
        vm_readv,
        dump_script,
        attach,
        gdb,
        gcore,
    )
    return tuple(attempt(target) for attempt in attempts)


def another_user(target: Target) -> Attempt:
    """Another user, `nobody`, reads /proc/PID/mem at the input's address with dd(1)."""
    tool, words = "another user: /proc/PID/mem", _dd(target)
    command = f"sudo -u nobody {' '.join(words)}"
    if os.geteuid() != 0:
        return _untried("user", tool, command, "only root can act as another user")
    return _judged("user", tool, command, target, _run(words, user=NOBODY))


def proc_mem(target: Target) -> Attempt:
    """Read the bytes at the input's address through /proc/PID/mem."""
    return _peek("/proc/PID/mem, at the input's address", " ".join(_dd(target)), target, read_by_file)


def vm_readv(target: Target) -> Attempt:
    """The same with process_vm_readv(2), the call that debuggers prefer."""
    return _peek("process_vm_readv, at the input's address", "", target, read_by_call)


def dump_script(target: Target) -> Attempt:
    """The exercise's own script, which shares no code with Cloister; its output is searched, not kept."""
    command = f"python3 {DUMP_SCRIPT} {target.pid} > dump.log; grep -ao {target.secret.decode()} dump.log"
    output = _run([sys.executable, "-I", str(target.directory / DUMP_SCRIPT), str(target.pid)])
    count = output.count(target.secret)
    if b"\nEND" not in output:
        outcome = Outcome.REFUSED if COMPLAINT.search(_complaint(output)) else Outcome.NOT_TRIED
        return _attempt("root", "the exercise's dump script", command, outcome, _complaint(output))
    outcome = Outcome.READ if count else Outcome.NOTHING_FOUND
    return _attempt("root", "the exercise's dump script", command, outcome, f"{count} lines from grep")


def attach(target: Target) -> Attempt:
    """ptrace(PTRACE_SEIZE), what every debugger and tracer begins with; let go at once if it succeeds."""
    tool, command = "ptrace(PTRACE_SEIZE)", f"strace -p {target.pid}"
    try:
        ptrace_unsafe.seize(target.pid, kill_with_tracer=False)
    except OSError as error:
        return _attempt("root", tool, command, Outcome.REFUSED, _words(error))
    ptrace_unsafe.interrupt(target.pid)
    os.waitpid(target.pid, ptrace_unsafe.WAIT_MINE)
    ptrace_unsafe.detach(target.pid)
    return _attempt("root", tool, command, Outcome.ATTACHED, "registers, memory and every system call are open")


def gdb(target: Target) -> Attempt:
    """Attach gdb and print the string at the input's address."""
    inspect = f"x/s {target.address:#x}"
    command = f"gdb -p {target.pid} -batch -ex '{inspect}'"
    if shutil.which("gdb") is None:
        return _untried("root", "gdb", command, "gdb is not installed")
    argv = ["gdb", "-nx", "-p", str(target.pid), "-batch", "-iex", "set debuginfod enabled off", "-ex", inspect]
    return _judged("root", "gdb", command, target, _run(argv))


def gcore(target: Target) -> Attempt:
    """Write a core file of the living process with gcore, and search it."""
    command = f"gcore -o core {target.pid}; grep -c {target.secret.decode()} core.{target.pid}"
    if shutil.which("gcore") is None:
        return _untried("root", "gcore", command, "gcore (package gdb) is not installed")
    stem = target.directory / "gcore"
    output = _run(["gcore", "-o", str(stem), str(target.pid)])
    return _searched("gcore", command, target, stem.with_name(f"gcore.{target.pid}"), output)


def core_dump(target: Target, terminal: Terminal) -> Attempt:
    """Let the kernel write a core file as the process dies of SIGSEGV, and search it. Ends the process."""
    command = f"ulimit -c unlimited  # before the start; then: kill -SEGV {target.pid}"
    pattern = Path("/proc/sys/kernel/core_pattern").read_text(encoding="utf-8").strip()
    if pattern.startswith(("|", "/")):
        return _untried("root", "core dump by the kernel", command, f"core files go to {pattern!r} here")
    try:
        resource.prlimit(target.pid, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except OSError as error:
        return _attempt(
            "root", "core dump by the kernel", command, Outcome.REFUSED, f"raising its limit: {_words(error)}"
        )
    terminal.end(signal.SIGSEGV)
    cores = sorted(target.directory.glob("core*"))
    missing = b"the kernel wrote no core file"
    return _searched(
        "core dump by the kernel", command, target, cores[0] if cores else target.directory / "core", missing
    )


def _dd(target: Target) -> list[str]:
    """dd(1) seeks to `skip` blocks of one byte, so it reads at that address and nowhere else."""
    return ["dd", f"if=/proc/{target.pid}/mem", "bs=1", f"skip={target.address}", f"count={len(target.secret)}"]


def _peek(tool: str, command: str, target: Target, read: Callable[[int, int, int], bytes]) -> Attempt:
    if not target.address:
        return _untried("root", tool, command, "the address is not known: /proc/PID/syscall does not show a read")
    try:
        data = read(target.pid, target.address, PEEK_BYTES)
    except OSError as error:
        return _attempt("root", tool, command, Outcome.REFUSED, _words(error))
    found = target.secret in data
    return _attempt("root", tool, command, Outcome.READ if found else Outcome.NOTHING_FOUND, f"{len(data)} bytes read")


def _searched(tool: str, command: str, target: Target, core: Path, output: bytes) -> Attempt:
    """Judge a core file by its contents, and delete it: it holds the secret natively."""
    if not core.exists():
        return _attempt("root", tool, command, Outcome.REFUSED, _complaint(output))
    data = core.read_bytes()
    core.unlink()
    count = data.count(target.secret)
    outcome = Outcome.READ if count else Outcome.NOTHING_FOUND
    return _attempt("root", tool, command, outcome, f"found {count} times in a core file of {len(data)} bytes")


def _judged(adversary: str, tool: str, command: str, target: Target, output: bytes) -> Attempt:
    """READ if the tool printed the secret, else REFUSED with its own words."""
    if target.secret in output:
        return _attempt(adversary, tool, command, Outcome.READ, "it printed the secret")
    return _attempt(adversary, tool, command, Outcome.REFUSED, _complaint(output))


def _attempt(adversary: str, tool: str, command: str, outcome: Outcome, detail: str) -> Attempt:
    return Attempt(adversary=adversary, tool=tool, command=command, outcome=outcome, detail=detail)


def _untried(adversary: str, tool: str, command: str, why: str) -> Attempt:
    return _attempt(adversary, tool, command, Outcome.NOT_TRIED, why)


def _run(argv: Sequence[str], user: int | None = None) -> bytes:
    """Run a tool to its end; its standard output and error together. A tool that hangs is killed."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TOOL_SECONDS,
            check=False,
            user=user,
            cwd="/",
        )
    except subprocess.TimeoutExpired as error:
        return (error.stdout or b"") + b"\nstopped after its time limit"
    except OSError as error:
        return str(error).encode()
    return done.stdout


def _words(error: OSError) -> str:
    """`EPERM: Operation not permitted`."""
    code = error.errno or 0
    return f"{errno.errorcode.get(code, code)}: {os.strerror(code)}"


def _complaint(output: bytes) -> str:
    """The line in which a tool says why it failed: tools go on to print prompts and farewells after it."""
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    told = [line for line in lines if COMPLAINT.search(line)]
    return (told or lines[-1:] or ["no output"])[0][:200]
