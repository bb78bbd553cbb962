"""Engine A: ptrace(2). The program stops at each entry to and return from the kernel and is read while it stands.

All ptrace requests and waits happen in the thread that calls `run`: the kernel knows tracers by thread, and
`__WNOTHREAD` keeps this engine from reaping the children of anyone else in the process. What a stop means:

    signal | 0x80                a system-call stop
    event CLONE, FORK, VFORK     a new task, which is already seized and will report a stop of its own
    event EXEC                   another program; a thread that executes takes over the id of its process
    event STOP, stopping signal  a job-control stop: PTRACE_LISTEN keeps it until SIGCONT
    event STOP, SIGTRAP          the answer to PTRACE_INTERRUPT, the first stop of a new task, or SIGCONT
    any other signal             about to be delivered: it is recorded and passed on
"""

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field

from cloister.errors import ObservationError
from cloister.observe.trace import ptrace_unsafe as ptrace
from cloister.observe.trace.engine import Outcome, Stop
from cloister.observe.trace.numbers import name_of
from cloister.observe.trace.processes import kill, process_of, threads, tree
from cloister.observe.trace.record import EngineName, Unfinished
from cloister.observe.trace.recorder import Recorder
from cloister.observe.trace.siginfo import siginfo_text
from cloister.observe.trace.starting import Gated, Program, start_gated

__all__ = ["PtraceEngine"]

X86_64 = 0xC000003E  # AUDIT_ARCH_X86_64
JOB_CONTROL = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
SYSCALL_STOP = signal.SIGTRAP | 0x80
NEW_TASK = (ptrace.EVENT_CLONE, ptrace.EVENT_FORK, ptrace.EVENT_VFORK)
KILLED = 128


