"""A person at a program's console: what is typed goes there as records, what it prints comes from there."""

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

from cloister.app.console.calling import Console
from cloister.app.console.local_terminal import LocalTerminal
from cloister.attest.console_link import SIZE, LinkFrame, LinkKind, packed
from cloister.errors import ParseError
from cloister.shield.console.records import (
    ConsoleBroken,
    InputKind,
    InputRecords,
    OutputKind,
    OutputRecords,
    Piece,
)

__all__ = ["Session"]

STDIN, STDOUT, STDERR = 0, 1, 2
KEYS: Final = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP)
"""What the person's terminal makes of keys: for the program's foreground."""
LEAVING: Final = (signal.SIGTERM, signal.SIGHUP)
WINDOW: Final = 1 << 18
"""Bytes of records that may be on their way to the program."""
PIECE: Final = 1 << 15
TYPED: Final = 4096
PATIENCE: Final = 5.0
"""Seconds for a record of output that others overtook."""
SPOKEN: Final = (b"cloister: ", b"  fix: ")
"""How the runtime's own messages begin (runtime/src/fail.c). As records these would be beyond the 10^18th."""
CUT_OFF: Final = "the connection ended before the program's end was confirmed: output may be missing"


class Session:
    """One attachment. `terminal` is None if standard input is none; `say` tells the person what the program did not."""

    def __init__(self, console: Console, terminal: LocalTerminal | None, say: Callable[[str], None]) -> None:
        self._sock, self._frames, self._already = console.sock, console.frames, console.already
        self._terminal, self._say = terminal, say
        self._typed = InputRecords(console.key, terminal=terminal is not None)
        self._printed = OutputRecords(console.key)
        self._unsent = bytearray()
        self._untaken = 0
        self._reading = True
        self._since: float | None = None
        self._notes = b""
        self._awake, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._end: Piece | None = None

    def run(self) -> int:
        """Until the program has ended: its exit status, 128 and the number for a signal. ConsoleBroken."""
        with self._sock, self._prepared():
            for frame in self._already:
                self._take(frame)
            while self._end is None:
                self._turn()
        if self._printed.missing:
            raise ConsoleBroken(
                f"{self._printed.missing} records of output are missing: the host withheld them, or killed a program "
                "while it wrote"
            )
        return _exit_code(self._end.status)

    @contextlib.contextmanager
    def _prepared(self) -> Iterator[None]:
        """Signals wake the loop up; the terminal is left as it was found, whatever happens."""
        self._sock.setblocking(False)  # noqa: FBT003 - the standard library's
        before = {number: signal.signal(number, _leave) for number in LEAVING}
        if self._terminal is not None:
            before |= {number: signal.signal(number, _wake_up) for number in (*KEYS, signal.SIGWINCH)}
            before[signal.SIGTTOU] = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        old = signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        try:
            yield
        finally:
            if self._terminal is not None:
                with contextlib.suppress(OSError):
                    self._terminal.restore()
            signal.set_wakeup_fd(old)
            for number, action in before.items():
                signal.signal(number, action)
            os.close(self._wake)
            os.close(self._awake)

    def _turn(self) -> None:
        waiting = select.poll()
        waiting.register(self._sock, select.POLLIN | (select.POLLOUT if self._unsent else 0))
        waiting.register(self._awake, select.POLLIN)
        if self._reading and self._untaken < WINDOW:
            waiting.register(STDIN, select.POLLIN)
        for descriptor, what in waiting.poll(self._patience()):
            if descriptor == STDIN:
                self._read(what)
            elif descriptor == self._awake:
                self._pass_signals()
            elif what & ~select.POLLOUT:
                self._receive()
        self._send()
        self._look_at_the_clock()

    def _patience(self) -> int | None:
        return None if self._since is None else max(int((self._since + PATIENCE - time.monotonic()) * 1000) + 1, 0)

    def _read(self, what: int) -> None:
        """What was typed. A terminal that was closed ends the session, as a window does."""
        canonical = self._terminal is not None and self._terminal.canonical
        try:
            data = b"" if what & select.POLLNVAL else os.read(STDIN, TYPED if self._terminal else PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if self._terminal is not None and not data and (not canonical or what & (select.POLLHUP | select.POLLERR)):
            raise ConsoleBroken("the terminal was closed")
        if data:
            kind = InputKind.LINE if canonical else InputKind.BYTES
            records = list(self._typed.records(data, kind))
        else:
            records = [self._typed.end()]
            self._reading = self._terminal is not None
        self._untaken += sum(map(len, records))
        for body in [b"".join(records)] if self._terminal else records:
            for at in range(0, len(body), 1 << 16):
                self._unsent += packed(LinkKind.INPUT, body[at : at + (1 << 16)])

    def _pass_signals(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in os.read(self._awake, 256):
                if number in KEYS:
                    self._unsent += packed(LinkKind.SIGNAL, number.to_bytes(4, "little"))
                elif number == signal.SIGWINCH and self._terminal is not None:
                    self._unsent += packed(LinkKind.SIZE, SIZE.pack(*self._terminal.size))

    def _receive(self) -> None:
        try:
            data = self._sock.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._hung_up()
            return
        for frame in self._frames.feed(data):
            self._take(frame)

    def _hung_up(self) -> None:
        """Nothing more comes; what is here counts, if the end is among it."""
        while self._printed.waits and self._end is None:
            self._print(self._printed.give_up())
        if self._end is None:
            notes = self._notes.decode(errors="replace").strip()
            said = (
                f"; what the host shows, and nobody vouches for: {notes}" if notes and not self._printed.begun else ""
            )
            raise ConsoleBroken(CUT_OFF + said)

    def _take(self, frame: LinkFrame) -> None:
        if frame.kind is LinkKind.OUTPUT:
            self._take_output(frame.body)
        elif frame.kind is LinkKind.TAKEN:
            self._untaken -= int.from_bytes(frame.body, "little")
        elif frame.kind is LinkKind.NOTE:
            self._take_note(frame.body)
        else:
            raise ParseError("frame of the console", "kind", 0, f"is {frame.kind.name}, which the host does not send")

    def _take_note(self, text: bytes) -> None:
        """What a runtime that cannot start says, which has no key yet. Or whatever the host likes to say."""
        if self._printed.begun:
            self._say(f"the host shows, and nobody vouches for: {text.decode(errors='replace').strip()}")
        else:
            self._notes = (self._notes + text)[-TYPED:]

    def _take_output(self, record: bytes) -> None:
        if record.startswith(SPOKEN):
            self._take_note(record)
            return
        try:
            pieces = self._printed.take(record)
        except ConsoleBroken:
            if self._printed.begun:
                raise
            return  # it never begins now, which is said at the end with the runtime's own words
        self._print(pieces)

    def _print(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            if piece.kind in {OutputKind.STDOUT, OutputKind.STDERR}:
                _write(STDERR if piece.kind is OutputKind.STDERR else STDOUT, piece.data)
            elif piece.kind is OutputKind.MODE and self._terminal is not None:
                self._terminal.apply(piece.data)
            elif piece.kind is OutputKind.ALERT:
                raise ConsoleBroken(f"the program's side says: {piece.data.decode(errors='replace')}")
            elif piece.kind is OutputKind.END or (piece.kind is OutputKind.EXIT and self._terminal is not None):
                self._end = piece
        self._since = None if not self._printed.waits else self._since or time.monotonic()

    def _look_at_the_clock(self) -> None:
        if self._since is None or time.monotonic() - self._since < PATIENCE:
            return
        self._say("some output is missing here: the host withheld it, or killed a program while it wrote")
        self._since = None
        self._print(self._printed.give_up())

    def _send(self) -> None:
        if self._unsent:
            with contextlib.suppress(BlockingIOError, ConnectionError):  # what it sent last is still to be read
                del self._unsent[: self._sock.send(self._unsent)]


def _wake_up(_number: int, _frame: FrameType | None) -> None:
    """Nothing: the wake-up descriptor tells the loop."""


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _write(descriptor: int, data: bytes) -> None:
    """All of it, also where somebody made the stream non-blocking."""
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            waiting = select.poll()
            waiting.register(descriptor, select.POLLOUT)
            waiting.poll()


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
