"""The program of one arm as a child process, with its standard streams in the prover's hands."""

import fcntl
import os
import re
import resource
import signal
import struct
import subprocess
import termios
import threading
from dataclasses import dataclass, field

from cloister.observe.prove.descriptors import FileId, file_id
from cloister.observe.prove.grounds.gate import Gate
from cloister.observe.prove.plan import Arm, Ending, FeedTerminal, Plan, StopSignal
from cloister.observe.prove.wanted import Wanted

__all__ = ["Capture", "Program", "close_all", "waiting_bytes"]

KEPT_OUTPUT = 4 << 20
END_OF_FILE = b"\x04"
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
class Capture:
    """One output stream (a descriptor), read to its end in a thread: searched whole, kept up to KEPT_OUTPUT bytes."""

    stream: int
    wanted: Wanted
    kept: bytearray = field(default_factory=bytearray, repr=False)
    total: int = 0
    found: set[tuple[str, str]] = field(default_factory=set)
    thread: threading.Thread = field(init=False)

    def start(self) -> None:
        """Start reading."""
        self.thread = threading.Thread(target=self.read, name="prove-output", daemon=True)
        self.thread.start()

    def read(self) -> None:
        """Read and search; consecutive chunks overlap by the longest pattern."""
        tail = b""
        while chunk := os.read(self.stream, 65536):
            self.found |= self.wanted.search(tail + chunk)
            tail = (tail + chunk)[-self.wanted.longest :]
            self.total += len(chunk)
            self.kept += chunk[: max(0, KEPT_OUTPUT - len(self.kept))]

    def finish(self, seconds: float) -> bool:
        """Wait for the end of the stream; false if some process still holds it open."""
        self.thread.join(seconds)
        return not self.thread.is_alive()


@dataclass(kw_only=True)
class Program:
    """A started arm. The prover keeps a reading end of the input pipe, to see whether the program emptied it."""

    process: subprocess.Popen[bytes]
    stdout: Capture
    stderr: Capture
    input_writer: int
    input_reader: int
    terminal: bool = False
    forced: bool = False

    @classmethod
    def start(cls, arm: Arm, plan: Plan, wanted: Wanted, gate: Gate | None = None) -> "Program":
        """Start the arm's command, waiting at the gate if there is one. Raises OSError as execve(2) gives it."""
        terminal = isinstance(plan.feed, FeedTerminal)
        input_reader, input_writer = quiet_terminal() if terminal else os.pipe2(os.O_CLOEXEC)
        out, err = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
        try:
            process = subprocess.Popen(
                arm.command if gate is None else gate.command(arm.command),
                stdin=input_reader,
                stdout=out[1],
                stderr=err[1],
                env=dict(arm.environment),
                cwd=plan.cwd,
                pass_fds=(*arm.inherit, *([] if gate is None else [gate.theirs.fileno()])),
                start_new_session=True,
            )
        except OSError:
            close_all(input_reader, input_writer, out[0], err[0])
            raise
        finally:
            close_all(out[1], err[1])
        program = cls(
            process=process,
            stdout=Capture(stream=out[0], wanted=wanted),
            stderr=Capture(stream=err[0], wanted=wanted),
            input_writer=input_writer,
            input_reader=input_reader,
            terminal=terminal,
        )
        program.stdout.start()
        program.stderr.start()
        if wants_core(plan.ending):
            allow_core(process.pid)
        return program

    @property
    def pid(self) -> int:
        """The launched pid; the program keeps it in both arms."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    def streams(self) -> frozenset[FileId]:
        """The identities of the three pipes between the prover and the program."""
        return frozenset(file_id(number) for number in (self.input_reader, self.stdout.stream, self.stderr.stream))

    def write(self, data: bytes) -> bool:
        """Write to standard input; false if the program cannot receive it any more."""
        if self.input_writer < 0 or not self.alive:
            return False
        os.write(self.input_writer, data)
        return True

    def close_input(self) -> None:
        """Give end of file on standard input."""
        if self.input_writer >= 0:
            if self.terminal:
                os.write(self.input_writer, END_OF_FILE)  # a terminal whose other side is closed gives errors instead
                return
            os.close(self.input_writer)
            self.input_writer = -1

    def matches(self, pattern: re.Pattern[bytes]) -> bool:
        """Whether standard output or standard error matches so far."""
        return any(pattern.search(bytes(capture.kept)) for capture in (self.stdout, self.stderr))

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
            self.close_input()
        if not self.wait(grace):
            self.forced = True
            self.process.kill()
            self.process.wait()

    def kill(self) -> None:
        """Kill the program if it has not ended."""
        if self.alive:
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        """Kill what is left and release the descriptors."""
        self.kill()
        if self.input_writer >= 0:
            os.close(self.input_writer)
            self.input_writer = -1
        os.close(self.input_reader)
        for capture in (self.stdout, self.stderr):
            if capture.finish(0):  # a stream somebody still holds open stays with its reading thread
                os.close(capture.stream)

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


def close_all(*descriptors: int) -> None:
    """Close descriptors."""
    for descriptor in descriptors:
        os.close(descriptor)


def quiet_terminal() -> tuple[int, int]:
    """A terminal that does not echo: its program's side, and the person's."""
    person, program = os.openpty()
    settings = termios.tcgetattr(program)
    settings[3] &= ~termios.ECHO
    termios.tcsetattr(program, termios.TCSANOW, settings)
    return program, person


def waiting_bytes(pipe: int) -> int:
    """Bytes in a pipe that nobody has read yet: FIONREAD, ioctl_pipe in fs/pipe.c."""
    return int(struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0])


def wants_core(ending: Ending) -> bool:
    """Whether the planned end makes the kernel write a core file."""
    return isinstance(ending, StopSignal) and ending.number in CORE_SIGNALS


def allow_core(pid: int) -> None:
    """Raise the core size limit of a process, or no core file would be written and none could be searched."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.prlimit(pid, resource.RLIMIT_CORE, (hard, hard))
