"""Engine B: the kernel's own record of system calls (raw_syscalls tracepoints), while the program keeps running.

It needs no ptrace, so it works on a software enclave whose guard holds ptrace, and shows what an administrator
still sees there: which calls, their register values, times and results. Contents are then looked for with
process_vm_readv, names in /proc/PID/fd and /proc/PID/net, as an administrator would.

    1. make a private trace instance, follow the program's tasks and all they fork, start recording;
    2. read each CPU's buffer up to a moment, put the events in order of time;
    3. decode them, aware of what later events say (see `backlog`);
    4. until every task has ended; then remove the instance.
"""

import contextlib
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from cloister.errors import ObservationError
from cloister.observe.trace.backlog import Backlog, Seen
from cloister.observe.trace.engine import Outcome, Stop
from cloister.observe.trace.kernel_events import KernelEvents
from cloister.observe.trace.numbers import name_of
from cloister.observe.trace.processes import blocked_in, is_guard, kill, process_of, threads, tree
from cloister.observe.trace.record import EngineName, NameKind, Unfinished
from cloister.observe.trace.recorder import Recorder
from cloister.observe.trace.starting import Gated, Program, start_gated
from cloister.observe.trace.tracefs import Instance, open_instance

__all__ = ["TracepointEngine"]

PAUSE_MS = 20
HURRY = -15
# Decoding is put off while events arrive, so that new descriptors are looked at while they are still open; but not
# beyond this many events.
BACKLOG_MAX = 50_000
BUDGET = 0.0002
REAP_SECONDS = 2.0
KILLED = 128
CLONE_THREAD = 0x10000
LATE = (
    "contents and names were looked for after each call, beside the running program, as an administrator would:"
    " a buffer may have changed, and a file closed at once may have no name"
)


