"""SQLite as the store's database: one file, write-ahead log, foreign keys, every commit on the disk before it counts.

One connection writes. Threads that write at the same time share a transaction and its fsync: while one waits for the
disk, others put their statements in line (as the audit log does). Each thread reads on a connection of its own.
"""

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cloister.broker.store_database import DatabaseUnavailable, Row, Value
from cloister.errors import UsageError

__all__ = ["SqliteDatabase", "Waiting"]

BUSY_SECONDS: Final = 10
LOOK_AGAIN: Final = 0.0003
"""Seconds: about as long as a commit takes."""
PRIMARY: Final = 0xFF
"""Of an extended result code: there are several kinds of busy."""
MOST_AT_ONCE: Final = 256
"""Statements in one transaction."""


@dataclass(slots=True, eq=False)
class Waiting:
    """One statement in line, then what came of it."""

    path: Path
    statement: str
    values: Sequence[Value]
    changed: int = 0
    error: BaseException | None = None
    done: bool = field(default=False)

    def outcome(self) -> int:
        """How many rows it changed; DatabaseUnavailable if it did not come to the disk."""
        if self.error is not None:
            raise DatabaseUnavailable(f"{self.path}: the database refused ({self.error})") from self.error
        if not self.done:
            raise DatabaseUnavailable(f"{self.path}: the database has not answered yet")
        return self.changed


class SqliteDatabase:
    """The database in a file, made with access for its owner only. Several processes may use one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        self._writer = self._connect()
        self._writer.execute("PRAGMA busy_timeout = 0")  # see `_begin`
        self._turn = threading.Condition()
        self._line: list[Waiting] = []
        self._writing = False
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []

    def read(self, statement: str, values: Sequence[Value] = ()) -> list[Row]:
        """The rows."""
        with _answering(self.path):
            return self._reader().execute(statement, values).fetchall()

    def write(self, statement: str, values: Sequence[Value] = ()) -> int:
        """Put the statement in line; whoever comes first writes for all who wait."""
        mine = self.enter(statement, values)
        with self._turn:
            while not mine.done:
                if self._writing:
                    self._turn.wait()
                else:
                    self._write_line()
        return mine.outcome()

    def enter(self, statement: str, values: Sequence[Value] = ()) -> "Waiting":
        """Put the statement in line and do not wait: until it is `done`, nothing may follow from it."""
        mine = Waiting(self.path, statement, values)
        with self._turn:
            self._line.append(mine)
        return mine

    def write_out(self) -> None:
        """Return when everything that is in line now was tried."""
        with self._turn:
            waiting = list(self._line)
            while self._writing or any(not one.done for one in waiting):
                if self._writing:
                    self._turn.wait()
                else:
                    self._write_line()

    def write_out_at_once(self) -> bool:
        """The same, but false if another thread or process is writing: nothing was done then."""
        with self._turn:
            while self._line:
                if self._writing or not self._write_line(patient=False):
                    return False
        return True

    def migrate(self, steps: Sequence[Sequence[str]]) -> int:
        """Apply what is new. Processes that start together do it one after the other."""
        with _answering(self.path), self._turn:
            run = self._writer.execute
            self._begin(patient=True)
            try:
                (applied,) = run("PRAGMA user_version").fetchone()
                _refuse_newer(self.path, applied, len(steps))
                for step in steps[applied:]:
                    for statement in step:
                        run(statement.replace("{bytes}", "BLOB"))
                run(f"PRAGMA user_version = {len(steps)}")
                run("COMMIT")
            except BaseException:
                run("ROLLBACK")
                raise
        return len(steps)

    def close(self) -> None:
        """Close every connection."""
        with self._turn:
            while self._writing:
                self._turn.wait()
            for connection in (self._writer, *self._readers):
                connection.close()
            self._readers.clear()

    def _write_line(self, *, patient: bool = True) -> bool:
        """Write everything in line in one transaction. Holds the turn, but not while the disk works.

        False if another process is writing, and we are not patient.
        """
        batch, self._line = self._line[:MOST_AT_ONCE], self._line[MOST_AT_ONCE:]
        self._writing = True
        self._turn.release()
        begun = False
        try:
            begun = self._begin(patient=patient)
            if begun:
                self._transact(batch)
        except BaseException as error:
            begun = True
            for one in batch:
                one.error = one.error or error
            if not isinstance(error, sqlite3.Error):
                raise
        finally:
            self._turn.acquire()
            self._writing = False
            if begun:
                for one in batch:
                    one.done = True
            else:
                self._line = batch + self._line
            self._turn.notify_all()
        return begun

    def _begin(self, *, patient: bool) -> bool:
        """Become the one writer of all processes. SQLite would look only after 1, 2, 5, 10... ms if it is free."""
        until = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & PRIMARY != sqlite3.SQLITE_BUSY or (patient and time.monotonic() > until):
                    raise
                if not patient:
                    return False
                time.sleep(LOOK_AGAIN)
            else:
                return True

    def _transact(self, batch: Sequence[Waiting]) -> None:
        run = self._writer.execute
        try:
            for one in batch:
                try:
                    one.changed = run(one.statement, one.values).rowcount
                except sqlite3.IntegrityError as error:  # undoes this statement only
                    one.error = error
            run("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                run("ROLLBACK")
            raise

    def _reader(self) -> sqlite3.Connection:
        made: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if made is None:
            made = self._local.connection = self._connect()
            with self._turn:
                self._readers.append(made)
        return made

    def _connect(self) -> sqlite3.Connection:
        try:
            made = sqlite3.connect(
                self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=64
            )
            made.execute("PRAGMA journal_mode = WAL")
            made.execute("PRAGMA synchronous = FULL")  # in WAL mode, NORMAL may forget commits when power fails
            made.execute("PRAGMA foreign_keys = ON")
            made.execute("PRAGMA trusted_schema = OFF")
            made.execute("PRAGMA secure_delete = ON")
        except sqlite3.Error as error:
            raise UsageError(f"cannot use {self.path} as a database: {error}") from error
        return made


def _refuse_newer(path: Path, applied: int, known: int) -> None:
    if applied > known:
        raise UsageError(f"{path}: the database is of a newer Cloister; use that, or another file")


@contextlib.contextmanager
def _answering(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise DatabaseUnavailable(f"{path}: the database does not answer ({error})") from error
