"""Attacks on the service by whoever can send it messages: every one is refused, with the status that says why."""

import base64
import contextlib
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey
from tests.services.key_broker import COOKIE, SECRET, Desk, desk, new_key, public_members, software_attester

from cloister.broker.audit import Released
from cloister.serve.body import BodyBudget
from cloister.serve.connection import BoundedProtocol

NAME = "app/keys/db"


@pytest.fixture
def at_desk(tmp_path: Path) -> Iterator[Desk]:
    with desk(tmp_path) as made:
        made.store_secret()
        yield made


def released(at: Desk) -> int:
    return sum(isinstance(entry.event, Released) for entry in at.service.audit.entries())


# ---- the order and identity of messages


def test_a_nonce_is_answered_once(at_desk: Desk) -> None:
    nonce = at_desk.auth().json()["nonce"]
    message = at_desk.attester.answer(nonce)
    assert at_desk.client.post("/kbs/v0/attest", json=message).status_code == 200
    again = at_desk.client.post("/kbs/v0/attest", json=message)
    assert again.status_code == 401
    assert "answered already" in again.json()["detail"]


def test_of_many_who_race_for_a_nonce_one_wins(at_desk: Desk) -> None:
    nonce = at_desk.auth().json()["nonce"]
    message, cookies = at_desk.attester.answer(nonce), dict(at_desk.client.cookies)

    def send(_: int) -> int:
        with httpx.Client(base_url=at_desk.client.base_url, cookies=cookies) as client:
            return client.post("/kbs/v0/attest", json=message).status_code

    with ThreadPoolExecutor(16) as pool:
        codes = list(pool.map(send, range(32)))
    assert sorted(codes) == [200] + [401] * 31


def test_evidence_for_another_session_is_refused(at_desk: Desk) -> None:
    message = at_desk.attester.answer(at_desk.auth().json()["nonce"])
    at_desk.auth()
    refused = at_desk.client.post("/kbs/v0/attest", json=message)
    assert refused.status_code == 401
    assert "nonce" in refused.json()["detail"]


def test_recorded_evidence_does_not_answer_a_new_nonce(at_desk: Desk) -> None:
    old = at_desk.attester.answer(at_desk.auth().json()["nonce"])
    nonce = at_desk.auth().json()["nonce"]
    old["runtime-data"]["nonce"] = nonce
    assert at_desk.client.post("/kbs/v0/attest", json=old).status_code == 401
    assert at_desk.resource().status_code == 401


def test_a_resource_before_attestation_or_without_a_session_is_refused(at_desk: Desk) -> None:
    assert at_desk.resource().status_code == 401
    at_desk.auth()
    refused = at_desk.resource()
    assert refused.status_code == 401
    assert refused.json()["type"].endswith("/TokenNotFound")


@pytest.mark.parametrize("change", ["none", "truncated", "flipped", "empty", "long", "foreign", "padded"])
def test_wrong_cookies_are_no_session(at_desk: Desk, change: str) -> None:
    nonce = at_desk.auth().json()["nonce"]
    cookie = at_desk.client.cookies[COOKIE]
    at_desk.client.cookies.clear()
    middle = len(cookie) // 2
    changed = {
        "truncated": cookie[:-4], "flipped": cookie[:middle] + cookie[middle].swapcase() * 2 + cookie[middle + 2 :],
        "empty": "", "long": cookie * 50, "foreign": "0123456789abcdef", "padded": cookie + "A",
    }  # fmt: skip
    if change != "none":
        at_desk.client.cookies.set(COOKIE, changed[change])
    assert at_desk.client.post("/kbs/v0/attest", json=at_desk.attester.answer(nonce)).status_code == 401
    assert at_desk.resource().status_code == 401


def test_a_session_of_the_other_protocol_is_no_session(at_desk: Desk) -> None:
    at_desk.auth()
    cookie = at_desk.client.cookies[COOKIE]
    assert at_desk.client.get(f"/challenge-response/v1/session/{cookie}").status_code == 404
    session = at_desk.client.post("/challenge-response/v1/newSession").headers["location"].partition("/")[2]
    at_desk.client.cookies.set(COOKIE, session)
    assert at_desk.resource().status_code == 401


def test_sessions_and_results_expire(at_desk: Desk) -> None:
    nonce = at_desk.auth().json()["nonce"]
    message = at_desk.attester.answer(nonce)
    at_desk.clock.forward(minutes=5)
    assert at_desk.client.post("/kbs/v0/attest", json=message).status_code == 401
    token = at_desk.attest().json()["token"]
    at_desk.clock.forward(minutes=5)
    assert at_desk.resource().status_code == 401
    assert at_desk.resource(authorization=f"Bearer {token}").status_code == 401
    assert released(at_desk) == 0


