"""The program of one arm as a child process, with its standard streams in the prover's hands.

Behind a shielded console there are two: the program's side, whose streams are the host's, and the person who has
attached, whose streams are those of the program.
"""

import contextlib
import os
import re
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

from cloister.observe.prove.descriptors import FileId, file_id
from cloister.observe.prove.grounds.gate import Gate
from cloister.observe.prove.plan import Arm, Ending, FeedTerminal, Person, Plan, StopSignal
from cloister.observe.prove.streams import CONTROLLED, Keyboard, Streams
from cloister.observe.prove.wanted import Wanted

__all__ = ["Program"]

STEP = 0.02
TAIL = 400  # bytes of what a person was told
CORE_SIGNALS = {
    signal.SIGQUIT,
    signal.SIGABRT,
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGILL,
    signal.SIGFPE,
    signal.SIGTRAP,
}


@dataclass(kw_only=True)
class Program:
    """A started arm. `streams` are the program's own; `host` what the host sees of them, the same without a console."""

    process: subprocess.Popen[bytes]
    streams: Streams
    host: Streams
    person: subprocess.Popen[bytes] | None = None
    forced: bool = False

    @classmethod
    def start(cls, arm: Arm, plan: Plan, wanted: Wanted, gate: Gate | None = None) -> "Program":
        """Start the arm's command, waiting at the gate if there is one. Raises OSError as execve(2) gives it."""
        own = own_streams(plan, wanted)
        host = own if arm.person is None else Streams.piped(Keyboard.pipe(), wanted)
        command = controlled(arm.command) if host.is_terminal else list(arm.command)
        try:
            process = subprocess.Popen(
                command if gate is None else gate.command(command),
                stdin=host.theirs[0],
                stdout=host.theirs[1],
                stderr=host.theirs[2],
                env=dict(arm.environment),
                cwd=plan.cwd,
                pass_fds=(*arm.inherit, *([] if gate is None else [gate.theirs.fileno()])),
                start_new_session=True,
            )
        except OSError:
            for streams in {id(own): own, id(host): host}.values():
                streams.close()
            raise
        host.begin()
        if wants_core(plan.ending):
            allow_core(process.pid)
        return cls(process=process, streams=own, host=host)

    def seat(self, person: Person, seconds: float) -> str:
        """Let the person attach, once the program's side waits for them; why they could not, or nothing."""
        deadline = time.monotonic() + seconds
        while not (found := person.waiting.search(self.host.stderr)):
            if not self.alive or time.monotonic() > deadline:
                return f"the program's side never waited for the person at the console ({self.status})"
            time.sleep(STEP)
        command = [*person.command, os.fsdecode(found[1])]
        streams = self.streams
        self.person = subprocess.Popen(
            controlled(command) if streams.is_terminal else command,
            stdin=streams.theirs[0],
            stdout=streams.theirs[1],
            stderr=streams.theirs[2],
            env=dict(person.environment),
            start_new_session=True,
        )
        streams.begin()
        return ""

    @property
    def pid(self) -> int:
        """The launched pid; the program keeps it in both arms, unless there is a person."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    @property
    def others(self) -> frozenset[int]:
        """Processes that the prover started and that are not the program's."""
        return frozenset() if self.person is None else frozenset((self.person.pid,))

    @property
    def refusal(self) -> str:
        """What a person said who has left the console with an error; nothing otherwise."""
        if self.person is None or not self.person.poll():
            return ""
        words = (self.streams.stderr or self.streams.stdout)[-TAIL:].decode("utf-8", "replace").strip()
        return f"; at the console: {words}" if words and not self.printed_secret else ""

    @property
    def printed_secret(self) -> bool:
        """Whether one of the outputs holds a secret."""
        return any(capture.found for capture in self.streams.captures)

    def identities(self) -> frozenset[FileId]:
        """The identities of the three pipes between the prover and the program."""
        captures = (capture.stream for capture in self.streams.captures)
        return frozenset(file_id(number) for number in (self.streams.keyboard.reader, *captures))

    def write(self, data: bytes) -> bool:
        """Write to standard input; false if the program cannot receive it any more."""
        there = self.alive if self.person is None else self.person.poll() is None
        return there and self.streams.keyboard.write(data)

    def matches(self, pattern: re.Pattern[bytes]) -> bool:
        """Whether standard output or standard error matches so far."""
        return self.streams.matches(pattern)

    def finish(self, seconds: float) -> bool:
        """Wait for the ends of all outputs; false if some process still holds one open."""
        self.dismiss(seconds)
        finished = [streams.finish(seconds) for streams in self.all_streams()]
        return all(finished)

    def all_streams(self) -> tuple[Streams, ...]:
        """Those of the program, and those of the host if it has others."""
        return (self.streams,) if self.streams is self.host else (self.streams, self.host)

    def wait(self, seconds: float) -> bool:
        """Wait for the end; false if the program is still alive after `seconds`."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self, ending: Ending, grace: float) -> None:
        """End the program as planned; if it does not end in time, with SIGKILL by pid."""
        if isinstance(ending, StopSignal):
            self.process.send_signal(ending.number)  # no-op when it has been collected
        else:
            self.write(ending.data)
            self.streams.keyboard.end()
        if not self.wait(grace):
            self.forced = True
            self.process.kill()
            self.process.wait()

    def kill(self) -> None:
        """Kill the program if it has not ended."""
        if self.alive:
            self.process.kill()
            self.process.wait()

    def dismiss(self, seconds: float) -> None:
        """The person leaves once the program's end was confirmed to them, or is made to."""
        if self.person is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.person.wait(seconds)
            self.person.kill()
            self.person.wait()

    def close(self) -> None:
        """Kill what is left and release the descriptors."""
        self.kill()
        self.dismiss(0)
        for streams in self.all_streams():
            streams.close()

    @property
    def status(self) -> str:
        """How it ended, in words; `still running` before that."""
        code = self.process.poll()
        if code is None:
            return "still running"
        if code >= 0:
            return f"exited {code}"
        name = signal.Signals(-code).name if -code in signal.valid_signals() and -code < signal.SIGRTMIN else str(-code)
        return f"killed by {name}" + (" after it did not end by itself" if self.forced else "")


def own_streams(plan: Plan, wanted: Wanted) -> Streams:
    """As the plan feeds them. With a console, a terminal is a whole one in both arms."""
    if not isinstance(plan.feed, FeedTerminal):
        return Streams.piped(Keyboard.pipe(), wanted)
    if plan.console is not None:
        return Streams.at_terminal(wanted)
    return Streams.piped(Keyboard.at_terminal(echo=False), wanted)


def controlled(words: tuple[str, ...] | list[str]) -> list[str]:
    """The command that takes standard input as its controlling terminal before it becomes these words."""
    return [sys.executable, "-I", "-S", "-c", CONTROLLED, *words]


def wants_core(ending: Ending) -> bool:
    """Whether the planned end makes the kernel write a core file."""
    return isinstance(ending, StopSignal) and ending.number in CORE_SIGNALS


def allow_core(pid: int) -> None:
    """Raise the core size limit of a process, or no core file would be written and none could be searched."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.prlimit(pid, resource.RLIMIT_CORE, (hard, hard))
