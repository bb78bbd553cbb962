"""From what an engine saw (a task entered the kernel, left it, got a signal, ended) to the records of a trace.

An engine calls one method per observation, all from one thread. Recipe for each call:

    1. at entry, decode what the program passes, before the kernel or another thread changes it;
    2. at return, decode what the kernel wrote;
    3. note what moved where, what of it nobody saw, and which names became visible;
    4. forget what is no longer true of the program's descriptors;
    5. number the call and hand it on.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from cloister.observe.trace.decode import at_entry, at_return, not_returned, result_text, signature_of
from cloister.observe.trace.decode.look import Eyes, Look, signed
from cloister.observe.trace.record import (
    Argument,
    Call,
    Direction,
    Ended,
    Event,
    Name,
    NameKind,
    Signal,
    Transfer,
    Unfinished,
    Unreadable,
    Unsearched,
    UnsearchedKind,
)
from cloister.observe.trace.signatures import SIGNATURES

__all__ = ["Recorder"]

ENDING = ("exit", "exit_group")
RECONNECTING = ("bind", "connect", "listen", "shutdown")
CLOSING_MANY = ("close_range", "unshare")
DUPLICATING = ("dup2", "dup3")
QUEUEING = ("io_submit", "io_uring_enter")
REFLINKS = (0x40049409, 0x4020940D)  # FICLONE, FICLONERANGE: ioctl_ficlonerange(2)


@dataclass(slots=True)
class Pending:
    """A call in progress."""

    look: Look
    arguments: list[Argument | None]
    started: float


@dataclass(slots=True)
class Task:
    """One thread of the traced processes."""

    tid: int
    pid: int
    pending: Pending | None = None


@dataclass(kw_only=True)
class Recorder:
    """Turns observations into `Call` and `Event` records."""

    eyes: Eyes
    on_call: Callable[[Call], None]
    on_event: Callable[[Event], None]
    tasks: dict[int, Task] = field(default_factory=dict)
    count: int = 0

    def task(self, tid: int) -> Task:
        """The task, which is its own process until told otherwise."""
        return self.tasks.setdefault(tid, Task(tid, tid))

    def member(self, tid: int, pid: int) -> None:
        """Tell that thread `tid` belongs to process `pid`."""
        self.task(tid).pid = pid

    def entered(self, tid: int, name: str, raws: tuple[int, ...], time: float) -> None:
        """A task makes a system call."""
        task = self.task(tid)
        look = Look(eyes=self.eyes, pid=task.pid, signature=signature_of(name), raws=raws)
        task.pending = Pending(look, at_entry(look), time)

    def returned(self, tid: int, result: int, time: float) -> None:
        """A task's system call returned. Without an entry (it began before the trace) there is nothing to tell."""
        task = self.task(tid)
        pending, task.pending = task.pending, None
        if pending is None:
            return
        look = pending.look
        look.result = result
        self.forget(look)
        arguments = at_return(look, pending.arguments)
        text = result_text(look)
        moved(look)
        passed_unseen(look)
        revealed(look, arguments)
        self.emit(task, pending, arguments, text, time)

    def signalled(self, tid: int, signal: int, detail: str, time: float) -> None:
        """A signal is delivered to a task."""
        self.on_event(Signal(pid=self.task(tid).pid, tid=tid, time=time, signal=signal, detail=detail))

    def learned(self, tid: int, kind: NameKind, text: str) -> None:
        """The kernel itself named something in the call that is in progress."""
        pending = self.task(tid).pending
        name = Name(kind=kind, text=self.eyes.redactor.text(text))
        if pending is not None and name not in pending.look.clues.names:
            pending.look.clues.names.append(name)

    def executed(self, tid: int, former: int) -> None:
        """A task executes another program; a thread that does so takes over its process's id."""
        if former != tid and former in self.tasks:
            self.task(tid).pending = self.tasks.pop(former).pending
        self.eyes.descriptors.forget_all(self.task(tid).pid)
        self.eyes.memory.forget(self.task(tid).pid)

    def ended(self, tid: int, status: int | Unfinished, time: float) -> None:
        """A task ended; a call it was in never returned."""
        task = self.tasks.pop(tid, None) or Task(tid, tid)
        self.abandon(task, time)
        self.on_event(Ended(pid=task.pid, tid=tid, time=time, status=status))
        if task.tid == task.pid:
            self.eyes.descriptors.forget_all(task.pid)
            self.eyes.memory.forget(task.pid)

    def drop(self, pid: int) -> None:
        """Forget a process that is not to be recorded after all."""
        for tid in [tid for tid, task in self.tasks.items() if task.pid == pid]:
            del self.tasks[tid]

    def finish(self, time: float) -> None:
        """The trace ends; calls in progress are recorded as such."""
        for task in list(self.tasks.values()):
            self.abandon(task, time)

    def in_progress(self, time: float) -> list[Call]:
        """The calls that have not returned, numbered 0. May be called from any thread."""
        waiting = [(task, task.pending) for task in list(self.tasks.values())]
        return [unfinished(task, pending, 0, time) for task, pending in waiting if pending is not None]

    def abandon(self, task: Task, time: float) -> None:
        """Record the call in progress, if there is one, as one without a result."""
        pending, task.pending = task.pending, None
        if pending is not None:
            self.count += 1
            self.on_call(unfinished(task, pending, self.count, time))

    def forget(self, look: Look) -> None:
        """Drop what the call changed about the program's descriptors."""
        name, descriptors = look.signature.name, self.eyes.descriptors
        if look.result < 0 and name != "connect":
            return
        if name in CLOSING_MANY:
            descriptors.forget_all(look.pid)
        elif name == "close" or name in RECONNECTING:
            descriptors.forget(look.pid, signed(look.raws[0], 32))
        elif name in DUPLICATING:
            descriptors.forget(look.pid, signed(look.raws[1], 32))
        elif look.signature.returns == "fd" or name == "fcntl":
            descriptors.forget(look.pid, look.result)

    def emit(self, task: Task, pending: Pending, arguments: tuple[Argument, ...], text: str, time: float) -> None:
        """Number a finished call and hand it on."""
        self.count += 1
        self.on_call(written(task, pending, arguments, pending.look.result, text, self.count, time))


