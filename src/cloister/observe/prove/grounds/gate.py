"""A program that waits, as the process that it will be, until its tracer has shown that it sees system calls.

The prover hands probes to the waiting process, which reads and writes them as programs do; once the tracer has seen
one, the program is executed: its first system call is traced too.
"""

import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Gate"]

GO = b"go"
STEP = 0.05
EXECUTED_SECONDS = 10.0
# The environment is handed on as the kernel has it: Python may have added to its own.
WAITER = """
import os, signal, sys
gate = int(sys.argv[1])
sink = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
while True:
    data = os.read(gate, 256)
    if not data:
        os._exit(127)
    if data == b"go":
        break
    os.write(sink, data)
os.set_inheritable(gate, False)
with open("/proc/self/environ", "rb") as file:
    pairs = [item.partition(b"=") for item in file.read().split(b"\\0") if item]
environment = {name: value for name, _, value in pairs}
for number in (signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(number, signal.SIG_DFL)
words = [os.fsencode(word) for word in sys.argv[2:]]
try:
    os.execvpe(words[0], words, environment)
except OSError as error:
    sys.stderr.write(f"{sys.argv[2]}: {error.strerror}\\n")
    sys.stderr.flush()
    os._exit(126 if isinstance(error, PermissionError) else 127)
"""


@dataclass(kw_only=True)
class Gate:
    """One gate. `probe` is what the waiting process is given to read and write."""

    ours: socket.socket
    theirs: socket.socket
    probe: bytes

    @classmethod
    def make(cls, probe: bytes) -> "Gate":
        """A closed gate."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(ours=ours, theirs=theirs, probe=probe)

    def command(self, words: Sequence[str]) -> list[str]:
        """The command that waits at the gate before it becomes these words."""
        return [sys.executable, "-I", "-S", "-c", WAITER, str(self.theirs.fileno()), *words]

    def open(self, seen: Callable[[], bool], seconds: float) -> bool:
        """Let the program go once a probe was `seen`, or the time is over; returns which it was. It runs then."""
        self.theirs.close()
        deadline = time.monotonic() + seconds
        try:
            while not seen() and time.monotonic() < deadline:
                self.ours.send(self.probe)
                time.sleep(STEP)
            self.ours.send(GO)
            self.ours.settimeout(EXECUTED_SECONDS)
            self.ours.recv(1)  # ends when the other side is closed: by exec, or with the process
        except OSError:
            pass  # the process has ended, which whoever waits for it will learn
        self.ours.close()
        return seen()
