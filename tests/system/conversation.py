"""A running program that a test talks to over pipes."""

import fcntl
import os
import re
import selectors
import struct
import subprocess
import tempfile
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.system.arms import ENVIRONMENT
from tests.system.process_tree import below, kill, moments, read_process

PATIENCE = 30.0  # seconds for one answer, on a slow and busy machine


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a program ended: `status` as subprocess gives it, minus the signal's number for a death by signal."""

    status: int
    stdout: bytes
    stderr: bytes


class Conversation:
    """Starts the program; as a context, ends it and everything below it."""

    def __init__(
        self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str] = ENVIRONMENT, new_group: bool = False
    ) -> None:
        """Pipes for input and output; what it says on standard error goes to a file, which cannot fill up."""
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the context
        self.process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            bufsize=0,
            process_group=0 if new_group else None,
        )
        assert self.process.stdin
        assert self.process.stdout
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        os.set_blocking(self.stdout.fileno(), False)
        self.seen = b""
        self.at = 0

    @property
    def pid(self) -> int:
        return self.process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            family = {self.pid, *below(self.pid)}
            kill(family)
            self.process.wait(PATIENCE)
        for stream in (self.stdin, self.stdout, self.errors):
            stream.close()

    def send(self, data: bytes) -> None:
        self.stdin.write(data)

    def expect(self, pattern: bytes, *, seconds: float = PATIENCE) -> re.Match[bytes]:
        """Read until `pattern` stands in what came after the last match; fails with what was said instead."""
        end = time.monotonic() + seconds
        while not (found := re.compile(pattern, re.DOTALL).search(self.seen, self.at)):
            if time.monotonic() > end or not self.read(end - time.monotonic()):
                raise AssertionError(
                    f"{pattern!r} did not come; it said {self.seen[-2000:]!r} and {self.said()[-2000:]!r}"
                )
        self.at = found.end()
        return found

    def read(self, seconds: float) -> bool:
        """Take what the program writes next; False at its end, or when nothing came in time."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.stdout, selectors.EVENT_READ)
            if not selector.select(max(seconds, 0)):
                return False
        data = os.read(self.stdout.fileno(), 1 << 20)
        self.seen += data
        return bool(data)

    def said(self) -> bytes:
        """Standard error so far."""
        return os.pread(self.errors.fileno(), 1 << 20, 0)

    def expect_input_taken(self) -> None:
        """Wait until the program has read all that was sent and sleeps, for want of more."""
        for _ in moments(PATIENCE):
            process = read_process(self.pid)
            assert process, "it is gone"
            assert not process.is_dead, f"it ended early and said {self.said()!r}"
            if self.unread() == 0 and process.state == "S":
                return
        raise AssertionError(f"it left {self.unread()} bytes of its input unread, or did not come to rest")

    def unread(self) -> int:
        """How much of what was sent still waits in the pipe."""
        (waiting,) = struct.unpack("i", fcntl.ioctl(self.stdin, termios.FIONREAD, b"\0" * 4))
        return int(waiting)

    def finish(self, rest: bytes = b"", *, seconds: float = PATIENCE) -> Outcome:
        """Send the rest, end the input, read to the end of the output, wait for the program."""
        os.set_blocking(self.stdout.fileno(), True)
        stdout, _ = self.process.communicate(rest, timeout=seconds)
        return Outcome(status=self.process.returncode, stdout=self.seen + stdout, stderr=self.said())
