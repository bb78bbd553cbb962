"""Replicas on a real PostgreSQL: the same flow, one winner for each nonce, 503 while the database is away."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg
import pytest
from tests.services.key_broker import SECRET, Desk, desk
from tests.services.postgres import Postgres, postgres

from cloister.broker.secrets_key import SecretUnreadable

pytestmark = [pytest.mark.needs_program("psql", "setpriv"), pytest.mark.slow]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as made:
        yield made


@pytest.fixture
def fresh(server: Postgres) -> Postgres:
    """The server, with nothing in the database."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return server


@pytest.fixture
def replicas(fresh: Postgres, tmp_path: Path) -> Iterator[tuple[Desk, Desk]]:
    """Two services on one database; the second has a copy of the first one's key-encryption key."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with desk(tmp_path / "one", database=fresh.url) as one:
        (tmp_path / "two" / "state").mkdir(mode=0o700)
        shutil.copy2(tmp_path / "one" / "state" / "kek", tmp_path / "two" / "state" / "kek")
        with desk(tmp_path / "two", one.attester, database=fresh.url) as two:
            yield one, two


def test_a_flow_over_two_replicas(replicas: tuple[Desk, Desk]) -> None:
    one, two = replicas
    assert one.token
    assert not two.token
    one.store_secret()
    nonce = one.auth().json()["nonce"]
    two.client.cookies = one.client.cookies
    attested = two.client.post("/kbs/v0/attest", json=one.attester.answer(nonce))
    assert attested.status_code == 200, attested.text
    for at in (one, two):
        assert one.attester.open(at.resource().json()) == SECRET
    assert two.admin("POST", "secrets/app/keys/db/revoke", json={}, token=one.token).status_code == 200
    assert one.resource().status_code == 403


def test_replicas_that_race_for_one_nonce_have_one_winner(replicas: tuple[Desk, Desk]) -> None:
    one, two = replicas
    for _ in range(10):
        message = one.attester.answer(one.auth().json()["nonce"])
        cookies = dict(one.client.cookies)

        def send(at: Desk, message: object = message, cookies: dict[str, str] = cookies) -> int:
            with httpx.Client(base_url=at.client.base_url, cookies=cookies) as client:
                return client.post("/kbs/v0/attest", json=message).status_code

        with ThreadPoolExecutor(8) as pool:
            codes = list(pool.map(send, [one, two] * 4))
        assert sorted(codes) == [200] + [401] * 7


def test_without_the_same_key_a_replica_does_not_start(fresh: Postgres, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with (
        desk(tmp_path / "one", database=fresh.url),
        pytest.raises(SecretUnreadable),
        desk(tmp_path / "two", database=fresh.url),
    ):
        pass


def test_a_database_that_is_away_is_503_and_comes_back(replicas: tuple[Desk, Desk], server: Postgres) -> None:
    one, _ = replicas
    one.store_secret()
    one.attest()
    assert one.resource().status_code == 200
    server.stop()
    try:
        away = one.resource()
        assert away.status_code == 503
        assert away.headers["retry-after"]
        assert one.client.get("/healthz").status_code == 503
        nonce = one.auth().json()["nonce"]
        message = one.attester.answer(nonce)
        assert one.client.post("/kbs/v0/attest", json=message).status_code == 503
        assert one.admin("GET", "secrets").status_code == 503
    finally:
        server.start()
    assert one.client.get("/healthz").status_code == 200
    assert one.client.post("/kbs/v0/attest", json=message).status_code == 200
    assert one.attester.open(one.resource().json()) == SECRET


def test_no_secret_in_clear_in_the_database(replicas: tuple[Desk, Desk], server: Postgres) -> None:
    one, _ = replicas
    one.store_secret("app/keys/planted", b"planted-secret-0123456789")
    one.attest()
    one.resource("app/keys/planted")
    for file in (server.directory / "data").rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            assert b"planted-secret" not in data, file
            assert one.token.encode() not in data, file