# ---- the key


def test_a_key_that_was_swapped_on_the_way_is_not_the_one_that_was_bound(at_desk: Desk) -> None:
    mallory = new_key()
    message = at_desk.attester.answer(at_desk.auth().json()["nonce"])
    message["runtime-data"]["tee-pubkey"] = public_members(mallory)
    assert at_desk.client.post("/kbs/v0/attest", json=message).status_code == 401


def test_evidence_that_binds_nothing_is_refused(at_desk: Desk) -> None:
    nonce = at_desk.auth().json()["nonce"]
    message = at_desk.attester.answer(nonce)
    message["tee-evidence"]["primary_evidence"]["evidence"] = base64.b64encode(
        at_desk.attester.make(base64.b64decode(nonce))
    ).decode()
    assert at_desk.client.post("/kbs/v0/attest", json=message).status_code == 401


def test_whoever_steals_a_token_or_cookie_gets_what_he_cannot_open(at_desk: Desk) -> None:
    at_desk.attest()
    thief = software_attester()
    got = at_desk.resource()
    assert got.status_code == 200
    with pytest.raises(Exception, match=r"."):
        thief.open(got.json())
    assert at_desk.attester.open(got.json()) == SECRET


@pytest.mark.parametrize(
    "change",
    [
        {"alg": "RSA1_5"}, {"alg": "dir"}, {"alg": "ECDH-ES"}, {"alg": "none"}, {"crv": "P-384"},
        {"kty": "oct", "k": "AA"}, {"kty": "RSA", "n": "AQAB", "e": "AQAB", "alg": "RSA-OAEP-256"},
        {"x": "AA"}, {"y": "A" * 43}, {"x": 1}, {"kty": None},
    ],
)  # fmt: skip
def test_keys_and_algorithms_that_would_be_weak_are_malformed(at_desk: Desk, change: dict[str, Any]) -> None:
    message = at_desk.attester.answer(at_desk.auth().json()["nonce"])
    message["runtime-data"]["tee-pubkey"] |= change
    assert at_desk.client.post("/kbs/v0/attest", json=message).status_code == 400


def test_evidence_of_another_tee_than_was_said_is_refused(at_desk: Desk) -> None:
    nonce = at_desk.auth("snp").json()["nonce"]
    refused = at_desk.client.post("/kbs/v0/attest", json=at_desk.attester.answer(nonce))
    assert refused.status_code == 401
    assert "another TEE" in refused.json()["detail"]


# ---- tokens


