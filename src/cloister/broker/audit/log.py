"""The audit log as the broker writes it: append, and know that it is on the disk before anything is released.

Every entry is durable (fdatasync) before `append` returns. Threads that append at the same time share one write and one
fdatasync: while one waits for the disk, the others put their entries in line, and the next one writes them all.
"""

import contextlib
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from cloister.broker.audit.active import ActiveSegment, LogUnusable, lock
from cloister.broker.audit.checkpoint import Checkpoint
from cloister.broker.audit.entry import FIRST_PREVIOUS, LONGEST_LINE, Entry, sign_entry
from cloister.broker.audit.events import Event, LogStarted, TornTail
from cloister.broker.audit.opening import Opened, create_log, reopen_log
from cloister.broker.audit.report import Grade, LogReport
from cloister.broker.audit.segments import closed_segments, read_entries
from cloister.broker.audit.verify import check_key, verify_log
from cloister.errors import UsageError
from cloister.model import Unchecked
from cloister.result.signing import SigningKey

__all__ = ["AuditLog", "Clock"]

Clock = Callable[[], datetime]
"""Answers the time, with its zone."""
SEGMENT_BYTES: Final = 8 << 20
"""When a segment has so many, it is closed: about 9,000 releases. Opening a log verifies the active segment."""
NOT_COMPARED: Final = Unchecked("no checkpoint was given: the log may be an old copy")


