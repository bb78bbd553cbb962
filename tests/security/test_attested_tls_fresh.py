"""Attacks on evidence that is made for a connection: no answer, an old one, one that a thief has passed on."""

import contextlib
import io
import secrets
import socket
import ssl
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from tests.forge import ratls
from tests.services.attested_tls import (
    End,
    converse,
    credentials,
    demands,
    genuine,
    hostile,
    identity,
    naive,
    own_key,
    quote,
    refusal,
)

from cloister.errors import (
    NotFresh,
)
from cloister.tls import Identity, PeerRefused, client_context, freshness, server_context
from cloister.tls.freshness import LARGEST, MARK


def test_a_peer_without_freshness_is_refused_where_it_is_demanded() -> None:
    key = own_key()
    client, served = converse(client_context(demands(fresh=True)), hostile(key, genuine(key)))
    refusal(client, NotFresh)
    assert served.received == b""


def test_old_evidence_does_not_answer_a_challenge() -> None:
    """The attester hands out what it made for its certificate again."""
    made: list[bytes] = []

    def lazy(report_data: bytes) -> bytes:
        made.append(quote(report_data))
        return made[0]

    client, served = converse(client_context(demands(fresh=True)), server_context(identity(lazy)))
    refusal(client, NotFresh)
    assert (len(made), served.received) == (2, b"")


@pytest.mark.parametrize("bound", [True, False])
def test_a_stolen_key_does_not_help_to_pass_a_challenge_on(bound: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001 - a table
    """The thief has certificate and key, and passes the victim's nonce on to the TEE: it speaks of its own connection.

    Without the handshake in the report data (the control) he would have succeeded: nonce and key are the right ones.
    """
    tee, thief = identity(), identity()
    thief._credentials = tee.credentials()
    if not bound:
        digest = freshness.report_digest
        monkeypatch.setattr(freshness, "report_digest", lambda role, nonce, own, _: digest(role, nonce, own, b""))
    passed_on = Relay(tee, thief, monkeypatch)
    client, served = converse(client_context(demands(fresh=True)), server_context(thief))
    assert passed_on.nonces == 1
    if bound:
        refusal(client, NotFresh)
        assert served.received == b""
    else:
        assert client.error is None


class Relay:
    """What the thief's server answers: whatever the TEE says to a connection of his with the victim's nonce."""

    def __init__(self, tee: Identity, thief: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tee, self.thief, self.monkeypatch = tee, thief, monkeypatch
        self.nonces, self.heard = 0, b""
        self.answer, self.judge = freshness.Terms.answer, freshness.Terms.judge
        monkeypatch.setattr(freshness.Terms, "answer", lambda *said: self.answering(*said))  # noqa: PLW0108 - see below
        monkeypatch.setattr(freshness.Terms, "judge", lambda *said: self.hearing(*said))  # noqa: PLW0108 - bound already, it would not get the terms

    def answering(self, terms: freshness.Terms, nonce: bytes) -> bytes:
        if terms.identity is not self.thief:
            return self.answer(terms, nonce)
        self.nonces += 1
        with self.monkeypatch.context() as patched:
            patched.setattr(secrets, "token_bytes", lambda _: nonce)
            assert converse(client_context(demands(fresh=True)), server_context(self.tee))[0].error is None
        return self.heard

    def hearing(self, terms: freshness.Terms, nonce: bytes, said: bytes) -> Any:
        self.heard = said
        return self.judge(terms, nonce, said)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\0\0\0\0",
        (LARGEST + 1).to_bytes(4, "big"),
        b"\0\0\0\x01\xff",
        b"\0\0\0\x01\x80",
        b"\0\0\0\x03\x82\x01\x02",
        b"\0\0\0\x03\x82\x40\x40",
    ],
)
def test_a_hostile_answer_to_a_challenge_is_refused(said: bytes) -> None:
    key = own_key()
    shows = credentials(key, ratls.certificate(key, [genuine(key)]))
    server = naive(server=True, shows=shows, protocols=(MARK,))
    context = client_context(demands(fresh=True))
    client, served = hostile_exchange(context, server, said)
    assert isinstance(client.error, PeerRefused), client
    assert client.error.exit_code in {2, 5}
    assert len(served.received) == 4 + 1 + 2 + 32, "the nonce, and not a byte of the request"


def hostile_exchange(client: ssl.SSLContext, server: ssl.SSLContext, said: bytes) -> tuple[End, End]:
    """A server that reads the challenge, says this, and closes."""

    class Answering(ssl.SSLSocket):
        def send(self, data: Any, flags: int = 0) -> int:
            del data
            if not said:
                raise ConnectionAbortedError
            return super().send(said, flags)

    server.sslsocket_class = Answering
    return converse(client, server)


FIRST: dict[str, Callable[[ssl.SSLSocket], object]] = {
    "read": lambda tls: tls.read(10),
    "recv": lambda tls: tls.recv(10),
    "recv_into": lambda tls: tls.recv_into(bytearray(10)),
    "write": lambda tls: tls.write(b"secret"),
    "send": lambda tls: tls.send(b"secret"),
    "sendall": lambda tls: tls.sendall(b"secret"),
    "makefile": lambda tls: tls.makefile("rb").read(1),
    "sendfile": lambda tls: tls.sendfile(io.BytesIO(b"secret")),
}


@pytest.mark.parametrize("first", FIRST)
def test_whatever_is_called_first_waits_for_the_check(first: str) -> None:
    """OpenSSL would shake hands by itself and go on; the peer's certificate is good, its freshness is not."""
    key = own_key()
    client, served = converse(beginning(client_context(demands(fresh=True)), FIRST[first]), hostile(key, genuine(key)))
    refusal(client, NotFresh)
    assert served.received == b""


def beginning(context: ssl.SSLContext, call: Callable[[ssl.SSLSocket], object]) -> Any:
    """A context whose sockets begin with this call, and not with a handshake."""

    def wrap_socket(plain: socket.socket, **_: object) -> ssl.SSLSocket:
        tls = context.wrap_socket(plain, do_handshake_on_connect=False)
        try:
            call(tls)
        finally:
            tls.close()
        return tls

    return SimpleNamespace(wrap_socket=wrap_socket)


@pytest.mark.parametrize("first", ["read", "write"])
def test_nor_does_an_object_without_a_socket_go_on(first: str) -> None:
    key = own_key()
    client = client_context(demands(fresh=True))
    server = hostile(key, genuine(key))
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    mine, theirs = client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)
    call = mine.read if first == "read" else lambda: mine.write(b"secret")
    for _ in range(2):
        for step in (call, theirs.do_handshake):
            with contextlib.suppress(ssl.SSLWantReadError, PeerRefused):
                step()
    with pytest.raises(PeerRefused):
        call()
    with pytest.raises(ssl.SSLWantReadError):
        theirs.read()
