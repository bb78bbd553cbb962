"""The newest root of each volume that a session's programs report, in the store. It only ever moves on."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cloister.broker.store_database import Database, Value
from cloister.shield_policy.policy import Root

__all__ = ["RootTable", "StoredRoot"]

WHICH: Final = "session = ? AND name = ? AND volume_key = ?"
SELECT: Final = f"SELECT start, generation, digest FROM roots WHERE {WHICH}"  # noqa: S608 - a constant
INSERT: Final = (
    "INSERT INTO roots (session, name, volume_key, start, generation, digest, reported) VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (session, name, volume_key) DO NOTHING"
)
UPDATE: Final = (
    f"UPDATE roots SET start = ?, generation = ?, digest = ?, reported = ? WHERE {WHICH}"  # noqa: S608 - a constant
    " AND start = ? AND generation = ?"
)


@dataclass(frozen=True, slots=True)
class StoredRoot:
    """The newest root, and the start that reported it: START.BASE (root_report.py)."""

    start: str
    root: Root


class RootTable:
    """The table `roots`. A volume is a session's name for it, and what tells its key from others."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database, self._clock = database, clock

    def find(self, session: str, name: str, volume_key: bytes) -> StoredRoot | None:
        """The newest root; None if none was reported yet."""
        rows = self._database.read(SELECT, (session, name, volume_key))
        if not rows:
            return None
        start, generation, digest = rows[0]
        return StoredRoot(str(start), Root(int(generation or 0), bytes(digest or b"")))  # type: ignore[arg-type] # a BLOB

    def replace(self, session: str, name: str, volume_key: bytes, old: StoredRoot | None, new: StoredRoot) -> bool:
        """Put a root in place of the one that was found. False if another came first: nothing was changed then."""
        which: tuple[Value, ...] = (session, name, volume_key)
        what: tuple[Value, ...] = (new.start, new.root.generation, new.root.digest, int(self._clock().timestamp()))
        if old is None:
            return self._database.write(INSERT, (*which, *what)) == 1
        return self._database.write(UPDATE, (*what, *which, old.start, old.root.generation)) == 1
