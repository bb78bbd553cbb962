"""The store on SQLite: what it keeps, how many threads share one transaction, and what its files give away."""

import sqlite3
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.services.key_broker import Clock

from cloister.broker.secrets_key import FileKey, SecretUnreadable
from cloister.broker.secrets_rule import ReleaseRule, parse_rule
from cloister.broker.secrets_vault import UnknownSecret, Vault, check_name
from cloister.broker.store import MIGRATIONS, Store, open_database
from cloister.broker.store_database import DatabaseUnavailable
from cloister.broker.store_sqlite import SqliteDatabase
from cloister.errors import Denied, ParseError, UsageError
from cloister.model import Tee

RULE = ReleaseRule(measurements={Tee.SNP: frozenset({"ab" * 48})})
NAME = "app/keys/db"
LATER = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    made = Store(open_database(str(tmp_path / "broker.db")), clock)
    yield made
    made.close()


@pytest.fixture
def vault(store: Store, tmp_path: Path, clock: Clock) -> Vault:
    return Vault(store, FileKey.open(tmp_path / "kek"), clock)


def test_the_file_is_its_owners_and_is_in_wal_mode(store: Store, tmp_path: Path) -> None:
    store.ping()
    assert stat.S_IMODE((tmp_path / "broker.db").stat().st_mode) == 0o600
    database = SqliteDatabase(tmp_path / "broker.db")
    assert database.read("PRAGMA journal_mode") == [("wal",)]
    assert database.read("PRAGMA foreign_keys") == [(1,)]
    assert database.read("PRAGMA synchronous") == [(2,)]
    with pytest.raises(DatabaseUnavailable, match="FOREIGN KEY"):
        database.write("INSERT INTO secret_versions (name, version, rule, created) VALUES ('none', 1, '', 0)")
    database.close()


def test_a_challenge_is_answered_once(store: Store) -> None:
    assert store.answer_of(b"t" * 32) is None
    assert store.accept(b"t" * 32, b"result", LATER)
    assert not store.accept(b"t" * 32, b"another", LATER)
    assert store.answer_of(b"t" * 32) == b"result"
    store.withdraw(b"t" * 32, LATER)
    assert store.answer_of(b"t" * 32) == b""
    store.withdraw(b"u" * 32, LATER)
    assert not store.accept(b"u" * 32, b"result", LATER)


def test_of_threads_and_connections_that_race_one_wins(tmp_path: Path, clock: Clock) -> None:
    stores = [Store(open_database(str(tmp_path / "broker.db")), clock) for _ in range(2)]
    with ThreadPoolExecutor(16) as pool:
        for number in range(50):
            ticket = number.to_bytes(32)
            won = list(pool.map(lambda at, ticket=ticket: stores[at % 2].accept(ticket, b"%d" % at, LATER), range(16)))
            assert won.count(True) == 1
    for one in stores:
        one.close()


def test_answers_are_forgotten_when_no_clock_accepts_them(store: Store, clock: Clock) -> None:
    store.accept(b"old" * 10, b"result", clock() + timedelta(minutes=5))
    clock.forward(minutes=6)
    store.accept(b"new" * 10, b"result", clock() + timedelta(minutes=5))
    assert store.answer_of(b"old" * 10) == b"result"
    clock.forward(minutes=2)
    store.accept(b"newer" * 10, b"result", clock() + timedelta(minutes=5))
    assert store.answer_of(b"old" * 10) is None


def test_migrations_are_applied_once_and_a_newer_schema_is_refused(tmp_path: Path, clock: Clock) -> None:
    for _ in range(2):
        Store(open_database(str(tmp_path / "broker.db")), clock).close()
    database = SqliteDatabase(tmp_path / "broker.db")
    assert database.migrate([*MIGRATIONS, ("CREATE TABLE later (x BIGINT)",)]) == len(MIGRATIONS) + 1
    with pytest.raises(UsageError, match="newer"):
        database.migrate(MIGRATIONS)
    database.close()


def test_a_migration_is_all_or_nothing(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "broker.db")
    with pytest.raises(DatabaseUnavailable):
        database.migrate([("CREATE TABLE one (x BIGINT)", "no SQL")])
    assert database.read("SELECT name FROM sqlite_master") == []
    database.close()