@dataclass(kw_only=True)
class TracepointEngine:
    """Follows a program it starts, or a process tree that runs. Exactly one of `program` and `attach` is set."""

    recorder: Recorder
    backlog: Backlog
    program: Program | None = None
    attach: int = 0
    name: EngineName = EngineName.TRACEPOINTS
    _pid: int = 0
    _gated: Gated | None = None
    _stop: Stop | None = None
    _members: dict[int, int] = field(default_factory=dict)
    _guards: set[int] = field(default_factory=set)
    _alive: set[int] = field(default_factory=set)
    _visible: bool = True
    _executed: bool = True
    _failure: Exception | None = None
    _lost: bool = False
    _left_out: int = 0
    _epoch: float = 0.0
    _outcome: Outcome = field(default_factory=lambda: Outcome(status=Unfinished(reason="only its parent learns it")))

    @property
    def pid(self) -> int:
        """The main process; 0 before it was started."""
        return self._pid

    def stop(self, how: Stop) -> None:
        """Make `run` end within a few hundredths of a second."""
        self._stop = how

    def run(self) -> Outcome:
        """Observe until every task has ended, or until stopped."""
        self._epoch = time.time() - time.monotonic()
        with (
            open_instance() as instance,
            contextlib.closing(self),
            contextlib.closing(KernelEvents(instance, self.process)) as events,
        ):
            self.begin(instance)
            self.watch(events)
            self._lost = events.lost
        self.remark()
        return self._outcome

    def close(self) -> None:
        """A program that this engine started and that nobody let go does not outlive it."""
        if self.program is not None and self._stop is not Stop.DETACH and self._pid:
            self.kill_all()
        if self._gated is not None:
            if self.program is not None and not self._executed and self._stop is None and self._gated.report >= 0:
                self._failure = self._gated.failure(self.program)
            self._gated.close()

    def kill_all(self) -> None:
        """End every process of the program; its guards end by themselves then."""
        for pid in {self._members[tid] for tid in self._alive} - self._guards:
            kill(pid)
        self.reap()

    def begin(self, instance: Instance) -> None:
        """Follow the tasks, start recording, let a new program go."""
        if self.program is not None:
            self._visible = self._executed = False
            self._gated = start_gated(self.program)
            self._pid = self._gated.pid
        else:
            self._pid = self.attach
        tids = {tid: pid for pid in tree(self._pid) for tid in threads(pid)}
        if not tids:
            raise ObservationError(f"process {self._pid} does not exist or has just ended; check the number with `ps`")
        for tid, pid in tids.items():
            self.member(tid, pid)
        instance.follow(tids)
        for tid in tids if self.program is None else ():
            waiting = blocked_in(tid)
            if waiting:
                self.recorder.entered(tid, name_of(waiting[0]), waiting[1:], time.time())
        instance.record()
        # This thread alone, after the child was made: files are only named while they are open, so be quick to look.
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, HURRY)
        if self._gated is not None:
            self._gated.go()

    def member(self, tid: int, pid: int) -> None:
        """Take up a task."""
        self._members[tid] = pid
        self._alive.add(tid)
        self.recorder.member(tid, pid)

    def watch(self, events: KernelEvents) -> None:
        """Read and decode until it is over, and once more for what was still in the buffers."""
        while self._alive and self._stop is None:
            events.wait(0 if self.backlog.queue else PAUSE_MS)
            self.round(events, BUDGET)
            self.prune()
        if self._stop is Stop.KILL:
            self.kill_all()
        self.round(events, math.inf)
        self.round(events, math.inf)

    def round(self, events: KernelEvents, budget: float) -> None:
        """Read everything up to this moment; decode what was read in the round before, for `budget` seconds.

        One round of delay shows what was closed while names were looked up.
        """
        ready = events.read()
        known = len(self.backlog.queue)
        self.backlog.add(ready)
        if not ready or known > BACKLOG_MAX or budget == math.inf:
            self.decode(known, time.monotonic() + budget)

    def decode(self, count: int, deadline: float) -> None:
        """Tell the recorder of up to `count` events, until the deadline."""
        while count and time.monotonic() < deadline:
            event = self.backlog.take()
            if event is None:
                break
            self.handle(event)
            count -= 1

    def process(self, tid: int) -> int:
        """The process of a task, asked once."""
        if tid not in self._members:
            self._members[tid] = process_of(tid)
        return self._members[tid]

    def handle(self, event: Seen) -> None:
        """Tell the recorder what one event means."""
        moment = self._epoch + event.time / 1e9
        if event.kind == "fork":
            self.forked(event.tid, event.values[0])
        elif event.kind == "exit":
            self.ended(event.tid, moment)
        elif self.skipped(event):
            self._left_out += event.kind == "enter"
        elif event.kind == "enter" and self._visible:
            self.recorder.entered(event.tid, name_of(event.values[0]), event.values[1:], moment)
        elif event.kind == "leave" and self._visible:
            self.promise(event)
            self.recorder.returned(event.tid, event.values[1], moment)
        elif event.kind == "signal":
            detail = f"{{si_signo={event.values[0]}, si_code={event.values[1]}}}"
            self.recorder.signalled(event.tid, event.values[0], detail, moment)
        elif event.kind == "exec":
            self._executed = True
            self.recorder.learned(event.values[0], NameKind.PROGRAM, event.text)
            self.recorder.executed(event.tid, event.values[0])

    def promise(self, event: Seen) -> None:
        """Tell what a returned descriptor was found to be, if it was still the same when it was looked at."""
        if event.text and not self.backlog.closed_before(event.pid, event.descriptor, event.looked):
            self.recorder.eyes.descriptors.promise(event.pid, event.descriptor, event.text)

    def skipped(self, event: Seen) -> bool:
        """True for calls of a guard, and for those of the child before it executes the program."""
        if event.kind == "enter":
            name = name_of(event.values[0])
            self._visible = self._visible or (event.tid == self._pid and name == "execve")
        elif event.kind == "leave" and name_of(event.values[0]) in ("prctl", "execve") and is_guard(event.pid):
            self.leave_out(event.pid)
        return event.pid in self._guards

    def forked(self, parent: int, child: int) -> None:
        """A task made another one: a thread of the same process, or a process."""
        pid = process_of(child)
        pending = self.recorder.task(parent).pending
        gone = pid == child and not threads(child)
        if (
            gone
            and pending is not None
            and pending.look.signature.name == "clone"
            and pending.look.raws[0] & CLONE_THREAD
        ):
            pid = self.process(parent)
        self.member(child, pid)
        if is_guard(pid):
            self.leave_out(pid)

    def leave_out(self, pid: int) -> None:
        """A process turned out to be a guard: it is not part of the program."""
        self._guards.add(pid)
        self.recorder.drop(pid)

    def ended(self, tid: int, moment: float) -> None:
        """A task ended. Exit codes go to parents only, so only that of a program started here is known."""
        self._alive.discard(tid)
        if tid == self._pid and self._gated is not None:
            self.reap()
        status = self._outcome.status if tid == self._pid else Unfinished(reason="only its parent learns it")
        if self._visible and self.process(tid) not in self._guards:
            self.recorder.ended(tid, status, moment)

    def prune(self) -> None:
        """Forget guards and tasks that ended unseen: the trace is over when the program is."""
        gone = {tid for tid in self._alive if not Path(f"/proc/{tid}").exists()}
        guards = {tid for tid in self._alive if self._members[tid] in self._guards}
        self._alive -= gone | guards

    def reap(self) -> None:
        """Collect the program that this engine started, and learn its exit code."""
        if not isinstance(self._outcome.status, Unfinished):
            return
        deadline = time.monotonic() + REAP_SECONDS
        while time.monotonic() < deadline:
            try:
                pid, status = os.waitpid(self._pid, os.WNOHANG)
            except ChildProcessError:
                return
            if pid:
                self._outcome.status = os.WEXITSTATUS(status) if os.WIFEXITED(status) else KILLED + os.WTERMSIG(status)
                return
            time.sleep(0.001)

    def remark(self) -> None:
        """What a reader must know to judge this trace; raises when the program could not be executed."""
        failure = self._failure
        if failure is not None:
            raise failure
        self._outcome.notes.append(LATE)
        if self._lost:
            self._outcome.complete = False
            self._outcome.notes.append(
                "the kernel dropped events because they came faster than they were read: calls are missing"
            )
        if self._left_out:
            self._outcome.notes.append(f"{self._left_out} calls of the software enclave's guard were left out")
