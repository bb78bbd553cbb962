"""The key-encryption key is changed: all opens under the new one, nothing under the old, whatever comes between."""

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.services.key_broker import SECRET, Desk, desk, rule_for
from tests.services.postgres import Postgres, postgres
from tests.services.tpm import tpm
from tests.services.transit import key_service

from cloister.broker import secrets_rekey
from cloister.broker.audit import Grade, KeyChange, KeyEncryptionChanged, read_entries, verify_log
from cloister.broker.secrets_key import FileKey, SecretUnreadable
from cloister.broker.secrets_keyring import Keyring
from cloister.broker.secrets_rekey import TABLES, Rekeyed
from cloister.broker.secrets_rule import parse_rule
from cloister.broker.store import MIGRATIONS, open_database
from cloister.errors import Denied, Undecided, UsageError
from cloister.result.keys import read_signing_key
from cloister.serve.first_start import SHARED
from cloister.serve.keys.changing import change_key
from cloister.serve.keys.choice import kek_of

ROOT = Path(__file__).parents[2]
SESSION = """\
name: demo
version: "1"
services:
  - name: app
    command: "app $$CLOISTER::token$$"
    attestation:
      - tee: software
        measurement: "{measurement}"
        anchors: [software]
secrets:
  - {{ name: token, kind: ascii, generate: {{ size: 32 }} }}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as made:
        yield made


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.needs_program("psql", "setpriv"))])
def database(request: pytest.FixtureRequest) -> str:
    """A new database; empty text is SQLite in the state."""
    if request.param == "sqlite":
        return ""
    found: Postgres = request.getfixturevalue("server")
    with psycopg.connect(found.url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return found.url


def change(at: Desk, new: str, *old: str, settle: Callable[[], object] = lambda: None) -> Rekeyed:
    settings = at.service.settings
    return change_key(settings.state, settings.database, old=old or ("file",), new=new, settle=settle)


def works(at: Desk, name: str = "app/keys/db") -> None:
    at.attest()
    assert at.attester.open(at.resource(name).json()) == SECRET


def reopened(at: Desk, tmp_path: Path, *keks: str) -> None:
    """A broker started with these keys releases what was stored before."""
    found: dict[str, Any] = {"keks": lambda state: [kek_of(one, state) for one in keks]}
    with desk(tmp_path, at.attester, database=at.service.settings.database, **found) as again:
        assert not again.token, "the settings were made anew"
        again.token = at.token
        works(again)
        again.store_secret("app/keys/later")
        works(again, "app/keys/later")


def test_from_one_file_to_another(database: str, tmp_path: Path) -> None:
    new = f"file={tmp_path / 'kek2'}"
    with desk(tmp_path, database=database) as at:
        at.store_secret()
        at.store_secret("app/keys/gone")
        at.admin("POST", "secrets/app/keys/gone/revoke", json={})
        works(at)
    done = change(at, new)
    assert done.keys == 1 + len(SHARED), "one secret and the settings; what was revoked has no key"
    assert not done.resumed
    assert len(set(marks(database or str(tmp_path / "state" / "broker.db")))) == 1, "a setting was forgotten"
    reopened(at, tmp_path, new)
    with pytest.raises(SecretUnreadable, match="at hand is file"):
        reopened(at, tmp_path, "file")


def test_sessions_keep_their_values(database: str, tmp_path: Path) -> None:
    new = f"file={tmp_path / 'kek2'}"
    with desk(tmp_path, database=database) as at:
        text = SESSION.format(measurement=at.attester.measurement)
        made = at.admin("PUT", "sessions/demo", json={"session": text, "approvals": []})
        assert made.status_code in {200, 201}, made.text
        assert at.admin("POST", "sessions/demo", json={"rotate": ["token"]}).status_code == 200
        value = at.service.shelf.current("demo").values["token"].reveal()
    assert change(at, new).keys == 2 + len(SHARED)
    with desk(tmp_path, at.attester, database=database, keks=lambda state: [kek_of(new, state)]) as again:
        assert again.service.shelf.current("demo").values["token"].reveal() == value


def test_it_is_in_an_audit_log_of_its_own(tmp_path: Path) -> None:
    with desk(tmp_path) as at:
        at.store_secret()
        change(at, f"file={tmp_path / 'kek2'}")  # the broker runs, and has its own log open
    log = tmp_path / "state" / "rekey" / "audit.log"
    events = [entry.event for entry in read_entries(log)][1:]
    assert [type(one) for one in events] == [KeyEncryptionChanged] * 2
    begun, finished = (one for one in events if isinstance(one, KeyEncryptionChanged))
    assert (begun.change, finished.change) == (KeyChange.BEGUN, KeyChange.FINISHED)
    assert (begun.keys, finished.keys) == (0, 1 + len(SHARED))
    assert begun.before.startswith("file ")
    assert begun.before != begun.after
    assert verify_log(log, key=read_signing_key(log.with_name("audit.pem")).spki).grade in {
        Grade.INTACT, Grade.UNDECIDED,
    }  # fmt: skip


def test_a_broker_with_both_keys_goes_on(database: str, tmp_path: Path) -> None:
    """Before, meanwhile and afterwards. One with the old key alone is undecided about the rest, and denies nothing."""
    new = f"file={tmp_path / 'kek2'}"
    both: dict[str, Any] = {"keks": lambda state: [kek_of(one, state) for one in ("file", new)]}
    (tmp_path / "two").mkdir()
    with desk(tmp_path, database=database, **both) as at:
        at.store_secret()
        (tmp_path / "two" / "state").mkdir(mode=0o700)
        shutil.copy2(tmp_path / "state" / "kek", tmp_path / "two" / "state" / "kek")
        shared = at.service.settings.database or str(tmp_path / "state" / "broker.db")
        with desk(tmp_path / "two", at.attester, database=shared) as old:
            for one in (at, old):
                works(one)
            change(at, new)
            works(at)
            at.store_secret("app/keys/later")
            works(at, "app/keys/later")
            old.attest()
            assert old.resource().status_code == 503
            assert old.admin("PUT", "secrets/app/keys/x", json=put(at), token=at.token).status_code == 503
    reopened(at, tmp_path, new)


def marks(database: str) -> list[bytes]:
    """Under which database key each wrapped setting is, whatever it is called."""
    opened = open_database(database)
    rows = [bytes(row[0] or b"") for row in opened.read("SELECT value FROM settings")]  # type: ignore[arg-type]
    opened.close()
    found = [one[:12] for one in rows if one.startswith(b"ck1\0")]
    assert len(found) == len(SHARED)
    return found


def put(at: Desk) -> dict[str, object]:
    return {"value": "AAAA", "release": rule_for(at.attester)}


def test_into_a_key_service_its_next_version_and_out_again(tmp_path: Path) -> None:
    with desk(tmp_path) as at:
        at.store_secret()
    with key_service(tmp_path) as service:
        assert change(at, service.kek).after == f"kms {service.url}"
        service.rotate()
        again = change(at, service.kek, service.kek)
        assert again.before == again.after
        service.lowest = 2
        reopened(at, tmp_path, service.kek)
        service.fault = "503"
        with pytest.raises(Undecided, match="sealed"):
            change(at, "file", service.kek)
        service.fault = ""
        change(at, "file", service.kek)
        service.fault = "503"
        reopened(at, tmp_path, "file")


@pytest.mark.needs_program("swtpm", "tpm2_createprimary")
def test_into_a_tpm(tmp_path: Path) -> None:
    with desk(tmp_path) as at:
        at.store_secret()
    with tpm() as chip:
        assert change(at, chip.kek).after.startswith("tpm ")
        (tmp_path / "state" / "kek").unlink()
        reopened(at, tmp_path, chip.kek)


def test_what_cannot_be_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such directory"):
        change_key(tmp_path / "none", "", old=("file",), new="file=x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no database"):
        change_key(tmp_path / "empty", "", old=("file",), new="file=x")
    with desk(tmp_path) as at:
        at.store_secret()
    with pytest.raises(UsageError, match="there is no such key"):
        change(at, "file", f"file={tmp_path / 'none'}")
    FileKey.open(tmp_path / "stranger")
    with pytest.raises(SecretUnreadable, match="at hand is"):
        change(at, f"file={tmp_path / 'kek2'}", f"file={tmp_path / 'stranger'}")
    reopened(at, tmp_path, "file")


def test_an_unfinished_change_is_finished_before_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = f"file={tmp_path / 'kek2'}"
    with desk(tmp_path) as at:
        at.store_secret()
    with monkeypatch.context() as patched:
        patched.setattr(secrets_rekey.Rekeying, "_walk", interrupted)
        with pytest.raises(KeyboardInterrupt):
            change(at, new)
    with pytest.raises(UsageError, match="begun and not finished"):
        change(at, f"file={tmp_path / 'kek3'}")
    reopened(at, tmp_path, "file", new)
    assert change(at, new).resumed
    reopened(at, tmp_path, new)
    assert not change(at, "file", new).resumed


def test_a_change_that_was_overtaken_can_be_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It planned from a database key that is no longer in use, for another change was finished in between."""
    new = f"file={tmp_path / 'kek2'}"
    with desk(tmp_path) as at:
        at.store_secret()
    with monkeypatch.context() as patched:
        patched.setattr(secrets_rekey.Rekeying, "_use", interrupted)
        with pytest.raises(KeyboardInterrupt):
            change(at, new)
    with sqlite3.connect(tmp_path / "state" / "broker.db") as connection:
        plan = json.loads(connection.execute("SELECT value FROM settings WHERE name = 'rekeying'").fetchone()[0])
        stale = json.dumps([plan[0], "ab" * 8, plan[2]]).encode()
        connection.execute("UPDATE settings SET value = ? WHERE name = 'rekeying'", (stale,))
    connection.close()
    with pytest.raises(Undecided, match="run this again"):
        change(at, new)
    assert not change(at, new).resumed
    reopened(at, tmp_path, new)


