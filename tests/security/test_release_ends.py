"""Revoked, replaced, rotated, expired: from that moment on, whoever is attested already gets what is so now."""

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.services.key_broker import Desk, X25519Key, desk, rule_for, software_attester
from tests.services.start_block import read_again

from cloister.broker.audit import Change, Released, SecretChanged
from cloister.broker.session.canonical import session_hash
from cloister.broker.session.read import parse_session

NAME = "team/shop"
SALT = "00112233445566778899aabbccddeeff"


def session(at: Desk, *, name: str = NAME, predecessor: str = "", measurement: str = "", secrets: str = "") -> str:
    before = f'predecessor: "{predecessor}"\n' if predecessor else ""
    made = "  - { name: made, kind: ascii, generate: {} }\n"
    return f"""\
name: {name}
version: "1"
salt: "{SALT}"
{before}services:
  - name: web
    environment: {{ MADE: "$$SCONE::made$$", OTHER: "$$SCONE::other$$", GIVEN: "$$SCONE::given$$" }}
    attestation:
      - {{ tee: software, measurement: "{measurement or at.attester.measurement}", anchors: [software] }}
secrets:
  - {{ name: given, kind: ascii, value: "given-value" }}
  - {{ name: other, kind: ascii, generate: {{}} }}
{secrets or made}"""


def identity(text: str) -> str:
    return session_hash(parse_session(text.encode(), "x"))


@dataclass
class Program:
    """A program that attested once, and goes on asking."""

    at: Desk
    token: str

    def asks(self, name: str = NAME, at: Desk | None = None) -> httpx.Response:
        path = f"/cloister/v1/provision/-/{name}?format=block"
        return (at or self.at).client.get(path, headers={"authorization": f"Bearer {self.token}"})

    def gets(self, name: str = NAME, at: Desk | None = None) -> dict[bytes, bytes]:
        found = self.asks(name, at)
        assert found.status_code == 200, found.text
        made: dict[bytes, bytes] = read_again(self.at.attester.open(found.json()))["environment"]
        return made


@pytest.fixture
def at_desk(tmp_path: Path) -> Iterator[Desk]:
    (tmp_path / "one").mkdir()
    with desk(tmp_path / "one", software_attester(X25519Key())) as made:
        yield made


@pytest.fixture
def program(at_desk: Desk) -> Program:
    put(at_desk, session(at_desk))
    made = Program(at_desk, at_desk.attest().json()["token"])
    assert made.gets()[b"GIVEN"] == b"given-value"
    return made


def put(at: Desk, text: str, name: str = NAME) -> None:
    found = at.admin("PUT", f"sessions/{name}", json={"session": text})
    assert found.status_code == 201, found.text


def rotate(at: Desk, *secrets: str, name: str = NAME) -> httpx.Response:
    return at.admin("POST", f"sessions/{name}", json={"rotate": list(secrets)})


@contextlib.contextmanager
def replica(at: Desk, directory: Path) -> Iterator[Desk]:
    """A second server on the same database."""
    (directory / "two" / "state").mkdir(parents=True, mode=0o700)
    shutil.copy2(at.service.settings.state / "kek", directory / "two" / "state" / "kek")
    database = str(at.service.settings.state / "broker.db")
    with desk(directory / "two", at.attester, database=database, clock=at.clock) as made:
        yield made


# ---- the end


def test_a_revoked_session_ends_at_once_and_at_every_replica(at_desk: Desk, program: Program, tmp_path: Path) -> None:
    with replica(at_desk, tmp_path) as other:
        assert program.gets(at=other)[b"GIVEN"] == b"given-value"
        assert at_desk.admin("DELETE", f"sessions/{NAME}").status_code == 200
        for at in (at_desk, other):
            refused = program.asks(at=at)
            assert refused.status_code == 403
            assert "revoked" in refused.json()["detail"]
    with sqlite3.connect(at_desk.service.settings.state / "broker.db") as database:
        left = database.execute("SELECT wrapped_key, ciphertext FROM sessions").fetchall()
    assert left == [(None, None)]


def test_who_is_no_longer_named_gets_nothing_at_once(at_desk: Desk, program: Program) -> None:
    put(at_desk, session(at_desk, predecessor=identity(session(at_desk)), measurement="ab" * 32))
    assert program.asks().status_code == 403


