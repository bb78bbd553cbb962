"""The untrusted host: does for a program what needs the world, and sees only what is in the request.

host = LinuxHost(SealedConsole(key, read, write))
gate = host.serve            # through a machine's bounce buffer, where the administrator reads and forges
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

from cloister.errors import ParseError

from .console import Console
from .host_files import HostFiles
from .messages import HostCall, HostReply, Operation, split

__all__ = ["LinuxHost"]

EIO, EINVAL, ENOSYS = 5, 22, 38
SECOND: Final = 1_000_000_000
CLOCKS: Final = frozenset({0, 1, 2, 3, 4, 7})
Answer = tuple[int, bytes]


class LinuxHost:
    """Serves requests with real system calls. `console` is the owner's terminal, `root` confines paths."""

    def __init__(self, console: Console, root: Path | None = None) -> None:
        self._console = console
        self._files = HostFiles(root)
        self._operations: dict[int, Callable[[HostCall, bytes], Answer]] = {
            **self._files.operations,
            Operation.CONSOLE_READ: self._console_read,
            Operation.CONSOLE_WRITE: self._console_write,
            Operation.CLOCK: self._clock,
            Operation.SLEEP: self._sleep,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close files that the program left open."""
        self._files.close()

    def serve(self, request: bytes) -> bytes:
        """Answer one request. What fails is an errno: EINVAL if the request is malformed.

        Only the console's own exceptions come out: HostLied when the owner's terminal finds its records changed.
        """
        try:
            call, data = split(HostCall, request)
        except ParseError:
            return HostReply.message(0, 0, error=EINVAL)
        operation = self._operations.get(call.operation)
        if operation is None:
            return HostReply.message(call.operation, call.sequence, error=ENOSYS)
        try:
            value, answer = operation(call, data)
            return HostReply.message(call.operation, call.sequence, value=value, data=answer)
        except OSError as error:
            return HostReply.message(call.operation, call.sequence, error=error.errno or EIO)
        except (ValueError, OverflowError):
            return HostReply.message(call.operation, call.sequence, error=EINVAL)

    def _console_read(self, call: HostCall, _data: bytes) -> Answer:
        record = self._console.receive(call.first)
        return len(record), record

    def _console_write(self, _call: HostCall, data: bytes) -> Answer:
        self._console.send(data)
        return 0, b""

    @staticmethod
    def _clock(call: HostCall, _data: bytes) -> Answer:
        if call.first not in CLOCKS:
            raise ValueError("no such clock")
        return time.clock_gettime_ns(call.first), b""

    @staticmethod
    def _sleep(call: HostCall, _data: bytes) -> Answer:
        time.sleep(call.first / SECOND)
        return time.monotonic_ns(), b""