def unfinished(task: Task, pending: Pending, number: int, time: float) -> Call:
    """A call without a result, and why there is none."""
    name = pending.look.signature.name
    why = Unfinished(reason="does not return" if name in ENDING else "still in progress")
    text = "?" if name in ENDING else "? <unfinished ...>"
    return written(task, pending, not_returned(pending.look, pending.arguments), why, text, number, time)


def written(
    task: Task,
    pending: Pending,
    arguments: tuple[Argument, ...],
    result: int | Unfinished,
    text: str,
    number: int,
    time: float,
) -> Call:
    """The record of a call."""
    clues = pending.look.clues
    return Call(
        number=number,
        pid=task.pid,
        tid=task.tid,
        time=pending.started,
        duration=max(time - pending.started, 0.0),
        name=pending.look.signature.name,
        arguments=arguments,
        result=result,
        result_text=text,
        carried=tuple(clues.carried),
        transfers=tuple(clues.transfers),
        names=tuple(clues.names),
        unsearched=tuple(clues.unsearched),
    )


def moved(look: Look) -> None:
    """Note the bytes that the call moved, from its result and its descriptors."""
    if look.result <= 0 or look.signature.returns not in ("in", "out", "both"):
        return
    fds = [signed(raw, 32) for param, raw in zip(look.signature.params, look.raws, strict=False) if param.kind == "fd"]
    channels = [look.eyes.descriptors.channel(look.pid, fd) for fd in fds]
    if look.signature.returns == "both":
        source, sink = reversed(channels) if look.signature.name == "sendfile" else channels
        note(look, Direction.IN, source)
        note(look, Direction.OUT, sink)
    else:
        note(look, Direction(look.signature.returns), channels[0])


def note(look: Look, direction: Direction, channel: str) -> None:
    """Note one transfer of as many bytes as the call returned."""
    look.clues.transfers.append(Transfer(direction=direction, channel=channel, size=look.result))


def passed_unseen(look: Look) -> None:
    """Note what the call moved without the program, and so without this trace, seeing its contents."""
    name = look.signature.name
    if look.result < 0:
        return
    if look.signature.returns == "both":
        unseen(look, UnsearchedKind.IN_KERNEL, look.result)
    elif name in QUEUEING:
        unseen(look, UnsearchedKind.QUEUED, look.result)
    elif name == "io_uring_setup":
        unseen(look, UnsearchedKind.QUEUES, 1)
    elif name == "ioctl" and look.value("op") & 0xFFFFFFFF in REFLINKS:
        unseen(look, UnsearchedKind.REFLINK, 1)
    elif name not in SIGNATURES:
        unseen(look, UnsearchedKind.UNDECODED, 1)


def unseen(look: Look, kind: UnsearchedKind, amount: int) -> None:
    """Note something that passed unseen, if it was not nothing."""
    if amount:
        look.clues.unsearched.append(Unsearched(kind=kind, amount=amount))


def revealed(look: Look, arguments: tuple[Argument, ...]) -> None:
    """Names that the kernel knows although the argument itself cannot be read.

    An opened file stands in /proc/PID/fd, a peer in /proc/PID/net: what an administrator sees of a program whose
    memory is closed to him.
    """
    hidden = any(isinstance(argument.contents, Unreadable) for argument in arguments)
    if look.result < 0 or not (hidden or look.eyes.late):
        return
    descriptors, names = look.eyes.descriptors, look.clues.names
    if look.signature.returns == "fd" and look.signature.name.startswith(("open", "creat")):
        opened = descriptors.name(look.pid, look.result)
        if opened:
            # What the kernel opened beats what the program's memory says it asked for.
            names[:] = [name for name in names if name.kind is not NameKind.FILE]
            names.append(Name(kind=NameKind.FILE, text=opened))
    elif any(param.kind.startswith("sockaddr") for param in look.signature.params):
        fd = look.result if look.signature.returns == "fd" else signed(look.raws[0], 32)
        other = peer(descriptors.name(look.pid, fd))
        if other and not any(name.kind is NameKind.DESTINATION for name in names):
            names.append(Name(kind=NameKind.DESTINATION, text=other))


def peer(name: str) -> str:
    """The other end in `TCP a->b`; the socket's own name when it has no other end; empty for an unknown one."""
    if name.startswith("socket:["):
        return ""
    return name.partition("->")[2] or name.partition(" ")[2] or name
