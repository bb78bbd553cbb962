"""The processes an arm brought into being, daemons included: descendants of the prover that were not there before.

The prover adopts orphans while an arm runs (`adopt_orphans`), so a daemon that left its parent is still below it.
"""

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from cloister.observe.family import Member, family

__all__ = ["Offspring", "descendants_of_prover"]

ENDED = "Z"


def descendants_of_prover() -> dict[int, str]:
    """Pid and state letter of every process below this one (proc_pid_stat(5))."""
    table: dict[int, tuple[int, str]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (found := parent_and_state(int(entry.name))):
            table[int(entry.name)] = found
    return {pid: state for pid, (_, state) in table.items() if is_below(pid, os.getpid(), table)}


def parent_and_state(pid: int) -> tuple[int, str] | None:
    """Of one process; None when it has ended."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(parent), state.decode()


def is_below(pid: int, ancestor: int, table: dict[int, tuple[int, str]]) -> bool:
    """Whether `ancestor` is among the parents of `pid`."""
    while pid in table:
        pid = table[pid][0]
        if pid == ancestor:
            return True
    return False


@dataclass(kw_only=True)
class Offspring:
    """The processes of one arm. `root` is the pid that was launched; `others` the prover's children from before."""

    root: int
    others: frozenset[int]

    def members(self) -> list[Member]:
        """The family of the root, and whatever else appeared below the prover; never the prover itself."""
        known = {member.pid: member for member in family(self.root)}
        for pid in sorted(self.alive()):
            if pid not in known:
                known[pid] = Member(pid=pid, comm=comm(pid), role="descendant")
        known.pop(os.getpid(), None)
        return list(known.values())

    def alive(self) -> set[int]:
        """Descendants that have not ended."""
        below = descendants_of_prover()
        return {pid for pid, state in below.items() if state != ENDED and pid not in self.others}

    def contains(self, pid: int) -> bool:
        """Whether it is among those alive. Asked for each file that anybody writes: no look at all of /proc."""
        found = None if pid in self.others else parent_and_state(pid)
        if found is None or found[1] == ENDED:
            return False
        while found is not None and found[0] != os.getpid():
            found = parent_and_state(found[0])
        return found is not None

    def end(self, patience: float) -> int:
        """Wait `patience` seconds, then end the rest with SIGTERM and SIGKILL by pid; returns how many that were."""
        left = self.wait(patience)
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.alive():
                send(pid, number)
            self.wait(2.0)
        return len(left)

    def wait(self, seconds: float) -> set[int]:
        """Collect ended children until none is alive or the time is over; returns those still alive."""
        deadline = time.monotonic() + seconds
        while True:
            self.collect()
            left = self.alive()
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.02)

    def collect(self) -> None:
        """Collect adopted children that have ended, so that they do not stay as zombies. The root is its owner's."""
        for pid, state in descendants_of_prover().items():
            if state == ENDED and pid != self.root and pid not in self.others:
                try:
                    os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    continue  # its parent is another member of the family, which will collect it


def comm(pid: int) -> str:
    """The process name, or `?` when it has just ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").rstrip("\n")
    except OSError:
        return "?"


def send(pid: int, number: int) -> None:
    """Signal a process unless it has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