def test_a_revoked_exporter_ends_its_importers(at_desk: Desk, program: Program) -> None:
    exported = (
        f'name: keys\nversion: "1"\nsalt: "{SALT}"\nsecrets:\n'
        f"  - {{ name: shared, kind: ascii, generate: {{}}, export: [{{ session: team/importer }}] }}\n"
    )
    put(at_desk, exported, "keys")
    imported = "  - { name: made, kind: ascii, import: { session: keys, secret: shared } }\n"
    put(at_desk, session(at_desk, name="team/importer", secrets=imported), "team/importer")
    before = program.gets("team/importer")[b"MADE"]
    assert rotate(at_desk, "shared", name="keys").status_code == 200
    assert program.gets("team/importer")[b"MADE"] != before
    assert at_desk.admin("DELETE", "sessions/keys").status_code == 200
    assert program.asks("team/importer").status_code == 403
    assert program.asks().status_code == 200


def test_a_result_expires(at_desk: Desk, program: Program) -> None:
    at_desk.clock.forward(minutes=5)
    assert program.asks().status_code == 401
    again = Program(at_desk, at_desk.attest().json()["token"])
    assert again.gets()[b"GIVEN"] == b"given-value"


def test_a_revoked_or_expired_secret_is_not_released_any_more(at_desk: Desk) -> None:
    rule = rule_for(at_desk.attester)
    expires = (at_desk.clock() + timedelta(seconds=90)).isoformat()
    body: dict[str, Any] = {"value": "c2VjcmV0", "release": rule}
    assert at_desk.admin("PUT", "secrets/app/keys/a", json=body | {"expires": expires}).status_code == 201
    assert at_desk.admin("PUT", "secrets/app/keys/b", json=body).status_code == 201
    at_desk.attest()
    assert [at_desk.resource(f"app/keys/{one}").status_code for one in "ab"] == [200, 200]
    assert at_desk.admin("POST", "secrets/app/keys/b/revoke", json={}).status_code == 200
    assert [at_desk.resource(f"app/keys/{one}").status_code for one in "ab"] == [200, 403]
    at_desk.clock.forward(seconds=89)
    assert at_desk.resource("app/keys/a").status_code == 200
    at_desk.clock.forward(seconds=1)
    assert at_desk.resource("app/keys/a").status_code == 403
    assert at_desk.admin("POST", "secrets/app/keys/a/rotate", json={"value": "c2VjcmV0"}).status_code == 400


# ---- a new value


def test_a_running_program_that_asks_again_gets_the_new_value(at_desk: Desk, program: Program, tmp_path: Path) -> None:
    before = program.gets()
    with replica(at_desk, tmp_path) as other:
        rotated = rotate(at_desk, "made")
        assert rotated.status_code == 200, rotated.text
        after = program.gets()
        assert after == program.gets(at=other)
    assert after[b"MADE"] != before[b"MADE"]
    assert after | {b"MADE": b""} == before | {b"MADE": b""}
    assert rotated.json()["sha256"] == identity(session(at_desk))
    assert rotated.json()["number"] == 2
    assert after[b"MADE"].decode() not in rotated.text


def test_an_update_keeps_a_rotated_value(at_desk: Desk, program: Program) -> None:
    rotate(at_desk, "made")
    before = program.gets()
    put(at_desk, session(at_desk, predecessor=identity(session(at_desk))))
    assert program.gets() == before


def test_what_is_released_and_rotated_is_in_the_log_by_version(at_desk: Desk, program: Program) -> None:
    rotate(at_desk, "made", "other")
    program.gets()
    events = [entry.event for entry in at_desk.service.audit.entries()]
    rotated = [one for one in events if isinstance(one, SecretChanged)]
    assert [(one.secret.name, one.secret.version, one.change) for one in rotated] == [
        ("made", 2, Change.UPDATED), ("other", 2, Change.UPDATED),
    ]  # fmt: skip
    versions = [{one.version for one in event.secrets} for event in events if isinstance(event, Released)]
    assert versions == [{1}, {2}]


@pytest.mark.parametrize(
    "body", [{"rotate": ["given"]}, {"rotate": ["none"]}, {"rotate": []}, {"rotate": ["made", "made"]}, {"rotate": [1]},
             {"rotate": "made"}, {}, {"rotate": ["made"], "more": 1}, [], {"rotate": ["made"] * 65}]
)  # fmt: skip
def test_only_what_the_broker_makes_is_rotated(at_desk: Desk, program: Program, body: Any) -> None:
    before = program.gets()
    refused = at_desk.admin("POST", f"sessions/{NAME}", json=body)
    assert refused.status_code == 400
    assert "given-value" not in refused.text
    assert program.gets() == before


def test_a_revoked_session_has_nothing_to_rotate(at_desk: Desk, program: Program) -> None:
    at_desk.admin("DELETE", f"sessions/{NAME}")
    assert rotate(at_desk, "made").status_code == 403
    assert rotate(at_desk, "made", name="team/none").status_code == 404
    assert json.loads(program.asks().text)["status"] == 403
