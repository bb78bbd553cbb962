"""Events that happened but are not decoded yet, and what they say about looking at a process now.

Engine B looks at a program that keeps running. If a descriptor is closed, or the program replaced, later in the
backlog, then what /proc shows now is not what it was at the moment being decoded. No answer is better than a
wrong one.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from cloister.observe.trace.decode.look import signed
from cloister.observe.trace.memory_unsafe import ProcessMemory
from cloister.observe.trace.numbers import NUMBERS
from cloister.observe.trace.record import Unreadable

__all__ = ["Backlog", "LateMemory", "Seen"]

CLOSE = {NUMBERS["close"]: 0, NUMBERS["dup2"]: 1, NUMBERS["dup3"]: 1}
CLOSE_MANY = {NUMBERS["close_range"]}
ANY = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One event of the kernel's trace: which task, when (nanoseconds, CLOCK_MONOTONIC), what.

    For a call that returned or connected a `descriptor`, `text` is what /proc said of it at the time `looked`.
    """

    time: int
    kind: str
    tid: int
    pid: int
    values: tuple[int, ...] = ()
    text: str = ""
    descriptor: int = -1
    looked: int = 0


@dataclass
class Backlog:
    """A queue in the order of time that knows what lies ahead."""

    queue: deque[Seen] = field(default_factory=deque)
    closing: dict[tuple[int, int], deque[int]] = field(default_factory=dict)
    replacing: Counter[int] = field(default_factory=Counter)

    def add(self, events: Iterable[Seen]) -> None:
        """Append events, already sorted and later than those in the queue."""
        for event in events:
            self.queue.append(event)
            self.count(event, 1)

    def take(self) -> Seen | None:
        """The next event; what it says no longer lies ahead."""
        if not self.queue:
            return None
        event = self.queue.popleft()
        self.count(event, -1)
        return event

    def count(self, event: Seen, step: int) -> None:
        """Enter or remove what an event says about descriptors and programs."""
        if event.kind == "exec":
            self.replacing[event.pid] += step
            self.mark(event.pid, ANY, event.time, step)
        elif event.kind == "enter" and event.values[0] in CLOSE:
            self.mark(event.pid, signed(event.values[1 + CLOSE[event.values[0]]], 32), event.time, step)
        elif event.kind == "enter" and event.values[0] in CLOSE_MANY:
            self.mark(event.pid, ANY, event.time, step)

    def mark(self, pid: int, fd: int, time: int, step: int) -> None:
        """Enter the moment of a close, or remove the earliest."""
        times = self.closing.setdefault((pid, fd), deque())
        if step > 0:
            times.append(time)
            return
        times.popleft()
        if not times:
            del self.closing[pid, fd]

    def closed_before(self, pid: int, fd: int, time: int) -> bool:
        """True when the descriptor was closed or replaced between the moment being decoded and `time`."""
        return any(times[0] < time for key in ((pid, fd), (pid, ANY)) if (times := self.closing.get(key)))

    def volatile(self, pid: int, fd: int) -> bool:
        """True when the descriptor was closed or replaced after the moment being decoded."""
        return (pid, fd) in self.closing or (pid, ANY) in self.closing

    def replaced(self, pid: int) -> bool:
        """True when the process executed another program after the moment being decoded."""
        return self.replacing[pid] > 0


class LateMemory(ProcessMemory):
    """Memory that is read after the call: refused when the program was replaced in between."""

    def __init__(self, backlog: Backlog) -> None:
        super().__init__()
        self._backlog = backlog

    def read(self, pid: int, address: int, size: int) -> bytes | Unreadable:
        """As `ProcessMemory.read`, unless the memory is no longer that of the same program."""
        if size > 0 and self._backlog.replaced(pid):
            return Unreadable(reason="the program was replaced before it could be looked at")
        return super().read(pid, address, size)
