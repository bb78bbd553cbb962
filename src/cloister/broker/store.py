"""What the broker remembers: settings, secrets in ciphertext, and which challenges were answered with which result.

Nothing here is a secret in clear. Secrets and keys arrive encrypted (`secrets_key.py`); challenges appear by SHA-256.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cloister.broker.store_database import Database, Row
from cloister.broker.store_roots import RootTable
from cloister.broker.store_sqlite import SqliteDatabase, Waiting
from cloister.errors import UsageError

__all__ = ["MIGRATIONS", "Sealed", "Store", "StoredSession", "open_database"]

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "CREATE TABLE settings (name TEXT PRIMARY KEY, value {bytes} NOT NULL)",
        "CREATE TABLE secrets (name TEXT PRIMARY KEY, created BIGINT NOT NULL)",
        """CREATE TABLE secret_versions (
            name TEXT NOT NULL REFERENCES secrets (name), version BIGINT NOT NULL, rule TEXT NOT NULL,
            created BIGINT NOT NULL, expires BIGINT, revoked BIGINT, wrapped_key {bytes}, ciphertext {bytes},
            PRIMARY KEY (name, version))""",
        "CREATE TABLE answered (ticket {bytes} PRIMARY KEY, result {bytes} NOT NULL, expires BIGINT NOT NULL)",
        "CREATE INDEX answered_by_expiry ON answered (expires)",
    ),
    (
        """CREATE TABLE sessions (
            name TEXT NOT NULL, number BIGINT NOT NULL, sha256 TEXT NOT NULL, created BIGINT NOT NULL,
            revoked BIGINT, wrapped_key {bytes}, ciphertext {bytes}, PRIMARY KEY (name, number))""",
    ),
    (
        """CREATE TABLE roots (
            session TEXT NOT NULL, name TEXT NOT NULL, volume_key {bytes} NOT NULL, start TEXT NOT NULL,
            generation BIGINT NOT NULL, digest {bytes} NOT NULL, reported BIGINT NOT NULL,
            PRIMARY KEY (session, name, volume_key))""",
    ),
)
"""Steps of the schema. Only ever added to."""
CLEANING: Final = timedelta(seconds=60)
SLACK: Final = timedelta(minutes=2)
"""How much longer than the challenge itself its answer is remembered: replicas' clocks differ."""
SESSION_COLUMNS: Final = "name, number, sha256, created, revoked, wrapped_key, ciphertext"
ACCEPT: Final = "INSERT INTO answered (ticket, result, expires) VALUES (?, ?, ?) ON CONFLICT (ticket) DO NOTHING"
COLUMNS: Final = "name, version, rule, created, expires, revoked, wrapped_key, ciphertext"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """One version of a secret as it is stored. A revoked one has neither key nor ciphertext: they were destroyed."""

    name: str
    version: int
    rule: str
    created: datetime
    expires: datetime | None
    revoked: datetime | None
    wrapped_key: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSession:
    """One session as it is stored: `number` counts those of the same name, `sha256` is its identity."""

    name: str
    number: int
    sha256: str
    created: datetime
    revoked: datetime | None
    wrapped_key: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)


