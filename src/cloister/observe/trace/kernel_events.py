"""The events of a trace instance, from every CPU's buffer, in the order of time.

A descriptor that a call returned is looked up in /proc at once, while it is likely to be open still.
"""

import os
import select
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from cloister.observe.trace.backlog import Seen
from cloister.observe.trace.decode.look import signed
from cloister.observe.trace.descriptors import SOCKET
from cloister.observe.trace.numbers import NUMBERS
from cloister.observe.trace.ring import Format, RawEvent, lost_events, page_events
from cloister.observe.trace.signatures import SIGNATURES
from cloister.observe.trace.sockets import describe
from cloister.observe.trace.tracefs import Instance

__all__ = ["KernelEvents"]

PAGE = 4096
CONNECT = NUMBERS["connect"]
REGISTERS = struct.Struct("<6Q")
RETURNING_FD = {NUMBERS[name] for name, signature in SIGNATURES.items() if signature.returns == "fd"}
NAMES = {
    "enter": "raw_syscalls/sys_enter",
    "leave": "raw_syscalls/sys_exit",
    "fork": "sched/sched_process_fork",
    "exec": "sched/sched_process_exec",
    "exit": "sched/sched_process_exit",
    "signal": "signal/signal_deliver",
}


class KernelEvents:
    """Reads an instance. `process` tells the process of a task. `lost` is true once the kernel dropped events."""

    def __init__(self, instance: Instance, process: Callable[[int], int]) -> None:
        layouts = {kind: instance.format(event) for kind, event in NAMES.items()}
        self._formats = {layout.number: (kind, layout) for kind, layout in layouts.items()}
        self._process = process
        self._buffers = instance.open_buffers()
        self._later: list[Seen] = []
        self._connecting: dict[int, int] = {}
        self.lost = False
        self._poll = select.poll()
        for buffer in self._buffers:
            self._poll.register(buffer, select.POLLIN)

    def close(self) -> None:
        """Close the buffers; the instance can be removed only then."""
        for buffer in self._buffers:
            os.close(buffer)

    def wait(self, milliseconds: int) -> None:
        """Wait for events, but not longer than this."""
        self._poll.poll(milliseconds)

    def read(self) -> list[Seen]:
        """Everything up to this moment that was not read before.

        Buffers are read one after the other, so what came later than the moment waits for the next time: it may
        have older company in a buffer already passed.
        """
        until = time.monotonic_ns()
        seen = [*self._later, *(event for buffer in self._buffers for event in self.drain(buffer))]
        seen.sort(key=lambda event: event.time)
        ready = [event for event in seen if event.time <= until]
        self._later = seen[len(ready) :]
        return [self.looked_up(event) for event in ready]

    def looked_up(self, event: Seen) -> Seen:
        """The event; if a call returned or connected a descriptor, with what that is now."""
        if event.kind == "enter":
            if event.values[0] == CONNECT:
                self._connecting[event.tid] = signed(event.values[1], 32)
            return event
        if event.kind != "leave":
            return event
        fd = self._connecting.pop(event.tid, -1) if event.values[0] == CONNECT else -1
        if event.values[0] in RETURNING_FD:
            fd = event.values[1]
        text = link_of(event.pid, fd) if fd >= 0 else ""
        return replace(event, descriptor=fd, text=text, looked=time.monotonic_ns()) if text else event

    def drain(self, buffer: int) -> Iterator[Seen]:
        """The events that one CPU's buffer holds now."""
        while True:
            try:
                page = os.read(buffer, PAGE)
            except BlockingIOError:
                return
            if not page:
                return
            self.lost = self.lost or lost_events(page)
            for event in page_events(page):
                seen = self.understood(event)
                if seen is not None:
                    yield seen

    def understood(self, event: RawEvent) -> Seen | None:
        """One event by the layouts that the kernel gave; None for a kind that was not asked for."""
        kind, layout = self._formats.get(int.from_bytes(event.data[:2], "little"), ("", None))
        if layout is None:
            return None
        tid = layout.fields["common_pid"].number(event.data)
        values, text = VALUES[kind](layout, event.data)
        return Seen(time=event.time, kind=kind, tid=tid, pid=self._process(tid), values=values, text=text)


def link_of(pid: int, fd: int) -> str:
    """What /proc says of a descriptor now: a socket by its ends, which it loses when it is closed."""
    try:
        target = os.readlink(f"/proc/{pid}/fd/{fd}")
    except OSError:
        return ""
    match = SOCKET.fullmatch(target)
    return describe(pid, match[1]) if match else target


Values = tuple[tuple[int, ...], str]


def entry_values(layout: Format, data: bytes) -> Values:
    """Call number and six registers."""
    start = layout.fields["args"].offset
    return (layout.fields["id"].number(data), *REGISTERS.unpack_from(data, start)), ""


def numbers(*names: str) -> Callable[[Format, bytes], Values]:
    """The named fields as numbers."""

    def values(layout: Format, data: bytes) -> Values:
        """Read them."""
        return tuple(layout.fields[name].number(data) for name in names), ""

    return values


def exec_values(layout: Format, data: bytes) -> Values:
    """The former task id, and the file that the kernel executes."""
    return (layout.fields["old_pid"].number(data),), layout.fields["filename"].text(data)


VALUES: dict[str, Callable[[Format, bytes], Values]] = {
    "enter": entry_values,
    "leave": numbers("id", "ret"),
    "fork": numbers("child_pid"),
    "exec": exec_values,
    "exit": numbers("pid"),
    "signal": numbers("sig", "code"),
}
