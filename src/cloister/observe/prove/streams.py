"""What whoever feeds a program has in hand: where to type, and what is printed, read to its end and searched."""

import errno
import fcntl
import os
import re
import struct
import termios
import threading
from dataclasses import dataclass, field

from cloister.observe.prove.kernel_unsafe import waiting_bytes
from cloister.observe.prove.wanted import Wanted

__all__ = ["CONTROLLED", "Capture", "Keyboard", "Streams", "close_all"]

KEPT_OUTPUT = 4 << 20
END_OF_FILE = b"\x04"
WINDOW = struct.pack("HHHH", 24, 80, 0, 0)
CONTROLLED = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
for number in (signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(number, signal.SIG_DFL)
with open("/proc/self/environ", "rb") as file:
    pairs = [item.partition(b"=") for item in file.read().split(b"\\0") if item]
words = [os.fsencode(word) for word in sys.argv[1:]]
os.execvpe(words[0], words, {name: value for name, _, value in pairs})
"""
"""Becomes the words behind it, with standard input as its controlling terminal."""


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
        while chunk := self.part():
            self.found |= self.wanted.search(tail + chunk)
            tail = (tail + chunk)[-self.wanted.longest :]
            self.total += len(chunk)
            self.kept += chunk[: max(0, KEPT_OUTPUT - len(self.kept))]

    def part(self) -> bytes:
        """What comes next; nothing at the end, which a terminal gives as an error when nobody has it open any more."""
        try:
            return os.read(self.stream, 65536)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return b""

    def finish(self, seconds: float) -> bool:
        """Wait for the end of the stream; false if some process still holds it open."""
        self.thread.join(seconds)
        return not self.thread.is_alive()


@dataclass(kw_only=True)
class Keyboard:
    """Both ends of a standard input: a pipe or a terminal. The reading end stays, to see whether it was emptied."""

    reader: int
    writer: int
    terminal: bool = False

    @classmethod
    def pipe(cls) -> "Keyboard":
        """A pipe."""
        reader, writer = os.pipe2(os.O_CLOEXEC)
        return cls(reader=reader, writer=writer)

    @classmethod
    def at_terminal(cls, *, echo: bool) -> "Keyboard":
        """A terminal, that of the program's side and the person's."""
        person, program = os.openpty()
        settings = termios.tcgetattr(program)
        if not echo:
            settings[3] &= ~termios.ECHO
        termios.tcsetattr(program, termios.TCSANOW, settings)
        fcntl.ioctl(program, termios.TIOCSWINSZ, WINDOW)
        return cls(reader=program, writer=person, terminal=True)

    @property
    def unread(self) -> int:
        """Bytes that nobody has read yet."""
        return waiting_bytes(self.reader)

    def write(self, data: bytes) -> bool:
        """Type; false if this was closed."""
        if self.writer < 0:
            return False
        os.write(self.writer, data)
        return True

    def end(self) -> None:
        """Give end of file."""
        if self.writer >= 0:
            if self.terminal:
                os.write(self.writer, END_OF_FILE)  # a terminal whose other side is closed gives errors instead
                return
            self.close_writer()

    def close_writer(self) -> None:
        """Close the end that is written to."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def close_reader(self) -> None:
        """Close the other: what is printed at a terminal ends only then."""
        if self.reader >= 0:
            os.close(self.reader)
            self.reader = -1


@dataclass(kw_only=True)
class Streams:
    """Standard input, output and error of one process, as whoever started it has them."""

    keyboard: Keyboard
    captures: tuple[Capture, ...]
    theirs: tuple[int, ...]
    """What the process gets as its three streams; closed here once it was started."""
    begun: bool = False

    @classmethod
    def piped(cls, keyboard: Keyboard, wanted: Wanted) -> "Streams":
        """Outputs in pipes."""
        out, err = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
        captures = tuple(Capture(stream=stream, wanted=wanted) for stream in (out[0], err[0]))
        return cls(keyboard=keyboard, captures=captures, theirs=(keyboard.reader, out[1], err[1]))

    @classmethod
    def at_terminal(cls, wanted: Wanted) -> "Streams":
        """A terminal is all three."""
        keyboard = Keyboard.at_terminal(echo=True)
        captures = (Capture(stream=keyboard.writer, wanted=wanted),)
        return cls(keyboard=keyboard, captures=captures, theirs=(keyboard.reader,) * 3)

    def begin(self) -> None:
        """The process has its ends, or never will: read what it prints."""
        self.begun = True
        close_all(*{number for number in self.theirs if number != self.keyboard.reader})
        for capture in self.captures:
            capture.start()

    @property
    def stdout(self) -> bytes:
        """What was printed; at a terminal, errors too."""
        return bytes(self.captures[0].kept)

    @property
    def stderr(self) -> bytes:
        """What was printed as errors."""
        return b"".join(bytes(capture.kept) for capture in self.captures[1:])

    def matches(self, pattern: re.Pattern[bytes]) -> bool:
        """Whether one of the outputs matches so far."""
        return any(pattern.search(bytes(capture.kept)) for capture in self.captures)

    def finish(self, seconds: float) -> bool:
        """Wait for the end of the outputs; false if some process still holds one open."""
        if not self.begun:
            self.begin()
        if self.is_terminal:
            self.keyboard.close_reader()
        finished = [capture.finish(seconds) for capture in self.captures]
        return all(finished)

    @property
    def is_terminal(self) -> bool:
        """Whether a terminal is all three."""
        return len(self.captures) == 1

    def close(self) -> None:
        """Release what nobody reads any more; a stream somebody still holds open stays with its reading thread."""
        self.finish(0)
        self.keyboard.close_reader()
        if not self.is_terminal:
            self.keyboard.close_writer()
        for capture in self.captures:
            if capture.finish(0):
                os.close(capture.stream)


def close_all(*descriptors: int) -> None:
    """Close descriptors."""
    for descriptor in descriptors:
        os.close(descriptor)
