"""The key-encryption key is changed, from outside of the broker: `cloister secret rekey`.

It works on the database and has an audit log of its own, STATE/rekey/audit.log: a broker that runs holds its log open.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cloister.broker.audit import AuditLog
from cloister.broker.secrets_key import KeyEncryption
from cloister.broker.secrets_rekey import Rekeyed, Rekeying, settled
from cloister.broker.store import Store, open_database
from cloister.errors import UsageError
from cloister.serve.first_start import SHARED, State, setting_context
from cloister.serve.keys.choice import kek_of

__all__ = ["change_key"]

LOG: Final = "rekey"


def change_key(
    state: Path, database: str, *, old: tuple[str, ...], new: str, settle: Callable[[], object] = settled
) -> Rekeyed:
    """Put every key in the database under another key-encryption key; both are spelled as for `--kek`.

    `settle` waits for brokers that go on meanwhile.

    UsageError for what cannot be, Undecided if something does not answer or open: run it again then.
    """
    if not state.is_dir():
        raise UsageError(f"{state}: no such directory; --state is that of a broker")
    if not database and not (state / "broker.db").exists():
        raise UsageError(f"{state}: there is no database; give --database URL")
    keks: list[KeyEncryption] = [kek_of(one, state, make=False) for one in old]
    after = kek_of(new, state)
    log = State(state / LOG)
    opened = open_database(database or str(state / "broker.db"))
    try:
        store = Store(opened, _now)
        with AuditLog.open(log.directory / "audit.log", log.audit_key(), _now) as audit:
            settings = {name: setting_context(name) for name in SHARED}
            return Rekeying(opened, store, old=keks, new=after, settings=settings, record=audit.append).run(settle)
    finally:
        opened.close()


def _now() -> datetime:
    return datetime.now(UTC)
