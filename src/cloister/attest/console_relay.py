"""The relay of a shielded console: carries records between a person's connection and the program's descriptors.

It is outside of the enclave and sees ciphertext. Input goes to a terminal's master, whose slave the program has, so
that job control is the kernel's; or, without a terminal, to a socket that keeps records apart. Output always comes from
such a socket. What is written to the terminal itself is not the program's (whose bytes are sealed), but a failed
start's: it is passed on as a note that nobody vouches for.
"""

import contextlib
import errno
import fcntl
import os
import select
import signal
import socket
import struct
import termios
import threading
from collections import deque
from dataclasses import dataclass
from typing import Final

from cloister.attest.console_link import Frames, LinkFrame, LinkKind, packed, size_of
from cloister.errors import ParseError

__all__ = ["Ends", "Relay"]

TIOCSIG: Final = 0x40045436
"""asm-generic/ioctls.h: a signal for the terminal's foreground, pty(7)."""
SIGNALS: Final = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP})
PIECE: Final = 1 << 16
NOTE: Final = 4096
MOST_UNSENT: Final = 1 << 20
"""Bytes for the person, beyond which the program has to wait."""
MOST_UNTAKEN: Final = 4 << 20
"""Bytes for the program. The person sends less before it hears that they were taken."""
SECONDS_TO_FLUSH: Final = 30.0


@dataclass(kw_only=True)
class Ends:
    """The host's ends. `into`: a terminal's master or a socket; `out`: a socket that keeps records apart."""

    into: int
    out: socket.socket
    terminal: bool

    def resize(self, rows: int, columns: int) -> None:
        """Set the terminal's size; its foreground is told."""
        if self.terminal:
            fcntl.ioctl(self.into, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def signal(self, number: int) -> None:
        """Signal the terminal's foreground."""
        if self.terminal and number in SIGNALS:
            fcntl.ioctl(self.into, TIOCSIG, number)

    def close(self) -> None:
        """Hang up: the terminal's session gets SIGHUP, writers find nobody, readers a stream that was cut off."""
        if self.into >= 0:
            os.close(self.into)
        self.into = -1
        self.out.close()


class Relay:
    """One person's, one program's. `begin` starts its thread."""

    def __init__(self, ends: Ends) -> None:
        self._ends, self._frames = ends, Frames()
        self._sock = socket.socket()
        self._input: deque[bytes] = deque()
        self._untaken = 0
        self._taken = 0
        self._unsent = bytearray()
        self._program_is_there = True
        self._notes = ends.terminal
        self._thread: threading.Thread | None = None

    def begin(self, sock: socket.socket, frames: Frames, already: list[LinkFrame]) -> None:
        """Carry, in a thread of its own, until either side has ended."""
        self._sock.close()
        self._sock, self._frames = sock, frames
        self._thread = threading.Thread(target=self._carry, args=(already,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Wait until what the program wrote last has been sent."""
        if self._thread is not None:
            self._thread.join(SECONDS_TO_FLUSH)

    def _carry(self, already: list[LinkFrame]) -> None:
        os.set_blocking(self._ends.into, False)
        self._ends.out.setblocking(False)  # noqa: FBT003 - the standard library's
        self._sock.setblocking(False)  # noqa: FBT003
        with contextlib.suppress(ParseError, OSError), self._sock:
            for frame in already:
                self._obey(frame)
            while self._program_is_there:
                self._turn()
            self._flush()
        self._ends.close()

    def _turn(self) -> None:
        waiting = select.poll()
        out, into, person = self._ends.out.fileno(), self._ends.into, self._sock.fileno()
        waiting.register(person, select.POLLIN | (select.POLLOUT if self._unsent else 0))
        if len(self._unsent) < MOST_UNSENT:
            waiting.register(out, select.POLLIN)
        wanted = (select.POLLOUT if self._input else 0) | (select.POLLIN if self._notes else 0)
        if wanted:
            waiting.register(into, wanted)
        for descriptor, what in waiting.poll():
            if descriptor == out:
                self._take_output()
            elif descriptor == into:
                self._with_program(what)
            elif what & ~select.POLLOUT:
                self._hear_person()
        self._send()

    def _take_output(self) -> None:
        """Some records, if there are more: each turn of the loop costs."""
        with contextlib.suppress(BlockingIOError):
            for _ in range(8):
                record = self._ends.out.recv(PIECE)
                if not record:
                    self._program_is_there = False
                    return
                self._unsent += packed(LinkKind.OUTPUT, record)

    def _with_program(self, what: int) -> None:
        if what & (select.POLLIN | select.POLLHUP | select.POLLERR) and self._notes:
            self._take_note()
        if what & select.POLLOUT:
            self._give_input()

    def _take_note(self) -> None:
        try:
            text = os.read(self._ends.into, NOTE)
        except BlockingIOError:
            return
        except OSError:
            text = b""  # EIO: nobody has the terminal open
        if text:
            self._unsent += packed(LinkKind.NOTE, text)
        else:
            self._notes = False

    def _give_input(self) -> None:
        while self._input:
            record = self._input[0]
            try:
                written = os.write(self._ends.into, record)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno not in {errno.EIO, errno.EPIPE, errno.ECONNRESET}:
                    raise
                written = len(record)  # nobody reads any more: as natively, what is typed then is lost
            self._untaken -= written
            self._taken += written
            if written == len(record):
                self._input.popleft()
            else:
                self._input[0] = record[written:]
        if self._taken:
            self._unsent += packed(LinkKind.TAKEN, self._taken.to_bytes(4, "little"))
            self._taken = 0

    def _hear_person(self) -> None:
        data = self._sock.recv(PIECE)
        if not data:
            raise ConnectionAbortedError
        for frame in self._frames.feed(data):
            self._obey(frame)

    def _obey(self, frame: LinkFrame) -> None:
        if frame.kind is LinkKind.INPUT and frame.body:
            self._input.append(frame.body)
            self._untaken += len(frame.body)
            if self._untaken > MOST_UNTAKEN:
                raise ParseError("frame of the console", "size", 4, "more input than was asked for")
        elif frame.kind is LinkKind.SIGNAL:
            with contextlib.suppress(OSError):
                self._ends.signal(int.from_bytes(frame.body, "little"))
        elif frame.kind is LinkKind.SIZE:
            with contextlib.suppress(OSError):
                self._ends.resize(*size_of(frame.body))

    def _send(self) -> None:
        if self._unsent:
            with contextlib.suppress(BlockingIOError):
                del self._unsent[: self._sock.send(self._unsent)]

    def _flush(self) -> None:
        self._sock.settimeout(SECONDS_TO_FLUSH)
        self._sock.sendall(self._unsent)
