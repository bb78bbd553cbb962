"""Optional: a monotonic counter, so that an older seal does not open once a newer one is stored.

Sealing alone does not notice when the administrator puts yesterday's file back. With a counter, each seal is numbered
one more than the counter stands at; the counter is moved on after the data is stored (`Sealer.stored`), so that a crash
between loses nothing. Then, until the next unsealing or `stored`, two seals may have the same number: both open.
"""

import fcntl
import os
import secrets
import stat
from pathlib import Path
from typing import Final, Protocol

from cloister._wire import Record, raw, u32, u64
from cloister.errors import ParseError, UsageError
from cloister.seal.fresh_file import is_there, make_once

__all__ = ["FileCounter", "MonotonicCounter"]

MAGIC: Final = b"CLOICNTR"
OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


class MonotonicCounter(Protocol):
    """Port: a number that only grows. One for each piece of data that has versions."""

    @property
    def identifier(self) -> bytes:
        """16 bytes that name it, not secret."""

    def read(self) -> int:
        """Where it stands; 0 at first. CloisterError."""

    def advance_to(self, value: int) -> None:
        """Durably move it on to `value`, at most one more. Nothing happens if it is there already. CloisterError."""


class CounterContent(Record, size=36):
    """The counter's file."""

    magic: bytes = raw(8, equals=MAGIC)
    version: int = u32(equals=1)
    identifier: bytes = raw(16)
    value: int = u64()


class FileCounter:
    """A counter in a file, made on first use: against mistakes and mixed-up backups.

    Against an administrator only if the file is where he cannot write: who can restore the data can restore this too.
    """

    def __init__(self, path: Path) -> None:
        """UsageError if the file cannot be used."""
        self.path = path
        if not is_there(path):
            make_once(path, _content_of(secrets.token_bytes(16), 0))
        self.identifier = self._content().identifier

    def read(self) -> int:
        """Where it stands."""
        return self._content().value

    def advance_to(self, value: int) -> None:
        """Under a lock, so that two processes never set it back. UsageError for steps of more than one."""
        descriptor = self._open(os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            now = self._parse(os.pread(descriptor, CounterContent.SIZE + 1, 0))
            if value not in {now.value, now.value + 1}:
                raise UsageError(f"{self.path} stands at {now.value} and cannot go to {value}")
            os.pwrite(
                descriptor,
                _content_of(now.identifier, value),
                0,
            )
            os.fsync(descriptor)
        except OSError as error:
            raise UsageError(f"cannot write the counter {self.path}: {error.strerror}") from error
        finally:
            os.close(descriptor)

    def _content(self) -> CounterContent:
        descriptor = self._open(os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            return self._parse(os.pread(descriptor, CounterContent.SIZE + 1, 0))
        except OSError as error:
            raise UsageError(f"cannot read the counter {self.path}: {error.strerror}") from error
        finally:
            os.close(descriptor)

    def _open(self, mode: int) -> int:
        try:
            descriptor = os.open(self.path, mode | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            raise UsageError(f"cannot open the counter {self.path}: {error.strerror}") from error
        if os.fstat(descriptor).st_mode & OTHERS_WRITE:
            os.close(descriptor)
            raise UsageError(f"{self.path} may be written by others, so it is no counter: `chmod 600` it")
        return descriptor

    def _parse(self, data: bytes) -> CounterContent:
        try:
            return CounterContent.parse(data)
        except ParseError as error:
            raise UsageError(f"{self.path} is no counter: {error}") from error


def _content_of(identifier: bytes, value: int) -> bytes:
    return CounterContent(magic=MAGIC, version=1, identifier=identifier, value=value).serialize()