class Store:
    """The broker's memory, over any `Database`."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database, self._clock = database, clock
        self._cleaned, self._cleaning = clock(), threading.Lock()
        database.migrate(MIGRATIONS)
        self.roots = RootTable(database, clock)

    # ---- settings

    def setting(self, name: str) -> bytes | None:
        """A setting's value; None if nobody has set it."""
        rows = self._database.read("SELECT value FROM settings WHERE name = ?", (name,))
        return _bytes(rows[0][0]) if rows else None

    def set_once(self, name: str, value: bytes) -> bytes:
        """Set what must never change; the value that holds, which is another's if another replica was faster."""
        statement = "INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING"
        self._database.write(statement, (name, value))
        return self.setting(name) or value

    # ---- challenges

    def accept(self, ticket: bytes, result: bytes, expires: datetime) -> bool:
        """Remember that a challenge was answered with this result. False if it was answered before, anywhere."""
        self._clean()
        return self._database.write(ACCEPT, (ticket, result, _seconds(expires + SLACK))) == 1

    def enter_answer(self, ticket: bytes, result: bytes, expires: datetime) -> Waiting | None:
        """As `accept`, but in line, where the caller does not wait for the disk: accepted if `outcome` is 1.

        None if this database has no line; then only `accept` can.
        """
        line = self.line
        if line is None:
            return None
        self._clean()
        return line.enter(ACCEPT, (ticket, result, _seconds(expires + SLACK)))

    @property
    def line(self) -> SqliteDatabase | None:
        """The database, if it is one of this machine: reads take microseconds, and writes can be put in line."""
        return self._database if isinstance(self._database, SqliteDatabase) else None

    def write_out(self) -> None:
        """Return when what is in line was written, or could not be."""
        if self.line is not None:
            self.line.write_out()

    def write_out_at_once(self) -> bool:
        """The same, but false if others are writing: it may be that nothing was done then."""
        return self.line is not None and self.line.write_out_at_once()

    def answer_of(self, ticket: bytes) -> bytes | None:
        """The result with which a challenge was answered; empty if it was withdrawn; None if it is open."""
        rows = self._database.read("SELECT result FROM answered WHERE ticket = ?", (ticket,))
        return _bytes(rows[0][0]) if rows else None

    def withdraw(self, ticket: bytes, expires: datetime) -> None:
        """Forget the result of a challenge, and never accept another answer."""
        if not self.accept(ticket, b"", expires):
            self._database.write("UPDATE answered SET result = ? WHERE ticket = ?", (b"", ticket))

    # ---- secrets

    def add_version(self, sealed: Sealed) -> bool:
        """Store a version; False if that version is there already."""
        created = _seconds(sealed.created)
        statement = "INSERT INTO secrets (name, created) VALUES (?, ?) ON CONFLICT (name) DO NOTHING"
        self._database.write(statement, (sealed.name, created))
        statement = (
            f"INSERT INTO secret_versions ({COLUMNS}) VALUES (?, ?, ?, ?, ?, NULL, ?, ?)"  # noqa: S608 - a constant
            " ON CONFLICT (name, version) DO NOTHING"
        )
        values = (
            sealed.name, sealed.version, sealed.rule, created,
            None if sealed.expires is None else _seconds(sealed.expires), sealed.wrapped_key, sealed.ciphertext,
        )  # fmt: skip
        return self._database.write(statement, values) == 1

    def latest(self, name: str) -> Sealed | None:
        """The newest version of a secret, revoked or not; None if there is no such secret."""
        where = "WHERE name = ? ORDER BY version DESC LIMIT 1"
        rows = self._database.read(f"SELECT {COLUMNS} FROM secret_versions {where}", (name,))  # noqa: S608 - constants
        return _sealed(rows[0]) if rows else None

    def versions(self, name: str = "") -> list[Sealed]:
        """Every version of a secret, or of all, oldest first."""
        where, values = ("WHERE name = ?", (name,)) if name else ("", ())
        statement = f"SELECT {COLUMNS} FROM secret_versions {where} ORDER BY name, version"  # noqa: S608 - constants
        return [_sealed(row) for row in self._database.read(statement, values)]

    def revoke(self, name: str, version: int) -> bool:
        """Destroy one version's key and ciphertext. False if there is none, or it is revoked already."""
        statement = (
            "UPDATE secret_versions SET revoked = ?, wrapped_key = NULL, ciphertext = NULL"
            " WHERE name = ? AND version = ? AND revoked IS NULL"
        )
        return self._database.write(statement, (_seconds(self._clock()), name, version)) == 1

    # ---- sessions

    def add_session(self, one: StoredSession) -> bool:
        """Store a session; False if there is one with that number already."""
        statement = (
            f"INSERT INTO sessions ({SESSION_COLUMNS}) VALUES (?, ?, ?, ?, NULL, ?, ?)"  # noqa: S608 - a constant
            " ON CONFLICT (name, number) DO NOTHING"
        )
        values = (one.name, one.number, one.sha256, _seconds(one.created), one.wrapped_key, one.ciphertext)
        return self._database.write(statement, values) == 1

    def latest_session(self, name: str) -> StoredSession | None:
        """The newest session of that name, revoked or not; None if there is none."""
        where = "WHERE name = ? ORDER BY number DESC LIMIT 1"
        rows = self._database.read(f"SELECT {SESSION_COLUMNS} FROM sessions {where}", (name,))  # noqa: S608 - constants
        return _session(rows[0]) if rows else None

    def sessions(self) -> list[StoredSession]:
        """Every session, oldest first."""
        statement = f"SELECT {SESSION_COLUMNS} FROM sessions ORDER BY name, number"  # noqa: S608 - a constant
        return [_session(row) for row in self._database.read(statement)]

    def revoke_session(self, name: str) -> int:
        """Destroy the keys and ciphertexts of all sessions of that name; how many were not revoked before."""
        statement = (
            "UPDATE sessions SET revoked = ?, wrapped_key = NULL, ciphertext = NULL WHERE name = ? AND revoked IS NULL"
        )
        return self._database.write(statement, (_seconds(self._clock()), name))

    def ping(self) -> None:
        """DatabaseUnavailable if the database does not answer."""
        self._database.read("SELECT 1")

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _clean(self) -> None:
        """Now and then, forget answers that no clock still accepts."""
        now = self._clock()
        if now - self._cleaned < CLEANING or not self._cleaning.acquire(blocking=False):
            return
        try:
            self._cleaned = now
            write = self._database.write if self.line is None else self.line.enter
            write("DELETE FROM answered WHERE expires < ?", (_seconds(now),))
        finally:
            self._cleaning.release()


def open_database(url: str) -> Database:
    """The database at `sqlite:///PATH`, at a path, or at `postgresql://...`; UsageError if it cannot be used."""
    if url.startswith(("postgresql://", "postgres://")):
        try:
            from cloister.broker.store_postgres import PostgresDatabase  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise UsageError("PostgreSQL needs an extra: pip install 'cloister[serve]'") from error
        return PostgresDatabase(url)
    path = url.removeprefix("sqlite:///")
    if "://" in path or not path:
        raise UsageError("--database takes sqlite:///PATH or postgresql://USER@HOST/NAME")
    return SqliteDatabase(Path(path))


def _sealed(row: Row) -> Sealed:
    name, version, rule, created, expires, revoked, wrapped, ciphertext = row
    return Sealed(
        name=str(name), version=int(version or 0), rule=str(rule), created=_time(created) or datetime.now(UTC),
        expires=_time(expires), revoked=_time(revoked), wrapped_key=_bytes(wrapped), ciphertext=_bytes(ciphertext),
    )  # fmt: skip


def _session(row: Row) -> StoredSession:
    name, number, sha256, created, revoked, wrapped, ciphertext = row
    return StoredSession(
        name=str(name), number=int(number or 0), sha256=str(sha256), created=_time(created) or datetime.now(UTC),
        revoked=_time(revoked), wrapped_key=_bytes(wrapped), ciphertext=_bytes(ciphertext),
    )  # fmt: skip


def _bytes(value: object) -> bytes:
    return bytes(value) if isinstance(value, bytes | memoryview) else b""


def _seconds(time: datetime) -> int:
    return int(time.timestamp())


def _time(value: object) -> datetime | None:
    return datetime.fromtimestamp(value, UTC) if isinstance(value, int) else None
