"""A program on a terminal of its own, typed at and read from, as a person in a class would run it.

A terminal and not a pipe: C programs hold back output to a pipe, and the exercise's program must show its hash
before it waits.
"""

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from cloister.errors import ObservationError

__all__ = ["Screen", "Terminal"]

PATIENCE = 20.0
"""Seconds to wait for a text; starting an enclave takes milliseconds, a busy machine some more."""


class Screen:
    """A terminal without a program: `program_side` is the descriptor to give one as its standard streams."""

    def __init__(self) -> None:
        self._master, self.program_side = pty.openpty()
        self._seen = b""

    @property
    def transcript(self) -> str:
        """What the screen shows so far, including what was typed."""
        return self._seen.decode("utf-8", "replace").replace("\r\n", "\n")

    def expect(self, pattern: str, seconds: float = PATIENCE) -> None:
        """Wait until the screen shows a match of `pattern`; ObservationError, with what it shows, if it never does."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.transcript):
            if not self._read_more(deadline - time.monotonic()):
                shown = " ".join(self.transcript.split()) or "(nothing)"
                raise ObservationError(f"the program {self.state()} without printing {pattern!r}; it printed: {shown}")

    def enter(self, line: str) -> None:
        """Type a line and Enter."""
        os.write(self._master, line.encode() + b"\n")

    def state(self) -> str:
        """What can be said of the program, for a message."""
        return "ended or is too slow"

    def close_program_side(self) -> None:
        """Forget the program's descriptor, so that the end of the program is seen as the end of the terminal."""
        if self.program_side >= 0:
            os.close(self.program_side)
        self.program_side = -1

    def _read_more(self, seconds: float) -> bool:
        """Read once if something comes within `seconds`; False when nothing does or the terminal is closed."""
        ready, _, _ = select.select([self._master], [], [], max(0.0, seconds))
        if not ready:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # EIO: every process with this terminal has ended
            return False
        self._seen += data
        return bool(data)

    def __enter__(self) -> Self:
        """The screen itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the terminal."""
        self.close_program_side()
        os.close(self._master)


class Terminal(Screen):
    """A screen with a running program. On leaving the `with` block the program is ended and collected."""

    def __init__(self, argv: Sequence[str], directory: Path) -> None:
        """Start `argv` in `directory`; OSError if it cannot be started."""
        super().__init__()
        side = self.program_side
        try:
            self._process = subprocess.Popen(
                argv, stdin=side, stdout=side, stderr=side, cwd=directory, start_new_session=True
            )
        except OSError:
            super().__exit__()
            raise
        self.close_program_side()

    @property
    def pid(self) -> int:
        """The process id of the program."""
        return self._process.pid

    def state(self) -> str:
        """Whether it runs or how it ended; a closed terminal is seen an instant before the end itself."""
        try:
            return f"ended with status {self._process.wait(0.5)}"
        except subprocess.TimeoutExpired:
            return "still runs"

    def exit_code(self, seconds: float = PATIENCE) -> int:
        """Wait for the program to end by itself; its exit code, or minus the signal that ended it."""
        while self._read_more(seconds):
            pass
        return self._process.wait(seconds)

    def end(self, number: signal.Signals = signal.SIGKILL, seconds: float = PATIENCE) -> None:
        """End the program with a signal and collect it; SIGKILL if it survives `seconds`."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __exit__(self, *exception: object) -> None:
        """End the program and close the terminal."""
        self.end()
        super().__exit__(*exception)
