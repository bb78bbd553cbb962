"""The carrier's client of the broker: against the real service, and against servers that mean harm."""

import base64
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from tests.forge.software import SoftwareForge
from tests.services.hostile import Hostile
from tests.services.key_broker import Desk, X25519Key, desk, software_attester
from tests.services.serve_process import serving
from tests.services.start_block import read_again

from cloister.attest.broker_client import Provider, Server, sealed_of
from cloister.attest.flow import Flow
from cloister.attest.frames import Statement, report_data_of
from cloister.errors import CloisterError, Denied, NotAttested, Undecided, UsageError
from cloister.launch import _abi

SESSION = """\
name: team/shop
version: "1"
salt: "00112233445566778899aabbccddeeff"
services:
  - name: web
    command: "serve --token $$CLOISTER::token$$"
    environment: {{ TOKEN: "$$CLOISTER::token$$" }}
    injection_files: [{{ path: /run/key, content: "$$CLOISTER::token:hex$$" }}]
    attestation:
      - tee: software
        measurement: "{measurement}"
        anchors: [software]
secrets:
  - {{ name: token, kind: ascii, value: "correct horse" }}
"""


class Enclave:
    """What the runtime would be: a key, and evidence that a forged host signs."""

    def __init__(self) -> None:
        self.key, self.forge = X25519Key(), SoftwareForge()
        said = self.forge.said()
        self.statement = Statement(said.executable, said.libraries, self.key.private.public_key().public_bytes_raw())

    def provision(self, provider: Provider, **changes: Any) -> bytes:
        challenge = provider.challenge()
        report_data = report_data_of(challenge.nonce, self.statement)
        return provider.provision(challenge, self.statement, self.forge.evidence(report_data, **changes))

    def open(self, sealed: bytes) -> dict[str, Any]:
        return read_again(self.key.open(jwe_of(sealed)))


