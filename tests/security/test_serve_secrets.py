"""The administrator's token, and secrets in clear: what an attacker with messages, the disk or the logs can learn."""

import base64
import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest
from tests.services.key_broker import SECRET, Desk, desk, rule_for

from cloister.broker.audit import Released, ReleaseUnattested
from cloister.broker.secrets_key import FileKey, SecretUnreadable
from cloister.broker.secrets_vault import Vault
from cloister.errors import UsageError

NAME = "app/keys/db"


@pytest.fixture
def at_desk(tmp_path: Path) -> Iterator[Desk]:
    with desk(tmp_path) as made:
        made.store_secret()
        yield made


# ---- the administrator


@pytest.mark.parametrize("token", ["x", "A" * 43, "A" * 5000])
def test_a_wrong_administrators_token_changes_nothing(at_desk: Desk, token: str) -> None:
    for method, path in (
        ("GET", "secrets"), ("PUT", f"secrets/{NAME}"), ("POST", f"secrets/{NAME}/revoke"),
        ("POST", f"secrets/{NAME}/rotate"), ("GET", "log/checkpoint"),
    ):  # fmt: skip
        assert at_desk.admin(method, path, token=token).status_code == 401
    assert len(at_desk.admin("GET", "secrets").json()["secrets"]) == 1


def test_the_token_is_nowhere_in_clear_and_compared_by_its_hash(at_desk: Desk) -> None:
    state = at_desk.service.settings.state
    at_desk.admin("GET", "secrets", token=at_desk.token[:-1] + "x")
    assert all(at_desk.token.encode() not in file.read_bytes() for file in state.iterdir())
    assert at_desk.token not in at_desk.log.getvalue()
    assert "Basic" not in at_desk.admin("GET", "secrets").text
    scheme = at_desk.client.get("/admin/v1/secrets", headers={"authorization": f"Basic {at_desk.token}"})
    assert scheme.status_code == 401


def test_comparing_tokens_takes_as_long_for_a_near_miss(at_desk: Desk) -> None:
    """Both are hashed first, so how much of the token is right cannot show; the medians here are a coarse check."""
    near, far = at_desk.token[:-1] + "_", "_" * 43
    times: dict[str, list[float]] = {near: [], far: []}
    for _ in range(60):  # in turns, so that whatever else the machine does slows both
        for token, taken in times.items():
            begun = time.perf_counter()
            assert at_desk.admin("GET", "log/checkpoint", token=token).status_code == 401
            taken.append(time.perf_counter() - begun)
    assert 1 / 3 < median(times[near]) / median(times[far]) < 3


# ---- secrets in clear


def test_no_secret_is_in_the_database_or_the_logs(at_desk: Desk) -> None:
    planted = b"planted-secret-0123456789abcdef"
    at_desk.store_secret("app/keys/planted", planted)
    at_desk.attest()
    assert at_desk.attester.open(at_desk.resource("app/keys/planted").json()) == planted
    bad = {"value": planted.decode(), "release": rule_for(at_desk.attester), "surplus": planted.decode()}
    refused = at_desk.admin("PUT", "secrets/app/keys/planted", json=bad)
    assert refused.status_code == 400
    broken = at_desk.admin("PUT", "secrets/app/keys/planted", content=b'{"value": "' + planted)
    answers = refused.content + broken.content + at_desk.admin("GET", "secrets").content
    state = at_desk.service.settings.state
    everything = b"".join(file.read_bytes() for file in state.iterdir()) + at_desk.log.getvalue().encode() + answers
    for form in (planted, base64.b64encode(planted), planted.hex().encode(), base64.b64encode(planted)[2:-4]):
        assert form not in everything


def test_a_crash_says_where_and_not_what(at_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise RuntimeError("planted-secret in an exception")

    monkeypatch.setattr(at_desk.service.vault, "versions", crash)
    found = at_desk.admin("GET", "secrets")
    assert found.status_code == 500
    assert "planted" not in found.text + at_desk.log.getvalue()
    assert "RuntimeError" in at_desk.log.getvalue()


# ---- the database in an attacker's hands


def changed(at: Desk, statement: str) -> None:
    """What somebody who may write to the database's file does."""
    with contextlib.closing(sqlite3.connect(at.service.settings.state / "broker.db")) as database, database:
        assert database.execute(statement).rowcount > 0


@pytest.mark.parametrize(
    "statement",
    [
        'UPDATE secret_versions SET rule = \'{"anchors":["software"],"measurements":{}}\'',
        "UPDATE secret_versions SET rule = replace(rule, 'hardware', 'software')",
        "UPDATE secret_versions SET rule = 'no rule'",
        "UPDATE secret_versions SET expires = 99999999999",
        "UPDATE secret_versions SET ciphertext = x'00'",
        "UPDATE secret_versions SET wrapped_key = (SELECT wrapped_key FROM secret_versions WHERE name LIKE '%other')",
        "UPDATE secret_versions SET version = 3 WHERE name LIKE '%db' AND version = 2",
        "UPDATE answered SET result = replace(result, 'a', 'b')",
    ],
)
def test_what_is_changed_in_the_database_is_not_released(at_desk: Desk, statement: str) -> None:
    hardware = rule_for(at_desk.attester, anchors=["hardware"])
    at_desk.store_secret("app/keys/other", **hardware)
    at_desk.store_secret("app/keys/db", **hardware)
    at_desk.attest()
    assert at_desk.resource().status_code == 403
    changed(at_desk, statement)
    assert at_desk.resource().status_code in {401, 403, 503}
    assert not any(isinstance(entry.event, Released) for entry in at_desk.service.audit.entries())


def test_a_database_without_its_key_is_of_no_use(at_desk: Desk) -> None:
    state = at_desk.service.settings.state
    one = at_desk.service.vault.current("app/keys/db")
    assert at_desk.service.vault.open(one).reveal() == SECRET
    (state / "kek").write_text("00" * 32 + "\n")
    stranger = Vault(at_desk.service.store, FileKey.open(state / "kek"), at_desk.clock)
    with pytest.raises(SecretUnreadable):
        stranger.open(one)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    FileKey.open(tmp_path / "kek")
    (tmp_path / "kek").chmod(0o640)
    with pytest.raises(UsageError, match="others can read"):
        FileKey.open(tmp_path / "kek")


def test_without_a_log_nothing_is_released(at_desk: Desk) -> None:
    """The log's file is taken away under the broker: nobody could tell afterwards who got what."""
    at_desk.attest()
    assert at_desk.resource().status_code == 200
    (at_desk.service.settings.state / "audit.log").unlink()
    refused = at_desk.resource()
    assert refused.status_code == 503
    assert "ciphertext" not in refused.text
    assert at_desk.resource().status_code == 503


def test_strangers_cannot_fill_the_audit_log(at_desk: Desk) -> None:
    def unattested() -> int:
        return sum(isinstance(entry.event, ReleaseUnattested) for entry in at_desk.service.audit.entries())

    for _ in range(80):
        assert at_desk.resource(authorization="Bearer eyJ").status_code == 401
    assert unattested() == 60
    at_desk.clock.forward(minutes=1)
    at_desk.resource(authorization="Bearer eyJ")
    assert unattested() == 61
