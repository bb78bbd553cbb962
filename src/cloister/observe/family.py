"""Which processes belong to one program: itself, its descendants, and the guards of its software enclave.

Guards are not children of the program. They trace it, so they stand in `TracerPid` (proc_pid_status(5)); a
descendant whose parent has ended belongs to init but keeps its guard, and is found through that. Only a
tracer named `cloister-guard` counts as a guard: strace or gdb attached by someone else is not of the family.
"""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = [
    "GUARD_COMM",
    "Member",
    "Role",
    "Status",
    "family",
    "family_among",
    "memory_thread",
    "read_member",
    "read_status",
]

Role = Literal["program", "descendant", "guard"]
GUARD_COMM = "cloister-guard"


@dataclass(frozen=True, kw_only=True)
class Member:
    """One process of a family. `comm` is its name as the kernel has it, at most 15 bytes."""

    pid: int
    comm: str
    role: Role

    def __str__(self) -> str:
        """The member as `role comm (pid)`."""
        return f"{self.role} {self.comm} ({self.pid})"


@dataclass(frozen=True, kw_only=True)
class Status:
    """The lines of /proc/PID/status that tell relations. `tracer` is 0 when there is none."""

    pid: int
    comm: str
    parent: int
    tracer: int


def family(pid: int) -> list[Member]:
    """The process first, then its descendants, then its guards; empty when `pid` does not exist."""
    return family_among(pid, read_processes())


def family_among(pid: int, processes: dict[int, Status]) -> list[Member]:
    """The family of `pid` among `processes`."""
    if pid not in processes:
        return []
    guards = guards_of({pid}, processes)
    descendants = descendants_of({pid}, processes) - guards
    guards |= guards_of(descendants, processes)
    traced = {status.pid for status in processes.values() if status.tracer in guards} - guards - {pid}
    descendants |= traced | descendants_of(traced, processes)
    others = sorted(descendants - guards - {pid})
    return [
        member(processes[pid], "program"),
        *(member(processes[other], "descendant") for other in others),
        *(member(processes[guard], "guard") for guard in sorted(guards - {pid})),
    ]


def member(status: Status, role: Role) -> Member:
    """The family member that `status` describes."""
    return Member(pid=status.pid, comm=status.comm, role=role)


def read_member(pid: int) -> Member:
    """The process alone, as a program; raises OSError when it does not exist."""
    return member(read_status(pid), "program")


def memory_thread(pid: int) -> int:
    """The id of a thread whose /proc directory shows the process's memory.

    That is `pid` itself, unless its first thread has ended before the others: then /proc/PID/maps is empty.
    """
    threads = [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]
    for thread in sorted(threads, key=lambda thread: thread != pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{thread}/maps").read_bytes():
                return thread
    return pid


def guards_of(pids: Iterable[int], processes: dict[int, Status]) -> set[int]:
    """The guards that trace any of `pids`, and the guards that trace those."""
    guards: set[int] = set()
    waiting = set(pids)
    while waiting:
        status = processes.get(waiting.pop())
        tracer = processes.get(status.tracer) if status else None
        if tracer and tracer.comm == GUARD_COMM and tracer.pid not in guards:
            guards.add(tracer.pid)
            waiting.add(tracer.pid)
    return guards


def descendants_of(pids: Iterable[int], processes: dict[int, Status]) -> set[int]:
    """Children, grandchildren and so on of `pids`, without themselves."""
    children: dict[int, list[int]] = {}
    for status in processes.values():
        children.setdefault(status.parent, []).append(status.pid)
    found: set[int] = set()
    waiting = list(pids)
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found - set(pids)


def read_processes() -> dict[int, Status]:
    """Every process that is visible now, by pid; one that ends meanwhile is left out."""
    processes = {}
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                processes[int(path.name)] = read_status(int(path.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return processes


def read_status(pid: int) -> Status:
    """Read /proc/PID/status, which is world-readable unless /proc is mounted with hidepid."""
    text = Path(f"/proc/{pid}/status").read_bytes().decode("utf-8", "surrogateescape")
    values = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    return Status(pid=pid, comm=values["Name"], parent=int(values["PPid"]), tracer=int(values["TracerPid"]))