def claims_of(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found


def unsigned(claims: dict[str, Any]) -> str:
    parts = (json.dumps(part).encode() for part in ({"alg": "none"}, claims))
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."


def forged_tokens(at: Desk, genuine: str) -> dict[str, str]:
    claims, mallory = claims_of(genuine), ECKey.generate_key("P-256")
    public = at.client.get("/.well-known/veraison/verification").json()["ear-verification-key"]
    octets = OctKey.import_key(json.dumps(public))
    head, payload, signature = genuine.split(".")
    brings = {"alg": "ES256", "jwk": mallory.as_dict(private=False)}
    return {
        "none": unsigned(claims),
        "hmac with the public key": jwt.encode({"alg": "HS256"}, claims, octets, algorithms=["HS256"]),
        "another key": jwt.encode({"alg": "ES256", "kid": public["kid"]}, claims, mallory),
        "brings its key": jwt.encode(brings, claims, mallory),
        "no signature": f"{head}.{payload}.",
        "another payload": f"{head}.{payload[:-8]}AAAAAAAA.{signature}",
        "truncated": genuine[:-10],
        "no token": "ey",
        "oversized": "ey" + "A" * 30_000,
    }


def test_forged_tokens_open_nothing(at_desk: Desk) -> None:
    genuine = at_desk.attest().json()["token"]
    at_desk.client.cookies.clear()
    assert at_desk.resource(authorization=f"Bearer {genuine}").status_code == 200
    for name, token in forged_tokens(at_desk, genuine).items():
        refused = at_desk.resource(authorization=f"Bearer {token}")
        assert refused.status_code == 401, name
    assert released(at_desk) == 1


def test_a_result_for_a_nonce_alone_vouches_for_no_key(at_desk: Desk) -> None:
    found = at_desk.client.post("/challenge-response/v1/newSession")
    session = f"/challenge-response/v1/{found.headers['location']}"
    evidence = at_desk.attester.make(base64.b64decode(found.json()["nonce"]))
    media = {"content-type": "application/vnd.cloister.evidence"}
    result = at_desk.client.post(session, content=evidence, headers=media).json()["result"]
    refused = at_desk.resource(authorization=f"Bearer {result}")
    assert refused.status_code == 401
    assert released(at_desk) == 0


# ---- names and messages


@pytest.mark.parametrize(
    "path",
    [
        "app/keys/..", "../../etc", "app/keys/%2e%2e", "app/..%2fkeys/db", "app/keys/%00", "app/keys/a%20b",
        "app/keys/.db", "app/keys/" + "a" * 129, "app/keys", "app/keys/db/more", "app//db", "app/keys/%f0%9f%98%80",
        "app/keys/db%0d%0aX: y",
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere_lead_nowhere(at_desk: Desk, path: str) -> None:
    at_desk.attest()
    with socket.create_connection(at_desk.address) as raw:
        cookie = at_desk.client.cookies[COOKIE]
        raw.sendall(f"GET /kbs/v0/resource/{path} HTTP/1.1\r\nhost: x\r\ncookie: {COOKIE}={cookie}\r\n\r\n".encode())
        status = raw.recv(64).split(b" ")[1]
    assert status in {b"400", b"404"}, status
    assert released(at_desk) == 0


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b'{"version":1}', b'{"a":1,"a":2}', b"[" * 9999]
)
def test_malformed_messages_are_400(at_desk: Desk, body: bytes) -> None:
    assert at_desk.client.post("/kbs/v0/auth", content=body).status_code == 400
    at_desk.auth()
    assert at_desk.client.post("/kbs/v0/attest", content=body).status_code == 400
    assert at_desk.admin("PUT", "secrets/app/keys/x", content=body).status_code == 400


@pytest.mark.parametrize("change", [{"version": "0.4.1"}, {"version": "0.1.1"}, {"tee": "sample"}, {"tee": "se"}])
def test_other_versions_and_tees_are_not_attested(at_desk: Desk, change: dict[str, str]) -> None:
    assert at_desk.auth(**change).status_code == 401


def test_every_truncation_of_an_attestation_is_refused(at_desk: Desk) -> None:
    nonce = at_desk.auth().json()["nonce"]
    message = json.dumps(at_desk.attester.answer(nonce)).encode()
    for size in range(0, len(message), 97):
        assert at_desk.client.post("/kbs/v0/attest", content=message[:size]).status_code == 400, size
    assert at_desk.client.post("/kbs/v0/attest", content=message).status_code == 200


def test_init_data_that_nobody_checks_is_not_taken(at_desk: Desk) -> None:
    message = at_desk.attester.answer(at_desk.auth().json()["nonce"]) | {"init-data": {"format": "toml", "body": "x"}}
    refused = at_desk.client.post("/kbs/v0/attest", json=message)
    assert refused.status_code == 400
    assert "init-data" in refused.json()["detail"]


def test_oversized_messages_are_refused_before_they_are_read(at_desk: Desk) -> None:
    large = b" " * ((1 << 16) + 1)
    assert at_desk.client.post("/kbs/v0/auth", content=large).status_code == 413
    assert at_desk.client.post("/kbs/v0/auth", content=iter([large])).status_code == 413
    at_desk.auth()
    with socket.create_connection(at_desk.address) as raw:
        cookie = at_desk.client.cookies[COOKIE]
        head = ("POST /kbs/v0/attest HTTP/1.1", "host: x", f"cookie: {COOKIE}={cookie}", "content-length: 99999999999")
        raw.sendall("\r\n".join((*head, "", "")).encode())
        assert b" 413 " in raw.recv(64)


def send_for_ever(raw: socket.socket, piece: bytes, pause: float) -> None:
    """Send, until the other side closes the connection: ConnectionError. TimeoutError after 8 seconds."""
    raw.settimeout(pause)
    until = time.monotonic() + 8
    while time.monotonic() < until:
        raw.sendall(piece)
        with contextlib.suppress(TimeoutError):
            assert raw.recv(1) == b""
            raise ConnectionResetError("the other side closed the connection")
    raise TimeoutError("the connection is still open")


def test_headers_without_end_end_the_connection(at_desk: Desk) -> None:
    with socket.create_connection(at_desk.address, 10) as raw:
        raw.sendall(b"GET /healthz HTTP/1.1\r\n")
        with pytest.raises(ConnectionError):
            send_for_ever(raw, b"x-name: " + b"a" * 1000 + b"\r\n", 0.001)


@pytest.mark.parametrize("start", [b"", b"GET /healthz HTTP/1.1\r\n", b"POST /kbs/v0/au"])
def test_slow_headers_end_the_connection(at_desk: Desk, monkeypatch: pytest.MonkeyPatch, start: bytes) -> None:
    monkeypatch.setattr(BoundedProtocol, "seconds", 0.5)
    begun = time.monotonic()
    with socket.create_connection(at_desk.address, 10) as raw:
        raw.sendall(start)
        with pytest.raises(ConnectionError):
            send_for_ever(raw, b"x" if start else b"", 0.1)
    assert time.monotonic() - begun < 5


def test_slow_bodies_end_in_408(at_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloister.serve.body.SECONDS", 0.5)
    with socket.create_connection(at_desk.address, 10) as raw:
        raw.sendall(b"POST /kbs/v0/auth HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        assert b" 408 " in raw.recv(64)


def refused_body(raw: socket.socket, size: int) -> None:
    """The head of a message that is refused before its body matters, and the refusal."""
    head = ("POST /kbs/v0/attest HTTP/1.1", "host: x", f"cookie: {COOKIE}=x", f"content-length: {size}")
    raw.sendall("\r\n".join((*head, "", "")).encode())
    raw.settimeout(5)
    answer = raw.recv(65_536)
    assert b" 401 " in answer
    while not answer.endswith(b"}"):
        answer += raw.recv(65_536)


def test_a_client_that_is_still_sending_hears_the_refusal(at_desk: Desk) -> None:
    """And may go on: what is left of the body is no request."""
    with socket.create_connection(at_desk.address, 10) as raw:
        refused_body(raw, 500_000)
        for _ in range(5):
            raw.sendall(b"GET /none HTTP/1.1\r\n".ljust(100_000))
        raw.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b" 200 " in raw.recv(64)


def test_a_refused_body_without_end_ends_the_connection(at_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedProtocol, "seconds", 0.5)
    begun = time.monotonic()
    with socket.create_connection(at_desk.address, 10) as raw:
        refused_body(raw, 1 << 40)
        with pytest.raises(ConnectionError):
            send_for_ever(raw, b"x" * 10_000, 0.001)
    assert time.monotonic() - begun < 5


def test_many_large_bodies_at_once_are_more_than_is_held(at_desk: Desk) -> None:
    application = at_desk.service.application
    application.budget = BodyBudget(100_000)
    at_desk.auth()
    head = ("POST /kbs/v0/attest HTTP/1.1", "host: x", f"cookie: {COOKIE}={at_desk.client.cookies[COOKIE]}")
    begin = "\r\n".join((*head, "content-length: 100000", "", "")).encode() + b"x" * 60_000
    with (
        socket.create_connection(at_desk.address, 10) as first,
        socket.create_connection(at_desk.address, 10) as second,
    ):
        first.sendall(begin)
        second.settimeout(5)
        while application.budget.held < 60_000:
            time.sleep(0.01)
        second.sendall(begin)
        assert b" 503 " in second.recv(64)
    until = time.monotonic() + 5
    while application.budget.held and time.monotonic() < until:
        time.sleep(0.01)
    assert application.budget.held == 0
    assert at_desk.attest().status_code == 200


def test_the_address_of_a_session_is_not_in_the_log(at_desk: Desk) -> None:
    session = at_desk.client.post("/challenge-response/v1/newSession").headers["location"]
    assert at_desk.client.get(f"/challenge-response/v1/{session}").status_code == 200
    at_desk.attest()
    assert session.partition("/")[2] not in at_desk.log.getvalue()
    assert at_desk.client.cookies[COOKIE] not in at_desk.log.getvalue()
    assert "/challenge-response/v1/session/..." in at_desk.log.getvalue()


def test_a_flood_of_challenges_stores_nothing(at_desk: Desk) -> None:
    before = (at_desk.service.settings.state / "broker.db").stat().st_size
    for _ in range(300):
        assert at_desk.client.post(
            "/kbs/v0/auth", json={"version": "0.4.0", "tee": "snp", "extra-params": ""}
        ).is_success
        at_desk.client.cookies.clear()
    assert (at_desk.service.settings.state / "broker.db").stat().st_size == before