def jwe_of(sealed: bytes) -> dict[str, str]:
    """The JWE that a frame's content came from."""
    parts = (sealed[:32], sealed[32:64], sealed[64:])
    broker, key, text = (base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    return {"protected": _abi.PROTECTED_HEADER, "broker_key": broker, "encrypted_key": key, "ciphertext": text}


@pytest.fixture
def enclave() -> Enclave:
    return Enclave()


@pytest.fixture
def at_desk(tmp_path: Path, enclave: Enclave) -> Iterator[Desk]:
    with desk(tmp_path, software_attester(enclave.key, enclave.forge)) as made:
        body = {"session": SESSION.format(measurement=made.attester.measurement)}
        assert made.admin("PUT", "sessions/team/shop", json=body).status_code == 201
        yield made


def broker_of(at: Desk, **changes: Any) -> Server:
    return Server(role="broker", url=f"http://127.0.0.1:{at.address[1]}", **changes)


def test_a_service_s_secrets_come_encrypted_to_its_key(at_desk: Desk, enclave: Enclave) -> None:
    for service in ("-", "web"):
        sealed = enclave.provision(Provider(broker=broker_of(at_desk), session="team/shop", service=service))
        assert b"correct horse" not in sealed
        found = enclave.open(sealed)
        assert found["command"] == [b"serve", b"--token", b"correct horse"]
        assert found["environment"] == {b"TOKEN": b"correct horse"}
        assert found["files"] == {b"/run/key": b"correct horse".hex().encode()}


def test_a_passport_is_shown_to_the_broker(at_desk: Desk, enclave: Enclave) -> None:
    """The evidence goes to the verifier alone, the broker sees its token."""
    record = StringIO()
    flow = Flow(record)
    verifier = replace(broker_of(at_desk, flow=flow), role="verifier")
    provider = Provider(broker=broker_of(at_desk, flow=flow), verifier=verifier, session="team/shop")
    assert enclave.open(enclave.provision(provider))["environment"] == {b"TOKEN": b"correct horse"}
    lines = [json.loads(line) for line in record.getvalue().splitlines()]
    assert [(one["from"], one["to"], one["kind"].split("?")[0], one.get("status")) for one in lines] == [
        ("carrier", "verifier", "POST /kbs/v0/auth", None), ("verifier", "carrier", "POST /kbs/v0/auth", 200),
        ("carrier", "verifier", "POST /kbs/v0/attest", None), ("verifier", "carrier", "POST /kbs/v0/attest", 200),
        ("carrier", "broker", "GET /cloister/v1/provision/-/team/shop", None),
        ("broker", "carrier", "GET /cloister/v1/provision/-/team/shop", 200),
    ]  # fmt: skip
    for hidden in ("kbs-session-id", "eyJ", "correct horse", "nonce"):
        assert hidden not in record.getvalue()


@pytest.mark.parametrize(
    ("changes", "session", "service", "error", "words"),
    [
        ({"executable": bytes(32)}, "team/shop", "-", Denied, "The program is one that was named"),
        ({"libraries": bytes(32)}, "team/shop", "-", Denied, "The program is one that was named"),
        ({}, "team/none", "-", Denied, "the broker says"),
        ({}, "team/shop", "other", Denied, "the broker says"),
        ({}, "Team shop?x=1#y", "-", UsageError, "is not the name of one"),
    ],
)
def test_refusals_come_with_the_broker_s_words(
    at_desk: Desk, enclave: Enclave, changes: dict[str, Any], session: str, service: str, error: type[CloisterError],
    words: str,
) -> None:  # fmt: skip
    with pytest.raises(error, match=words):
        enclave.provision(Provider(broker=broker_of(at_desk), session=session, service=service), **changes)


def test_a_host_that_the_broker_does_not_know_is_not_attested(at_desk: Desk, enclave: Enclave) -> None:
    stranger = Enclave()
    stranger.key = enclave.key
    with pytest.raises(NotAttested, match="the broker says"):
        stranger.provision(Provider(broker=broker_of(at_desk), session="team/shop"))


def test_a_challenge_is_answered_once(at_desk: Desk, enclave: Enclave) -> None:
    provider = Provider(broker=broker_of(at_desk), session="team/shop")
    challenge = provider.challenge()
    evidence = enclave.forge.evidence(report_data_of(challenge.nonce, enclave.statement))
    provider.provision(challenge, enclave.statement, evidence)
    with pytest.raises(NotAttested, match="answered already"):
        provider.provision(challenge, enclave.statement, evidence)
    with pytest.raises(NotAttested):
        provider.provision(provider.challenge(), enclave.statement, evidence)


def test_only_the_pinned_certificate_is_believed(tmp_path: Path) -> None:
    with serving(tmp_path) as running:
        provider = Provider(
            broker=Server(role="broker", url=running.url, ca=str(running.state / "tls.pem")), session="x"
        )
        assert provider.challenge().nonce
        other = tmp_path / "other"
        other.mkdir()
        with serving(other) as another:
            wrong = Server(role="broker", url=running.url, ca=str(another.state / "tls.pem"))
            with pytest.raises(Undecided, match="certificate is not accepted"):
                Provider(broker=wrong, session="x").challenge()
        with pytest.raises(Undecided, match="certificate is not accepted"):
            Provider(broker=Server(role="broker", url=running.url), session="x").challenge()
        elsewhere = running.url.replace("127.0.0.1", "127.0.0.2")
        name = Server(role="broker", url=elsewhere, ca=str(running.state / "tls.pem"))
        with pytest.raises(Undecided):  # nobody listens there, or the name is not in the certificate
            Provider(broker=name, session="x").challenge()


@pytest.mark.parametrize(
    "url",
    [
        "", "broker:8443", "ftp://broker", "https://", "https://broker/path", "https://user:word@broker",
        "https://broker:port", "https://broker:70000", "https://broker?x", "https://[::1",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match=re.escape("give https://HOST:PORT")):
        Server(role="broker", url=url)


def test_authorities_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_bytes(b"")
    for name in ("none.pem", "empty.pem"):
        with pytest.raises(UsageError, match=f"--ca .*{name}"):
            Server(role="broker", url="https://broker", ca=str(tmp_path / name))


def said(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


NONCE = b'{"nonce": "bm9uY2U=", "extra-params": ""}'
COOKIE = "set-cookie: kbs-session-id=abc; Path=/kbs; HttpOnly"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "does not answer"),
        (b"not HTTP at all\r\n\r\n", "does not answer"),
        (said(NONCE), "no cookie"),
        (said(NONCE, "set-cookie: other=abc"), "no cookie"),
        (said(b'{"nonce": "x\\"y"}', COOKIE), "is not base64"),
        (said(b'{"nonce": "' + b"A" * 200 + b'"}', COOKIE), "is not base64"),
        (said(b'{"nonce": 7}', COOKIE), "is not base64"),
        (said(b'{"nonce": "QQ==", "nonce": "QUE="}', COOKIE), "no message of the protocol"),
        (said(b"[]", COOKIE), "no message of the protocol"),
        (said(b"\xff\xfe", COOKIE), "no message of the protocol"),
        (said(NONCE, COOKIE, length=1000), "cut off"),
        (said(b"", "location: http://127.0.0.1:1/", status="302 Found"), "status 302"),
        (said(b'{"detail": "the database is away"}', status="503 Service Unavailable"), "the database is away"),
        (said(b'{"detail": 7}', status="500 Internal Server Error"), "status 500"),
        (said(b"<html>", status="502 Bad Gateway"), "status 502"),
    ],
)
def test_answers_that_are_none_decide_nothing(answer: bytes, words: str) -> None:
    def behave(connection: socket.socket) -> None:
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):  # what is unread at the end would become a reset
            pass

    with Hostile(behave) as server, pytest.raises(Undecided, match=words):
        Provider(broker=Server(role="broker", url=server.url, seconds=5), session="x").challenge()