def test_several_at_once(database: str, tmp_path: Path) -> None:
    """From the states of several replicas, to the same key: all end well, or say that they are to be run again."""
    new = f"file={tmp_path / 'kek2'}"
    with desk(tmp_path, database=database) as at:
        at.store_secret()
    url, states = database or str(tmp_path / "state" / "broker.db"), [tmp_path / f"replica{n}" for n in range(4)]
    for state in states:
        state.mkdir(mode=0o700)

    def run(state: Path) -> str:
        old = (f"file={tmp_path / 'state' / 'kek'}",)
        try:
            change_key(state, url, old=old, new=new, settle=lambda: None)
        except Undecided as error:
            return str(error)
        return "done"

    with ThreadPoolExecutor(len(states)) as pool:
        ended = set(pool.map(run, states))
    assert ended <= {"done", secrets_rekey.OVERTAKEN}
    assert run(states[0]) == "done"
    reopened(at, tmp_path, new)


def interrupted(*_: object) -> int:
    raise KeyboardInterrupt


def test_rows_that_do_not_open_are_named_and_do_not_hold_up_the_others(tmp_path: Path) -> None:
    new = f"file={tmp_path / 'kek2'}"
    with desk(tmp_path) as at:
        at.store_secret()
        at.store_secret("app/keys/tampered")
    with sqlite3.connect(tmp_path / "state" / "broker.db") as connection:
        connection.execute("UPDATE secret_versions SET rule = '{}' WHERE name LIKE '%tampered'")
    with pytest.raises(SecretUnreadable, match=r"1 keys do not open .*: app/keys/tampered 1;"):
        change(at, new)
    reopened(at, tmp_path, new)
    with desk(tmp_path, at.attester, keks=lambda state: [kek_of(new, state)]) as again:
        again.admin("POST", "secrets/app/keys/tampered/revoke", json={}, token=at.token)
    assert change(at, new).resumed


