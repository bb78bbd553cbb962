"""A database, as little as the store needs of one: SQLite and PostgreSQL both are this.

Statements are written in the SQL that both understand, with `?` for values. A write is durable when it returns.
"""

from collections.abc import Sequence
from typing import Protocol

from cloister.errors import Undecided

__all__ = ["Database", "DatabaseUnavailable", "Row", "Value"]

Value = int | str | bytes | None
Row = tuple[Value, ...]


class DatabaseUnavailable(Undecided):
    """The database does not answer. Nothing is released and nothing denied; asking again later is sensible."""


class Database(Protocol):
    """Every method may be called from any thread, and raises DatabaseUnavailable where the database fails."""

    def read(self, statement: str, values: Sequence[Value] = ()) -> list[Row]:
        """The rows that a SELECT finds."""

    def write(self, statement: str, values: Sequence[Value] = ()) -> int:
        """How many rows a statement changed; durable, and seen by every replica, when this returns."""

    def migrate(self, steps: Sequence[Sequence[str]]) -> int:
        """Apply the steps that were not applied yet, in order, all or nothing; how many there are now."""

    def close(self) -> None:
        """Let go of everything. May be repeated."""