def drip(begin: bytes) -> Callable[[socket.socket], None]:
    def behave(connection: socket.socket) -> None:
        connection.sendall(begin)
        for _ in range(200):
            connection.sendall(b"a")
            time.sleep(0.05)

    return behave


@pytest.mark.parametrize(
    "begin",
    [b"HTTP/1.1 200 OK\r\nx: ", b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n"],
)
def test_a_server_that_drips_is_not_waited_for(begin: bytes) -> None:
    with Hostile(drip(begin)) as server:
        began = time.monotonic()
        with pytest.raises(Undecided, match="not within"):
            Provider(broker=Server(role="broker", url=server.url, seconds=0.5), session="x").challenge()
        assert time.monotonic() - began < 3


def test_a_server_that_never_ends_is_not_heard_out() -> None:
    def behave(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(bytes(1 << 20))

    with Hostile(behave) as server, pytest.raises(Undecided, match="larger than"):
        Provider(broker=Server(role="broker", url=server.url), session="x").challenge()


def test_nobody_there_is_undecided() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(Undecided, match="Connection refused"):
        Provider(broker=Server(role="broker", url=f"http://127.0.0.1:{port}"), session="x").challenge()


JWE = {"protected": _abi.PROTECTED_HEADER, "broker_key": "A" * 43, "encrypted_key": "A" * 43, "ciphertext": "AAAA"}


@pytest.mark.parametrize(
    "changes",
    [
        {"protected": "eyJhbGciOiJkaXIifQ"}, {"protected": None}, {"iv": ""}, {"tag": "AAAA"}, {"header": {}},
        {"encrypted_key": "A" * 42}, {"encrypted_key": "A" * 44}, {"encrypted_key": 7},
        {"encrypted_key": "A" * 42 + "B"}, {"broker_key": "A" * 42}, {"broker_key": None},
        {"ciphertext": "A" * 41 + "="}, {"ciphertext": "AA+A"}, {"ciphertext": None}, {"ciphertext": "A"},
        {"ciphertext": "A" * 11_184_812},
    ],
)  # fmt: skip
def test_another_jwe_is_not_handed_on(changes: dict[str, Any]) -> None:
    assert sealed_of(JWE) == bytes(67)
    with pytest.raises(Undecided):
        sealed_of(JWE | changes)
    for name in JWE:
        with pytest.raises(Undecided):
            sealed_of({key: value for key, value in JWE.items() if key != name})