def test_a_database_from_before_there_were_keyrings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its keys stand directly under the key file: they open, and a change brings them under the new key."""
    with monkeypatch.context() as patched:
        patched.setattr("cloister.serve.service.open_keyring", lambda _store, keks: keks[0])
        with desk(tmp_path) as at:
            at.store_secret()
    before = sqlite3.connect(tmp_path / "state" / "broker.db")
    assert not before.execute("SELECT * FROM settings WHERE name LIKE 'database-key%'").fetchall()
    FileKey.open(tmp_path / "stranger")
    with pytest.raises(SecretUnreadable):
        reopened(at, tmp_path, f"file={tmp_path / 'stranger'}")
    assert not before.execute("SELECT * FROM settings WHERE name LIKE 'database-key%'").fetchall()
    before.close()
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "state", copy)
    new = f"file={tmp_path / 'kek2'}"
    assert change_key(copy, "", old=("file",), new=new, settle=lambda: None).keys == 1 + len(SHARED)
    reopened(at, tmp_path, "file")
    change(at, new)
    reopened(at, tmp_path, new)


def test_every_table_with_wrapped_keys_is_known() -> None:
    """A table that is added later must not be forgotten when keys are changed."""
    made = [one for step in MIGRATIONS for one in step if "wrapped" in one]
    names = {one.split()[2] for one in made}
    assert names == {table.name for table in TABLES}


def test_what_is_stored_meanwhile_is_under_the_new_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker asked for the key in use just before the change, and stores just after the rows were looked at."""
    new = f"file={tmp_path / 'kek2'}"
    both: dict[str, Any] = {"keks": lambda state: [kek_of(one, state) for one in ("file", new)]}
    with desk(tmp_path, **both) as at:
        at.store_secret()
        former = at.service.store.setting("database-key") or b""

        def store_late() -> None:
            with monkeypatch.context() as patched:
                patched.setattr(Keyring, "identifier", property(lambda _: former.decode()))
                at.service.vault.put("app/keys/late", SECRET, parse_rule(rule_for(at.attester)))

        change(at, new, settle=store_late)
    with desk(tmp_path, at.attester, keks=lambda state: [kek_of(new, state)]) as again:
        again.attest()
        assert again.attester.open(again.resource("app/keys/late").json()) == SECRET