class AuditLog:
    """A log that this process writes, alone. Threads may share it; a child process after fork(2) may not use it."""

    def __init__(self, path: Path, key: SigningKey, clock: Clock, opened: Opened, *, locked: int, limit: int) -> None:
        """Use `AuditLog.open`."""
        self.path, self._key, self._clock = path, key, clock
        self._lock, self._process, self._limit = locked, os.getpid(), limit
        self._segment: ActiveSegment = opened.segment
        self._head, self._first = opened.head, opened.first
        self._durable = opened.head
        self._turn = threading.Condition()
        self._waiting: list[bytes] = []
        self._writing = False
        self._stopped = ""

    @classmethod
    def open(
        cls, path: Path, key: SigningKey, clock: Clock, *, segment_bytes: int = SEGMENT_BYTES,
        checkpoint: Checkpoint | Unchecked = NOT_COMPARED,
    ) -> Self:  # fmt: skip
        """The log at `path`, begun if there is none. `key` is Ed25519.

        With a checkpoint, the whole log is verified and must contain it. LogBusy if another process writes this log,
        LogUnusable if the log cannot be continued, UsageError if the files cannot be opened.
        """
        check_key(key.spki)
        path = path.resolve()
        locked = lock(path)
        try:
            opened = _open(path, key, clock, checkpoint)
            log = cls(path, key, clock, opened, locked=locked, limit=segment_bytes)
        except OSError as error:
            os.close(locked)
            raise UsageError(f"cannot open the audit log {path}: {error.strerror}") from error
        except BaseException:
            os.close(locked)
            raise
        if opened.torn is not None:
            log._append((opened.torn,))
        return log

    def append(self, event: Event) -> Entry:
        """Record an event. When this returns, it is on the disk; LogUnusable if that is not certain.

        UsageError if the event is too long for a line, or of those that the log writes itself.
        """
        return self.append_all((event,))[0]

    def append_all(self, events: Sequence[Event]) -> tuple[Entry, ...]:
        """Record several events, one behind the other, with one wait for the disk.

        Not all or nothing: after a crash the log may have the first of them only.
        """
        if any(isinstance(one, LogStarted | TornTail) for one in events):
            raise UsageError("only the log itself records that it was started or repaired")
        return self._append(events)

    def enter(self, event: Event) -> int:
        """Put an event in line and do not wait: its number, for `settled`. Raises as `append`.

        Until `settled` answers true, nobody may learn anything of what the event says.
        """
        if isinstance(event, LogStarted | TornTail):
            raise UsageError("only the log itself records that it was started or repaired")
        return self._enter((event,))[-1].sequence

    def settled(self, number: int) -> bool:
        """Whether the entry of this number is on the disk. LogUnusable if nobody knows, and nobody will."""
        with self._turn:
            if self._durable.sequence < number and self._stopped:
                raise LogUnusable(self._stopped)
            return self._durable.sequence >= number

    def write_out(self) -> None:
        """Return when everything that is in line now is on the disk, or cannot be brought there (`settled` says)."""
        with contextlib.suppress(LogUnusable):
            self._settle(self._head.sequence)

    def write_out_at_once(self) -> bool:
        """The same, but false if another thread is writing: nothing was done then."""
        with self._turn:
            if self._writing:
                return False
        self.write_out()
        return True

    def checkpoint(self) -> Checkpoint:
        """Of the last entry that is on the disk: give it to whoever watches this broker."""
        with self._turn:
            return Checkpoint.of(self._durable, self._key.spki)

    def entries(self) -> Iterator[Entry]:
        """Every entry, from the files, not verified again."""
        return read_entries(self.path)

    def verify(self, *checkpoints: Checkpoint) -> LogReport:
        """Verify the files under the log's own key; entries that are being appended meanwhile may or may not be in."""
        return verify_log(self.path, key=self._key.spki, checkpoints=checkpoints)

    def close(self) -> None:
        """Wait for what is being written, then let another process write this log. May be repeated."""
        self.write_out()
        with self._turn:
            while self._writing:
                self._turn.wait()
            if self._lock >= 0:
                self._stopped = self._stopped or f"{self.path}: this log was closed"
                self._segment.close()
                os.close(self._lock)
                self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _append(self, events: Sequence[Event]) -> tuple[Entry, ...]:
        entries = self._enter(events)
        if entries:
            self._settle(entries[-1].sequence)
        return entries

    def _enter(self, events: Sequence[Event]) -> tuple[Entry, ...]:
        with self._turn:
            self._check_usable()
            entries = self._sign(events)
            if entries:
                self._waiting += _lines(entries)
                self._head = entries[-1]
        return entries

    def _settle(self, number: int) -> None:
        """Return when that entry is on the disk; whoever comes first writes for all."""
        with self._turn:
            while self._durable.sequence < number:
                if self._stopped:
                    raise LogUnusable(self._stopped)
                if self._writing:
                    self._turn.wait()
                else:
                    self._write()

    def _check_usable(self) -> None:
        if self._stopped:
            raise LogUnusable(self._stopped)
        if os.getpid() != self._process:
            raise LogUnusable(f"{self.path}: opened by process {self._process}; a child of it opens a log of its own")

    def _sign(self, events: Sequence[Event]) -> tuple[Entry, ...]:
        """The entries, next in the chain. Nothing has happened yet if this fails."""
        made: list[Entry] = []
        for event in events:
            head = made[-1] if made else self._head
            time, key = self._clock(), self._key
            made.append(sign_entry(event, sequence=head.sequence + 1, time=time, previous=head.hash, key=key))
        return tuple(made)

    def _write(self) -> None:
        """Write everything that waits, for all who wait. Holds the turn, but not while the disk works."""
        batch, upto = b"".join(self._waiting), self._head
        self._waiting, self._writing = [], True
        self._turn.release()
        try:
            self._segment.append(batch)
            if self._segment.size >= self._limit:
                self._begin_segment(upto.sequence + 1)
        except BaseException as error:  # even an interrupt: what the disk has is not known, so nothing more is written
            self._stopped = str(error) or f"{self.path}: writing was interrupted; open the log again"
            raise
        finally:
            self._turn.acquire()
            self._writing = False
            if not self._stopped:
                self._durable = upto
            self._turn.notify_all()

    def _begin_segment(self, first: int) -> None:
        try:
            self._segment.close_as(self._first)
            self._segment, self._first = ActiveSegment.create(self.path), first
        except OSError as error:
            raise LogUnusable(f"{self.path}: cannot begin a new segment ({error.strerror})") from error


def _lines(entries: Sequence[Entry]) -> list[bytes]:
    made = [entry.line() + b"\n" for entry in entries]
    longest = max(map(len, made))
    if longest > LONGEST_LINE:
        raise UsageError(f"an event that makes a line of {longest} bytes; an audit log's have at most {LONGEST_LINE}")
    return made


def _open(path: Path, key: SigningKey, clock: Clock, checkpoint: Checkpoint | Unchecked) -> Opened:
    there = path.exists() or bool(closed_segments(path))
    if not isinstance(checkpoint, Unchecked):
        _compare(path, key.spki, checkpoint, there=there)
    if there:
        return reopen_log(path, key.spki)
    started = LogStarted(key=key.spki, log=secrets.token_bytes(16))
    return create_log(path, sign_entry(started, sequence=1, time=clock(), previous=FIRST_PREVIOUS, key=key))


def _compare(path: Path, key: bytes, checkpoint: Checkpoint, *, there: bool) -> None:
    if not there:
        raise LogUnusable(
            f"{path}: the log is missing; the checkpoint says that it had {checkpoint.seal.sequence} entries"
        )
    report = verify_log(path, key=key, checkpoints=(checkpoint,))
    if report.grade not in (Grade.INTACT, Grade.TORN):
        raise LogUnusable(f"{path}: {report.grade.title}: {report.reason}; not continued")