def test_a_database_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "broker.db").write_bytes(b"no database" * 100)
    with pytest.raises(UsageError, match="as a database"):
        open_database(str(tmp_path / "broker.db"))
    with pytest.raises(UsageError, match="--database"):
        open_database("mysql://somewhere/else")
    with pytest.raises(UsageError, match="no URL"):
        open_database("postgresql://a b:secret-password@[")


def test_versions_rotate_and_revoke(vault: Vault, store: Store) -> None:
    assert vault.put(NAME, b"one", RULE).version == 1
    assert vault.rotate(NAME, b"two").version == 2
    assert vault.open(vault.current(NAME)).reveal() == b"two"
    assert [one.version for one in vault.versions(NAME)] == [1, 2]
    assert [one.version for one in vault.revoke(NAME)] == [2, 1]
    assert vault.revoke(NAME) == []
    with pytest.raises(Denied, match="revoked"):
        vault.current(NAME)
    assert all(one.wrapped_key == one.ciphertext == b"" for one in store.versions(NAME))
    assert vault.put(NAME, b"three", RULE).version == 3


def test_many_who_put_at_once_each_get_a_version(vault: Vault) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda n: vault.put(NAME, b"%d" % n, RULE).version, range(4)))
    assert sorted(made) == [1, 2, 3, 4]


def test_what_cannot_be_stored(vault: Vault, clock: Clock) -> None:
    for name in ("", "a", "a/b", "a/b/c/d", "../a/b", "a/./b", "a/b/c d", "a/b/ä", "a//b", "a/b/" + "c" * 129):
        with pytest.raises(ParseError):
            check_name(name)
    for value in (b"", b"x" * 65_537):
        with pytest.raises(ParseError):
            vault.put(NAME, value, RULE)
    with pytest.raises(ParseError, match="past"):
        vault.put(NAME, b"x", RULE, expires=clock())
    with pytest.raises(UnknownSecret):
        vault.versions(NAME)


def test_a_value_under_another_key_does_not_open(vault: Vault, store: Store, clock: Clock) -> None:
    vault.put(NAME, b"value", RULE)
    with pytest.raises(SecretUnreadable):
        Vault(store, FileKey(bytes(32)), clock).rule_of(store.versions(NAME)[0])
    assert "ab" not in repr(FileKey(b"\xab" * 32))


def test_the_bytes_are_not_in_the_file(vault: Vault, tmp_path: Path) -> None:
    vault.put(NAME, b"planted-secret-0123456789", RULE)
    for file in tmp_path.iterdir():
        assert b"planted" not in file.read_bytes()
    with sqlite3.connect(tmp_path / "broker.db") as raw:
        assert raw.execute("SELECT count(*) FROM secret_versions").fetchone() == (1,)
    raw.close()


@pytest.mark.parametrize(
    "rule",
    [
        None, [], {}, {"measurements": []}, {"measurements": {"sgx": "ab"}}, {"measurements": {"sgx": []}},
        {"measurements": {"sgx": ["zz" * 32]}}, {"measurements": {"sgx": ["AB" * 32]}},
        {"measurements": {"tpm": ["ab" * 32]}},
        {"measurements": {"none": ["ab" * 32]}}, {"measurements": {}, "anchors": ["any"]},
        {"measurements": {}, "extra": 1},
        {"measurements": {"sgx": [1]}}, {"measurements": {"sgx": ["ab" * 32] * 2}}, {"anchors": ["hardware"]},
    ],
)  # fmt: skip
def test_rules_that_say_nothing_or_too_much_are_refused(rule: object) -> None:
    with pytest.raises(ParseError):
        parse_rule(rule)


def test_a_rule_has_one_text() -> None:
    digests = ["ab" * 32, "cd" * 32]
    one = parse_rule({"measurements": {"sgx": digests}, "anchors": ["software", "hardware"]})
    other = parse_rule({"anchors": ["hardware", "software"], "measurements": {"sgx": digests[::-1]}})
    assert one.text() == other.text()
    assert one.sha256 == other.sha256