def test_revoked_meanwhile_stays_revoked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = f"file={tmp_path / 'kek2'}"
    with desk(tmp_path) as at:
        at.store_secret()
        unwrap = Keyring.unwrap

        def revoking(ring: Keyring, wrapped: bytes, context: bytes) -> bytes:
            found = unwrap(ring, wrapped, context)
            if not context.startswith(b"setting"):
                at.service.vault.revoke("app/keys/db")
            return found

        with monkeypatch.context() as patched:
            patched.setattr(Keyring, "unwrap", revoking)
            assert change(at, new).keys == len(SHARED)
        with pytest.raises(Denied):
            at.service.vault.current("app/keys/db")
        rows = at.service.store.versions("app/keys/db")
        assert [one.wrapped_key for one in rows] == [b""]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_at_any_point_the_rest_is_done_by_the_next_run(database: str, tmp_path: Path) -> None:
    new = f"file={tmp_path / 'kek2'}"
    with desk(tmp_path, database=database) as at:
        rule = parse_rule(rule_for(at.attester))
        for number in range(60):
            at.service.vault.put(f"app/keys/n{number}", SECRET, rule)
        at.store_secret()
    words = [sys.executable, "-m", "tests.services.dying_rekey", str(tmp_path / "state"), database, new, "4"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    left = json.loads(done.stdout)
    assert sum(0 < one < 61 for one in left) == 3, "deaths between two rows"
    reopened(at, tmp_path, new)
    with desk(tmp_path, at.attester, database=database, keks=lambda state: [kek_of(new, state)]) as again:
        for number in range(60):
            assert again.service.vault.open(again.service.vault.current(f"app/keys/n{number}")).reveal() == SECRET
    log = tmp_path / "state" / "rekey" / "audit.log"
    events = [entry.event for entry in read_entries(log) if isinstance(entry.event, KeyEncryptionChanged)]
    assert [one.keys for one in events if one.change is KeyChange.FINISHED][-1] == 61 + len(SHARED)
    grade = verify_log(log, key=read_signing_key(log.with_name("audit.pem")).spki).grade
    assert grade in {Grade.INTACT, Grade.UNDECIDED, Grade.TORN}
