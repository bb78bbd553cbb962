"""The key-encryption key is changed: every wrapped key comes under a new database key, which the new one wraps.

    1. settings `database-key NEW`   a new database key, under the new key-encryption key
    2. settings `rekeying`           that this goes on, and to where: from here on a stop is picked up again
    3. settings `database-key`       NEW: whatever is stored from now on is under it
    4. each row that is under another: unwrapped, wrapped, and replaced if it is still what was read
    5. settings `rekeying`           away

Each step is one statement, and every wrapped key names its database key: stopped anywhere, each row is under the old or
the new one, and the next run does the rest. Brokers may go on meanwhile; those that have both key-encryption keys at
hand notice nothing. Secrets themselves are not encrypted again: whoever had the old key and an old copy of the database
has what was in it.
"""

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cloister.broker.audit import Event, KeyChange, KeyEncryptionChanged
from cloister.broker.secrets_key import KeyEncryption, SecretUnreadable
from cloister.broker.secrets_keyring import IN_USE, Keyring, key_row, marked, new_key, wrapping
from cloister.broker.secrets_vault import secret_context
from cloister.broker.store import Store
from cloister.broker.store_database import Database, Row, Value
from cloister.broker.store_sessions import session_context
from cloister.errors import Undecided, UsageError

__all__ = ["TABLES", "Rekeyed", "Rekeying", "settled"]

PROGRESS: Final = "rekeying"
PAGE: Final = 256
SETTLING_SECONDS: Final = 2.0
"""Until the last look: whoever asked for the key in use before it was changed has stored by then."""
OVERTAKEN: Final = "another change of the key-encryption key came in between; run this again"
NAMED: Final = 5
"""How many rows that do not open are named in an error."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose `wrapped_key` is rewritten: its key, a text and a number, and what the wrapping is bound to."""

    name: str
    first: str
    second: str
    bound: tuple[str, ...]
    context: Callable[[Row], bytes]

    def page(self) -> str:
        """The rows behind some row that are under another key than some."""
        columns = ", ".join((self.first, self.second, "wrapped_key", *self.bound))
        return (
            f"SELECT {columns} FROM {self.name} WHERE ({self.first}, {self.second}) > (?, ?)"  # noqa: S608 - constants
            f" AND revoked IS NULL AND substr(wrapped_key, 1, ?) <> ? ORDER BY {self.first}, {self.second} LIMIT ?"
        )

    def replace(self) -> str:
        """One wrapped key, if it is still what was read: never one that was revoked meanwhile."""
        return (
            f"UPDATE {self.name} SET wrapped_key = ? WHERE {self.first} = ? AND {self.second} = ?"  # noqa: S608
            " AND wrapped_key = ?"
        )

    def count(self) -> str:
        """How many are under some key."""
        return f"SELECT count(*) FROM {self.name} WHERE substr(wrapped_key, 1, ?) = ?"  # noqa: S608 - constants


def _of_secret(row: Row) -> bytes:
    name, version, _, rule, expires = row
    until = datetime.fromtimestamp(expires, UTC) if isinstance(expires, int) else None
    return secret_context(str(name), int(version or 0), str(rule), until)


def _of_session(row: Row) -> bytes:
    name, number, _, sha256 = row
    return session_context(str(name), int(number or 0), str(sha256))


