"""Which processes run, who belongs to whom: read from /proc, and from nothing of Cloister."""

import contextlib
import os
import signal
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

GUARD = "cloister-guard"


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process: `state` is the letter of proc_pid_status(5); `tracer` is 0 when nothing traces it."""

    pid: int
    name: str
    state: str
    parent: int
    tracer: int

    @property
    def is_guard(self) -> bool:
        return self.name == GUARD

    @property
    def is_dead(self) -> bool:
        return self.state in {"Z", "X"}


def read_process(pid: int) -> Process | None:
    """The process, or None when there is none (any more)."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    field = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    return Process(
        pid=pid, name=field["Name"], state=field["State"][0], parent=int(field["PPid"]), tracer=int(field["TracerPid"])
    )


def every_process() -> dict[int, Process]:
    pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    return {pid: process for pid in pids if (process := read_process(pid))}


def descendants(pids: Iterable[int], processes: dict[int, Process]) -> set[int]:
    """`pids` and everything below them."""
    found, waiting = set(pids), list(pids)
    while waiting:
        parent = waiting.pop()
        children = {pid for pid, process in processes.items() if process.parent == parent} - found
        found |= children
        waiting += children
    return found


def tree(pids: Iterable[int]) -> dict[int, Process]:
    """These processes, their living descendants, and the guards that trace any of them or one another."""
    processes = every_process()
    found = {pid for pid in descendants(pids, processes) if pid in processes}
    while guards := {processes[pid].tracer for pid in found if processes[pid].tracer in processes} - found:
        found |= guards
    return {pid: processes[pid] for pid in sorted(found) if not processes[pid].is_dead}


def guards_of(pid: int) -> set[int]:
    return {member.pid for member in tree([pid]).values() if member.is_guard}


def below(pid: int) -> dict[int, Process]:
    """The descendants of `pid`, dead ones that nobody waited for included."""
    processes = every_process()
    return {child: processes[child] for child in descendants([pid], processes) - {pid} if child in processes}


def reap(pids: Iterable[int]) -> None:
    """Let those of `pids` that are dead children of this process go for good."""
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def wait_until_gone(pids: Collection[int], *, seconds: float) -> set[int]:
    """The ones that still live after that time."""
    alive = set(pids)
    for _ in moments(seconds):
        reap(pids)
        alive = {pid for pid in pids if (process := read_process(pid)) and not process.is_dead}
        if not alive:
            return set()
    return alive


def kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def moments(seconds: float) -> Iterator[float]:
    """Ask again and again: now, soon, then less often, at least twice, for about that many seconds."""
    end, pause = time.monotonic() + seconds, 0.002
    yield time.monotonic()
    while time.monotonic() < end:
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
        yield time.monotonic()
