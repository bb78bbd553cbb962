"""Small facts about live processes from /proc that the engines need."""

import contextlib
import os
import signal
from pathlib import Path

from cloister.observe.family import GUARD_COMM, family, read_status

__all__ = ["blocked_in", "comm", "is_guard", "kill", "process_of", "threads", "tracer_of", "tree"]


def process_of(tid: int) -> int:
    """The process that a thread belongs to; the thread itself when it has already ended."""
    try:
        with open(f"/proc/{tid}/status", "rb") as file:  # noqa: PTH123 - on the path of every new thread
            for line in file:
                if line.startswith(b"Tgid:"):
                    return int(line[5:])
    except (FileNotFoundError, ProcessLookupError):
        return tid
    return tid


def threads(pid: int) -> list[int]:
    """The threads of a process, first the main one; none when it has ended."""
    try:
        return sorted(int(name) for name in os.listdir(f"/proc/{pid}/task"))
    except (FileNotFoundError, ProcessLookupError):
        return []


def blocked_in(tid: int) -> tuple[int, ...]:
    """The system call a task waits in: number and six registers; empty while it runs or where /proc does not tell.

    Source: proc_pid_syscall(5). A guard that holds ptrace does not stand in the way of this.
    """
    try:
        words = Path(f"/proc/{tid}/syscall").read_text(encoding="ascii").split()
    except OSError:
        return ()
    return tuple(int(word, 0) for word in words[:7]) if len(words) == 9 else ()


def tracer_of(pid: int) -> int:
    """The process that traces `pid`; 0 when none does or `pid` has ended."""
    try:
        return read_status(pid).tracer
    except (FileNotFoundError, ProcessLookupError):
        return 0


def comm(pid: int) -> str:
    """The kernel's name of a process; empty when it has ended."""
    try:
        return read_status(pid).comm
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_guard(pid: int) -> bool:
    """True for a guard process of a software enclave."""
    return comm(pid) == GUARD_COMM


def kill(pid: int) -> None:
    """SIGKILL, if the process is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def tree(pid: int) -> list[int]:
    """A process and its descendants, without guards."""
    return [member.pid for member in family(pid) if member.role != "guard"]