TABLES: Final = (
    Table("secret_versions", "name", "version", ("rule", "expires"), _of_secret),
    Table("sessions", "name", "number", ("sha256",), _of_session),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rekeyed:
    """What it came to. `keys` are under the new key-encryption key now; `resumed`: an earlier run had begun it."""

    before: str
    after: str
    keys: int
    resumed: bool


def settled() -> None:
    """Wait until others have stored what they were about to."""
    time.sleep(SETTLING_SECONDS)


@dataclass(frozen=True, slots=True)
class Plan:
    """From which key-encryption key; which database key was in use, empty if none; which is to be."""

    before: str
    former: str
    name: str

    def text(self) -> bytes:
        """As it is stored."""
        return json.dumps([self.before, self.former, self.name]).encode()


class Rekeying:
    """One change of the key-encryption key. `settings` are wrapped settings with what each is bound to.

    `record` writes an event to an audit log, durably. Brokers and other such changes may run at the same time.
    """

    def __init__(
        self, database: Database, store: Store, *, old: Sequence[KeyEncryption], new: KeyEncryption,
        settings: Mapping[str, bytes], record: Callable[[Event], object],
    ) -> None:  # fmt: skip
        self._database, self._store, self._new, self._settings = database, store, new, settings
        self._ring = Keyring(store, (*old, new), patience=None)
        self._old, self._record, self._request = old, record, f"rekey-{secrets.token_hex(8)}"

    def run(self, settle: Callable[[], object] = settled) -> Rekeyed:
        """Begin it, or go on with it, to the end.

        UsageError if another one is unfinished or there is nothing to change. SecretUnreadable if the old key is the
        wrong one, or rows do not open: those that do are done. Undecided if a key cannot be asked now.
        """
        known = self._store.setting(PROGRESS)
        plan = self._plan(self._begin() if known is None else known)
        before, name = plan.before, plan.name
        self._ring.open(name)
        self._tell(KeyChange.BEGUN, before, name)
        self._use(plan)
        self._walk(name)
        settle()
        while self._walk(name):
            pass
        keys = self._tell(KeyChange.FINISHED, before, name)
        self._done(plan)
        return Rekeyed(before=before, after=self._new.identifier, keys=keys, resumed=known is not None)

    def _begin(self) -> bytes:
        """What is planned, as it is stored. Nothing is written before the old key was seen to open something."""
        found = self._store.setting(IN_USE)
        if found is None and not any(map(self._store.setting, self._settings)):
            raise UsageError("this database has no key yet: `cloister serve --kek` makes it under the one you want")
        for setting, context in self._settings.items():
            value = self._store.setting(setting)
            if value is not None:
                self._ring.unwrap(value, context)
        before = self._old[0].identifier
        if found is not None:
            before, _ = wrapping(self._store.setting(key_row(self._ring.identifier)) or b"")
        name, wrapped = new_key(self._new)
        self._store.set_once(key_row(name), wrapped)
        plan = Plan(before, (found or b"").decode("ascii", "replace"), name)
        return self._store.set_once(PROGRESS, plan.text())

    def _plan(self, known: bytes) -> Plan:
        """What was begun. UsageError if it leads to another key-encryption key than this."""
        try:
            plan = Plan(*map(str, json.loads(known)))
            holder, _ = wrapping(self._store.setting(key_row(plan.name)) or b"")
        except (ValueError, TypeError, SecretUnreadable):
            raise SecretUnreadable("what the database says of a change that was begun was changed itself") from None
        if holder != self._new.identifier:
            raise UsageError(f"a change from {plan.before} to {holder} was begun and not finished: finish that first")
        return plan

    def _use(self, plan: Plan) -> None:
        """What is stored from now on is under the new key. Undecided, and the plan is off, if another was quicker."""
        self._store.set_once(IN_USE, plan.name.encode())
        statement = "UPDATE settings SET value = ? WHERE name = ? AND value = ?"
        self._database.write(statement, (plan.name.encode(), IN_USE, plan.former.encode()))
        if self._ring.identifier != plan.name:
            self._done(plan)
            raise Undecided(OVERTAKEN)

    def _done(self, plan: Plan) -> None:
        self._database.write("DELETE FROM settings WHERE name = ? AND value = ?", (PROGRESS, plan.text()))

    def _walk(self, name: str) -> int:
        """Rewrap whatever is under another key; how many that were. SecretUnreadable at the end for those that fail."""
        if self._ring.identifier != name:
            raise Undecided(OVERTAKEN)
        changed, failed = 0, list[str]()
        for described, statement, old, context, where in self._others(marked(name)):
            try:
                wrapped = self._ring.wrap(self._ring.unwrap(old, context), context)
            except SecretUnreadable:
                failed.append(described)
            else:
                changed += self._database.write(statement, (wrapped, *where, old))
        if failed:
            more = f" and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
            raise SecretUnreadable(
                f"{len(failed)} keys do not open under the old key: {', '.join(failed[:NAMED])}{more}; the others are"
                " under the new one. Give every old key, or revoke these, and run this again"
            )
        return changed

    def _others(self, mark: bytes) -> Iterator[tuple[str, str, bytes, bytes, tuple[Value, ...]]]:
        """Each wrapped key that is not under this one: what it is, how it is replaced, itself, its context, where."""
        for setting, context in self._settings.items():
            value = self._store.setting(setting)
            if value is not None and not value.startswith(mark):
                yield setting, "UPDATE settings SET value = ? WHERE name = ? AND value = ?", value, context, (setting,)
        for table in TABLES:
            last: tuple[Value, ...] = ("", 0)
            while rows := self._database.read(table.page(), (*last, len(mark), mark, PAGE)):
                for row in rows:
                    last, old = row[:2], row[2]
                    if isinstance(old, bytes | memoryview):
                        yield f"{last[0]!s} {last[1]!s}", table.replace(), bytes(old), table.context(row), last

    def _tell(self, change: KeyChange, before: str, name: str) -> int:
        """An entry in the audit log; how many keys are under the new one."""
        mark = marked(name)
        rows = [self._database.read(table.count(), (len(mark), mark))[0][0] for table in TABLES]
        keys = sum(int(one or 0) for one in rows)
        keys += sum((self._store.setting(one) or b"").startswith(mark) for one in self._settings)
        after = self._new.identifier
        self._record(KeyEncryptionChanged(request=self._request, change=change, before=before, after=after, keys=keys))
        return keys
