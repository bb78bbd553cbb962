"""PostgreSQL as the store's database, for several replicas side by side.

Every statement is a transaction of its own. A connection that fails is thrown away and the statement tried once more on
a new one: every statement of the store may be repeated, because what must happen once is an INSERT that conflicts.
"""

import contextlib
import queue
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import psycopg

from cloister.broker.store_database import DatabaseUnavailable, Row, Value
from cloister.errors import UsageError

__all__ = ["PostgresDatabase"]

T = TypeVar("T")
CONNECT_SECONDS: Final = 5
MOST_CONNECTIONS: Final = 32
MIGRATION_LOCK: Final = 0x636C6F69
"""A number that is ours, for the advisory lock under which the schema changes."""
TABLE: Final = "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)"


class PostgresDatabase:
    """The database at a `postgresql://` URL. Error messages never repeat the URL, which may hold a password."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._idle: queue.LifoQueue[psycopg.Connection[Row]] = queue.LifoQueue(MOST_CONNECTIONS)
        self._closed = False
        try:
            psycopg.conninfo.conninfo_to_dict(url)
        except psycopg.Error:
            raise UsageError("--database: this is no URL of a PostgreSQL database") from None
        self._idle.put(self._connect())

    def read(self, statement: str, values: Sequence[Value] = ()) -> list[Row]:
        """The rows."""
        return self._with(lambda connection: connection.execute(_numbered(statement), values).fetchall())

    def write(self, statement: str, values: Sequence[Value] = ()) -> int:
        """The rows changed."""
        return self._with(lambda connection: connection.execute(_numbered(statement), values).rowcount)

    def migrate(self, steps: Sequence[Sequence[str]]) -> int:
        """Apply what is new. Replicas that start together do it one after the other."""
        return self._with(lambda connection: _migrate(connection, steps))

    def close(self) -> None:
        """Close the connections that nobody uses; those in use are closed when they come back."""
        self._closed = True
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                return

    def _with(self, work: Callable[[psycopg.Connection[Row]], T]) -> T:
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = self._connect()
        try:
            done = work(connection)
        except psycopg.OperationalError:
            connection.close()
            connection = self._connect()
            done = self._again(connection, work)
        except BaseException as error:
            connection.close()
            if isinstance(error, psycopg.Error):
                raise _unavailable(error) from error
            raise
        self._give_back(connection)
        return done

    def _again(self, connection: psycopg.Connection[Row], work: Callable[[psycopg.Connection[Row]], T]) -> T:
        try:
            return work(connection)
        except psycopg.Error as error:
            connection.close()
            raise _unavailable(error) from error

    def _give_back(self, connection: psycopg.Connection[Row]) -> None:
        with contextlib.suppress(queue.Full):
            if not self._closed:
                self._idle.put_nowait(connection)
                return
        connection.close()

    def _connect(self) -> psycopg.Connection[Row]:
        try:
            return psycopg.Connection.connect(
                self._url, autocommit=True, connect_timeout=CONNECT_SECONDS, application_name="cloister"
            )
        except psycopg.Error as error:
            raise _unavailable(error) from None  # its words may repeat the URL


def _unavailable(error: psycopg.Error) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"PostgreSQL does not answer ({type(error).__name__} {error.sqlstate or ''})".rstrip())


def _numbered(statement: str) -> bytes:
    """The statement with psycopg's sign for values; as bytes, for it is a constant of the store, not made of data."""
    return statement.replace("?", "%s").encode()


def _migrate(connection: psycopg.Connection[Row], steps: Sequence[Sequence[str]]) -> int:
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
        connection.execute(TABLE)
        row = connection.execute("SELECT max(version) FROM schema_version").fetchone()
        applied = int(row[0] or 0) if row else 0
        if applied > len(steps):
            raise UsageError("the database is of a newer Cloister; use that, or another database")
        for step in steps[applied:]:
            for statement in step:
                connection.execute(statement.replace("{bytes}", "BYTEA").encode())
        connection.execute("INSERT INTO schema_version (version) VALUES (%s)", (len(steps),))
    return len(steps)
