"""Who may read and update: every kind of entry against every kind of caller; and sessions stored without a creator."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.forge.results import NOW
from tests.forge.sessions import document as data
from tests.forge.sessions import session, text

from cloister.broker.secrets_key import FileKey, sealed
from cloister.broker.session.access import NOBODY, Caller, check_access
from cloister.broker.store import Store, StoredSession, open_database
from cloister.broker.store_sessions import SessionShelf, session_context
from cloister.errors import Denied, NotAttested, PolicyError

ME, OTHER = "aa" * 32, "bb" * 32
ADMINISTRATOR, MINE, BOTH = Caller(administrator=True), Caller(key=ME), Caller(administrator=True, key=ME)


def allowed(action: str, policy: dict[str, Any], creator: str, caller: Caller) -> bool:
    try:
        check_access(action, session(access_policy=policy), creator, caller)
    except NotAttested:
        return caller != NOBODY  # others are told that it is decided
    except Denied:
        return caller == NOBODY
    return True


@pytest.mark.parametrize("action", ["read", "update"])
@pytest.mark.parametrize(
    ("entry", "creator", "who"),
    [
        ("CREATOR", "", {ADMINISTRATOR, BOTH}), ("CREATOR", ME, {MINE, BOTH}), ("CREATOR", OTHER, set()),
        (ME, "", {MINE, BOTH}), (ME, OTHER, {MINE, BOTH}), (OTHER, "", set()), ("NONE", "", set()),
        ("NONE", ME, set()),
    ],
)  # fmt: skip
def test_who_may(action: str, entry: str, creator: str, who: set[Caller]) -> None:
    callers = (NOBODY, ADMINISTRATOR, MINE, BOTH)
    assert {one for one in callers if allowed(action, {action: [entry]}, creator, one)} == who


def test_anybody_is_anybody() -> None:
    assert all(allowed("read", {"read": ["ANY"]}, ME, one) for one in (NOBODY, ADMINISTRATOR, MINE, BOTH))


def test_a_first_session_takes_the_administrator() -> None:
    check_access("update", None, "", ADMINISTRATOR)
    check_access("update", None, "", BOTH)
    for caller in (NOBODY, MINE):
        with pytest.raises((NotAttested, Denied)):
            check_access("update", None, "", caller)


# ---- in the store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(open_database(str(tmp_path / "broker.db")), lambda: NOW)
    yield made
    made.close()


@pytest.fixture
def shelf(store: Store, tmp_path: Path) -> SessionShelf:
    return SessionShelf(store, FileKey.open(tmp_path / "kek"), lambda: NOW)


def document(**changes: Any) -> bytes:
    return text(data(**changes))


def test_a_session_from_before_there_were_creators_is_the_administrators(shelf: SessionShelf, store: Store) -> None:
    shelf.update("team/app", document(), (), BOTH)
    one = store.latest_session("team/app")
    assert one is not None
    _, stored = shelf._document(one)
    assert stored.pop("creator") == ME
    context, key = session_context(one.name, 2, one.sha256), bytes(32)
    older = StoredSession(
        name=one.name, number=2, sha256=one.sha256, created=NOW, revoked=None,
        wrapped_key=shelf._key.wrap(key, context), ciphertext=sealed(key, json.dumps(stored).encode(), context),
    )  # fmt: skip
    assert store.add_session(older)
    assert shelf.current("team/app").creator == ""
    shelf.check("team/app", "update", ADMINISTRATOR)
    with pytest.raises(Denied):
        shelf.check("team/app", "update", MINE)


def test_updating_checks_for_itself(shelf: SessionShelf) -> None:
    """Whoever calls may have checked a session that was replaced since."""
    for caller in (NOBODY, MINE):
        with pytest.raises((NotAttested, Denied)):
            shelf.update("team/app", document(), (), caller)
    held = shelf.update("team/app", document(), (), BOTH)
    with pytest.raises(Denied):
        shelf.update("team/app", document(predecessor=held.sha256), (), ADMINISTRATOR)
    with pytest.raises(Denied):
        shelf.rotate("team/app", ["token"], ADMINISTRATOR)
    with pytest.raises(PolicyError):
        shelf.rotate("team/app", ["pin"], MINE)
    assert shelf.rotate("team/app", ["token"], MINE).creator == ME


def test_a_new_value_is_another_one(shelf: SessionShelf) -> None:
    before = shelf.update("team/app", document(), (), ADMINISTRATOR)
    after = shelf.rotate("team/app", ["token"], ADMINISTRATOR)
    assert after.values["token"] != before.values["token"]
    assert after.values["unshared"] == before.values["unshared"]
    assert shelf.current("team/app").values["token"] == after.values["token"]
    assert (after.number, after.sha256) == (2, before.sha256)
