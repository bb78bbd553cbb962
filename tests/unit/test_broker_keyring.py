"""The database's own keys: made once, asked for once, told apart, and nothing instead of them."""

import contextlib
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.services.key_broker import Clock

from cloister.broker.secrets_key import FileKey, SecretUnreadable
from cloister.broker.secrets_keyring import IN_USE, Keyring, key_row, new_key
from cloister.broker.store import Store, open_database
from cloister.errors import Undecided

KEY, CONTEXT = bytes(32), b"context"


class Service:
    """A key-encryption key elsewhere, which may be away, or answer with another key."""

    identifier = "kms https://kms/v1/transit/keys/test"

    def __init__(self) -> None:
        self._key, self.away, self.lies, self.asked = FileKey(b"\x11" * 32), False, False, 0

    def wrap(self, key: bytes, context: bytes) -> bytes:
        self._ask()
        return self._key.wrap(key, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        self._ask()
        return b"\x22" * 32 if self.lies else self._key.unwrap(wrapped, context)

    def _ask(self) -> None:
        self.asked += 1
        if self.away:
            raise Undecided("the key service does not answer in time")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(open_database(str(tmp_path / "broker.db")), Clock())
    yield made
    made.close()


def settings(tmp_path: Path, statement: str, *values: object) -> None:
    database = open_database(str(tmp_path / "broker.db"))
    database.write(statement, values)  # type: ignore[arg-type]
    database.close()


def test_it_is_made_once_and_asked_for_once(store: Store) -> None:
    service = Service()
    one = Keyring(store, [service])
    wrapped = one.wrap(KEY, CONTEXT)
    asked = service.asked
    two = Keyring(store, [service])
    assert two.identifier == one.identifier
    for _ in range(10):
        assert one.unwrap(wrapped, CONTEXT) == two.unwrap(wrapped, CONTEXT) == KEY
    assert service.asked == asked + 1
    assert wrapped not in (store.setting(key_row(one.identifier)) or b"")


def test_what_is_known_needs_nobody_and_what_is_not_is_undecided(store: Store) -> None:
    service, now = Service(), [100.0]
    one = Keyring(store, [service])
    wrapped = one.wrap(KEY, CONTEXT)
    service.away = True
    assert one.unwrap(wrapped, CONTEXT) == KEY
    two, asked = Keyring(store, [service], clock=lambda: now[0]), service.asked
    for _ in range(5):
        with pytest.raises(Undecided, match="cannot be opened now") as refused:
            two.unwrap(wrapped, CONTEXT)
        assert refused.value.status == 503
    assert service.asked == asked + 1, "a service that is away is not asked again at once"
    service.away = False
    now[0] += 6
    assert two.unwrap(wrapped, CONTEXT) == KEY


def test_no_request_waits_for_a_service_that_hangs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop of a broker may be what asks: a moment, then undecided, until the answer is there."""
    service, hangs = Service(), threading.Event()
    wrapped = Keyring(store, [service]).wrap(KEY, CONTEXT)
    unwrap, asked = service.unwrap, service.asked

    def slow(key: bytes, context: bytes) -> bytes:
        hangs.wait(20)
        return unwrap(key, context)

    monkeypatch.setattr(service, "unwrap", slow)
    ring = Keyring(store, [service], patience=0.05)
    start = time.monotonic()
    for _ in range(3):
        with pytest.raises(Undecided, match="is being asked for"):
            ring.unwrap(wrapped, CONTEXT)
    assert time.monotonic() - start < 5
    hangs.set()
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with contextlib.suppress(Undecided):
            assert ring.unwrap(wrapped, CONTEXT) == KEY
            break
    assert service.asked == asked + 1


def test_of_replicas_that_start_together_one_key_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service()
    first, second = Keyring(store, [service]), Keyring(store, [service])
    setting = store.setting

    def late(name: str) -> bytes | None:
        """Between asking whether there is a key and making one, the other replica makes its own."""
        found = setting(name)
        if name == IN_USE and found is None:
            monkeypatch.undo()
            assert second.identifier
        return found

    monkeypatch.setattr(store, "setting", late)
    assert first.identifier == second.identifier
    assert second.unwrap(first.wrap(KEY, CONTEXT), CONTEXT) == KEY


def test_a_key_that_does_not_come_back_is_not_used(store: Store) -> None:
    service = Service()
    service.lies = True
    with pytest.raises(Undecided, match="does not give back"):
        Keyring(store, [service]).wrap(KEY, CONTEXT)
    assert store.setting(IN_USE) is None


def test_another_key_is_named_and_nothing_is_tried_instead(store: Store) -> None:
    wrapped = Keyring(store, [Service()]).wrap(KEY, CONTEXT)
    stranger = FileKey(bytes(32))
    with pytest.raises(SecretUnreadable, match=f"under kms https.*; at hand is {stranger.identifier}"):
        Keyring(store, [stranger], patience=None).unwrap(wrapped, CONTEXT)
    ring = Keyring(store, [stranger])
    for ask, data in ((ring.unwrap, wrapped), (ring.wrap, KEY)):
        with pytest.raises(SecretUnreadable) as refused:
            ask(data, CONTEXT)
        assert "kms" not in str(refused.value), "clients are told where the key is"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE settings SET value = 'xyz' WHERE name = 'database-key'",
        "UPDATE settings SET value = '00000000000000ff' WHERE name = 'database-key'",
        "DELETE FROM settings WHERE name LIKE 'database-key %'",
        "UPDATE settings SET value = x'00' WHERE name LIKE 'database-key %'",
        "UPDATE settings SET value = x'0a' WHERE name LIKE 'database-key %'",
        "UPDATE settings SET value = CAST(value || x'00' AS BLOB) WHERE name LIKE 'database-key %'",
        "UPDATE settings SET value = CAST(replace(value, 'file', 'tpm') AS BLOB) WHERE name LIKE 'database-key %'",
    ],
)
def test_whatever_is_changed_in_the_database_opens_nothing(store: Store, tmp_path: Path, statement: str) -> None:
    kek = FileKey(bytes(32))
    Keyring(store, [kek]).wrap(KEY, CONTEXT)
    settings(tmp_path, statement)
    with pytest.raises(SecretUnreadable):
        Keyring(store, [kek]).wrap(KEY, CONTEXT)


def test_a_database_key_cannot_take_the_place_of_another(store: Store, tmp_path: Path) -> None:
    """An old one, which somebody knows, is put where the one in use is: the name is bound into the wrapping."""
    kek = FileKey(bytes(32))
    ring = Keyring(store, [kek])
    old, wrapped = new_key(kek)
    store.set_once(key_row(old), wrapped)
    settings(tmp_path, "UPDATE settings SET value = ? WHERE name = ?", wrapped, key_row(ring.identifier))
    with pytest.raises(SecretUnreadable):
        ring.wrap(KEY, CONTEXT)


def test_it_does_not_travel(store: Store) -> None:
    ring = Keyring(store, [FileKey(b"\xab" * 32)])
    ring.wrap(KEY, CONTEXT)
    assert repr(ring).startswith("Keyring(file ")
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(ring)
