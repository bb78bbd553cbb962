"""A program on a terminal of its own, as a person at a keyboard has it."""

import fcntl
import os
import pty
import re
import selectors
import signal
import struct
import termios
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from tests.system.process_tree import below, kill, moments

PATIENCE = 20.0  # seconds for one answer


class Terminal:
    """Starts the program as leader of a new session whose controlling terminal is a new pty of 80 by 24."""

    def __init__(self, argv: list[str], *, env: Mapping[str, str]) -> None:
        """Open the terminal and start."""
        self.master, slave = pty.openpty()
        self.seen = b""
        self.at = 0
        self.resize(columns=80, lines=24)
        name = os.ttyname(slave)
        # The leader of a session without a terminal gets the first one that it opens: setsid(2).
        streams = [(os.POSIX_SPAWN_OPEN, 0, name, os.O_RDWR, 0), *((os.POSIX_SPAWN_DUP2, 0, fd) for fd in (1, 2))]
        # Python ignores SIGPIPE, which whoever starts a shell on a terminal does not.
        self.pid = os.posix_spawnp(
            argv[0], argv, env, file_actions=streams, setsid=True, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ]
        )
        self.status: int | None = None
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        if self.status is None:
            kill({self.pid, *below(self.pid)})
            os.waitpid(self.pid, 0)
        if self.master >= 0:
            os.close(self.master)

    def resize(self, *, columns: int, lines: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def foreground(self) -> int:
        """The process group that the keyboard talks to."""
        return os.tcgetpgrp(self.master)

    def echoes(self) -> bool:
        """Whether what is typed is shown, termios(3)."""
        return bool(termios.tcgetattr(self.master)[3] & termios.ECHO)

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def hang_up(self) -> None:
        """Close the window; returns when the program has ended."""
        os.close(self.master)
        self.master = -1
        for _ in moments(PATIENCE):
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = status
                return
        raise AssertionError("it did not end with its terminal")

    def expect(self, pattern: bytes) -> re.Match[bytes]:
        """Read until `pattern` stands in what came after the last match."""
        end = time.monotonic() + PATIENCE
        while not (found := re.compile(pattern, re.DOTALL).search(self.seen, self.at)):
            assert self.read(end - time.monotonic()), f"{pattern!r} did not come; on the screen: {self.seen[-2000:]!r}"
        self.at = found.end()
        return found

    def read(self, seconds: float) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(self.master, selectors.EVENT_READ)
            if not selector.select(max(seconds, 0)):
                return False
        try:
            self.seen += os.read(self.master, 1 << 16)
        except OSError:  # EIO: the last process has closed the terminal, pty(7)
            return False
        return True

    def wait(self) -> int:
        """Read to the end; returns the exit status, minus the signal's number for a death by signal."""
        for _ in moments(PATIENCE):
            self.read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
                return self.status
        raise AssertionError(f"it did not end; on the screen: {self.seen[-2000:]!r}")