@dataclass(kw_only=True)
class PtraceEngine:
    """Traces a program it starts, or a process tree that runs. Exactly one of `program` and `attach` is set."""

    recorder: Recorder
    program: Program | None = None
    attach: int = 0
    name: EngineName = EngineName.PTRACE
    _pid: int = 0
    _tasks: set[int] = field(default_factory=set)
    _gated: Gated | None = None
    _alarm: subprocess.Popen[bytes] | None = None
    _stop: Stop | None = None
    _early: set[int] = field(default_factory=set)
    _visible: bool = True
    _executed: bool = True
    _outcome: Outcome = field(default_factory=lambda: Outcome(status=Unfinished(reason="the trace ended first")))

    @property
    def pid(self) -> int:
        """The main process; 0 before it was started."""
        return self._pid

    def run(self) -> Outcome:
        """Trace until no task is left, or until stopped."""
        # A child whose end wakes up the wait below: closing its input is how another thread stops this one.
        self._alarm = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        try:
            if self._stop is None:
                self.begin()
            while self._tasks:
                self.wait()
        finally:
            self.clean()
        return self._outcome

    def stop(self, how: Stop) -> None:
        """Ask the tracing thread to end the trace."""
        self._stop = how
        if self._alarm is not None and self._alarm.stdin is not None:
            with contextlib.suppress(OSError):
                self._alarm.stdin.close()

    def begin(self) -> None:
        """Seize the program: a new one at its gate, or every thread of a running tree."""
        if self.program is not None:
            self._visible = self._executed = False
            self._gated = start_gated(self.program)
            self._pid = self._gated.pid
            self.seize(self._pid, self._pid)
            self._gated.go()
            return
        self._pid = self.attach
        for pid in tree(self.attach):
            self.seize_threads(pid)
        if not self._tasks:
            raise ObservationError(
                f"process {self.attach} does not exist or has just ended; check the number with `ps`"
            )

    def seize_threads(self, pid: int) -> None:
        """Seize the threads of a process, again until no new one appears."""
        while fresh := set(threads(pid)) - self._tasks - self._early:
            for tid in fresh:
                try:
                    self.seize(tid, pid)
                except ProcessLookupError:
                    self._early.add(tid)

    def seize(self, tid: int, pid: int) -> None:
        """Attach to one task and make it stop once, so that its next stops are system calls."""
        try:
            ptrace.seize(tid, kill_with_tracer=self.program is not None)
        except PermissionError as error:
            raise ObservationError(
                f"ptrace refused task {tid}: {error.strerror}; another tracer holds it, or only root may"
            ) from error
        self._tasks.add(tid)
        self.recorder.member(tid, pid)
        ptrace.interrupt(tid)

    def wait(self) -> None:
        """Handle the next report of any task."""
        try:
            tid, status = os.waitpid(-1, ptrace.WAIT_MINE)
        except ChildProcessError:
            self._tasks.clear()
            return
        if self._alarm is not None and tid == self._alarm.pid:
            self._alarm.returncode = 0
            self.begin_stop()
        elif os.WIFSTOPPED(status):
            # A task that SIGKILL takes out of its stop answers ESRCH; its end is reported next.
            with contextlib.suppress(ProcessLookupError):
                self.stopped(tid, os.WSTOPSIG(status), status >> 16)
        else:
            self.ended(tid, os.WEXITSTATUS(status) if os.WIFEXITED(status) else KILLED + os.WTERMSIG(status))

    def stopped(self, tid: int, number: int, event: int) -> None:
        """One stop of one task; see the table at the top of this module."""
        self.known(tid)
        if self._stop is Stop.DETACH:
            self.let_go(tid, number, event)
        elif number == SYSCALL_STOP:
            self.system_call(tid)
            ptrace.cont_to_syscall(tid)
        elif event == ptrace.EVENT_STOP and number in JOB_CONTROL:
            ptrace.listen(tid)
        elif event:
            self.happened(tid, event)
            ptrace.cont_to_syscall(tid)
        else:
            self.recorder.signalled(tid, number, siginfo_text(ptrace.signal_info(tid)), time.time())
            ptrace.cont_to_syscall(tid, number)

    def system_call(self, tid: int) -> None:
        """A task enters or leaves the kernel."""
        stop = ptrace.syscall_stop(tid)
        if isinstance(stop, ptrace.Entered):
            name = name_of(stop.number) if stop.arch == X86_64 else f"i386_syscall_{stop.number}"
            self._visible = self._visible or name == "execve"
            if self._visible:
                self.recorder.entered(tid, name, stop.arguments, time.time())
        elif isinstance(stop, ptrace.Left) and self._visible:
            self.recorder.returned(tid, stop.result, time.time())

    def happened(self, tid: int, event: int) -> None:
        """A task made another task, or executes another program."""
        if event in NEW_TASK:
            self.born(ptrace.event_message(tid))
        elif event == ptrace.EVENT_EXEC:
            former = ptrace.event_message(tid)
            self._executed = True
            if former != tid:
                self._tasks.discard(former)
            self.recorder.executed(tid, former)

    def born(self, tid: int) -> None:
        """A new task was announced, perhaps after its first report."""
        if tid in self._early:
            self._early.discard(tid)
            return
        self.known(tid)

    def known(self, tid: int) -> None:
        """Take up a task that is seen for the first time."""
        if tid in self._tasks:
            return
        self._tasks.add(tid)
        self.recorder.member(tid, process_of(tid))
        if self._stop is Stop.KILL:
            kill(tid)

    def ended(self, tid: int, status: int) -> None:
        """A task ended."""
        if tid not in self._tasks:
            self._early.add(tid)
        self._tasks.discard(tid)
        self.recorder.ended(tid, status, time.time())
        if tid == self._pid:
            self._outcome.status = status
            failure = self._gated.failure(self.program) if self._gated and self.program and not self._executed else None
            if failure is not None:
                raise failure

    def begin_stop(self) -> None:
        """Another thread asked for the end: kill every process, or make every task stop so that it can be let go."""
        for tid in list(self._tasks):
            if self._stop is Stop.KILL:
                kill(tid)
            else:
                with contextlib.suppress(OSError):
                    ptrace.interrupt(tid)

    def let_go(self, tid: int, number: int, event: int) -> None:
        """Detach from a stopped task, delivering the signal it stopped for."""
        deliver = 0 if event or number == SYSCALL_STOP else number
        ptrace.detach(tid, deliver)
        self._tasks.discard(tid)

    def clean(self) -> None:
        """Leave no child and no descriptor behind; a program that this engine started and still holds is killed."""
        if self.program is not None:
            for tid in self._tasks:
                kill(tid)
            for tid in self._tasks:
                reap(tid)
        if self._gated is not None:
            self._gated.close()
        if self._alarm is not None and self._alarm.stdin is not None:
            self._alarm.stdin.close()
            self._alarm.wait()


def reap(tid: int) -> None:
    """Collect a killed task; it may report one stop before its end."""
    with contextlib.suppress(ChildProcessError):
        while os.WIFSTOPPED(os.waitpid(tid, ptrace.WAIT_MINE)[1]):
            continue
