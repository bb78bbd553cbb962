"""Contexts, connections, refusals: what they refuse to be used for, and what they say."""

import functools
import gc
import io
import ssl
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest
from tests.forge import ratls
from tests.forge.every import intel
from tests.forge.x509 import NOW
from tests.services.attested_tls import EXPECTED, converse, credentials, demands, genuine, identity, naive, own_key

from cloister import _cbor
from cloister.appraise.vector import Tier
from cloister.errors import CloisterError, EndorsementUnavailable, NotFresh, ParseError, PolicyError, UsageError
from cloister.model import Unchecked
from cloister.tls import PeerRefused, client_context, demand, peer_of, refusal_in, server_context
from cloister.tls.freshness import Exchange, Terms, report_digest, steps

HELD = identity()


def made(context: Any) -> Any:
    return context._context(context.protocol == ssl.PROTOCOL_TLS_SERVER, None)


def test_a_client_s_context_is_for_clients_only() -> None:
    for context, server in ((client_context(demands()), True), (server_context(HELD), False)):
        with pytest.raises(ValueError, match="this context is not for a"):
            context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=server)


def test_each_connection_has_a_context_of_its_own_where_something_is_demanded() -> None:
    client = client_context(demands())
    assert made(client) is not made(client)
    mutual = server_context(HELD, demands=demands())
    assert made(mutual) is not made(mutual)


def test_a_server_that_demands_nothing_shares_one_until_it_is_renewed() -> None:
    held = identity()
    context = server_context(held)
    first = made(context)
    assert made(context) is first
    held.renew()
    assert made(context) is not first


def test_the_template_itself_trusts_nobody() -> None:
    """Somebody who gets around wrap_socket meets an empty trust store."""
    context = client_context(demands())
    around: Any = SimpleNamespace(wrap_socket=functools.partial(ssl.SSLContext.wrap_socket, context))
    client, served = converse(around, server_context(HELD))
    assert isinstance(client.error, ssl.SSLCertVerificationError)
    assert served.received == b""


def with_evidence_of_another_key() -> ssl.SSLContext:
    key = own_key()
    return naive(server=False, shows=credentials(key, ratls.certificate(key, [genuine(own_key())])))


CLIENTS: dict[str, Callable[[], ssl.SSLContext]] = {
    "attested": lambda: client_context(demands(), identity=identity()),
    "without a certificate": lambda: naive(server=False),
    "with evidence of another key": with_evidence_of_another_key,
}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_connection_s_context_goes_when_the_connection_does(client: str) -> None:
    """It holds a private key, and much memory; without a circle it does not have to wait for the collector."""
    gc.collect()
    gc.disable()
    try:
        context = made(server_context(HELD, demands=demands(fresh=True)))
        gone = weakref.ref(context)
        ends = converse(CLIENTS[client](), context)
        assert (ends[1].error is None) is (client == "attested")
        for one in ends:
            one.error = None  # its traceback holds this test's own frames
        del context, ends, one
        assert gone() is None
    finally:
        gc.enable()


def test_what_the_application_speaks_is_agreed_on() -> None:
    client, server = client_context(demands()), server_context(identity())
    client.set_alpn_protocols(["h2", "http/1.1"])
    server.set_alpn_protocols(["http/1.1"])
    ends = converse(client, server)
    assert [one.protocol for one in ends] == ["http/1.1", "http/1.1"]
    fresh = client_context(demands(fresh=True))
    fresh.set_alpn_protocols(["http/1.1"])
    assert [one.protocol for one in converse(fresh, server)] == [None, None]


def test_a_name_proves_nothing_and_is_said_to_prove_nothing() -> None:
    client, _ = converse(client_context(demands()), server_context(identity(names=["somebody.else"])))
    assert client.error is None
    assert client.peer is not None
    assert any("names in a certificate that signs itself" in one for one in client.peer.verdict.unchecked)


def test_who_demanded_nothing_has_no_peer() -> None:
    _, served = converse(client_context(demands()), server_context(identity()))
    assert served.error is None
    assert served.peer is None


@pytest.mark.parametrize("connection", [None, object()])
def test_peer_of_something_else_is_an_error(connection: object) -> None:
    with pytest.raises(TypeError):
        peer_of(connection)


def test_peer_before_the_handshake_is_an_error() -> None:
    waiting = client_context(demands()).wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
    for attempt in (waiting.do_handshake, waiting.read, lambda: waiting.write(b"request")):
        with pytest.raises(ssl.SSLWantReadError):
            attempt()
    with pytest.raises(TypeError):
        peer_of(waiting)


def test_a_refused_connection_stays_refused() -> None:
    client, _ = converse(client_context(demands(anchors=None)), server_context(identity()), lazily=True)
    assert client.connection is not None
    assert isinstance(client.error, PeerRefused)
    with pytest.raises((PeerRefused, ValueError, OSError)):
        client.connection.send(b"again")


# ---------------------------------------------------------------- demands


def test_without_a_policy_nobody_passes_unless_that_is_said() -> None:
    given: dict[str, Any] = {"anchors": intel().anchors, "endorsements": intel().endorsements(), "clock": lambda: NOW}
    nobody, anybody = Unchecked("a test"), frozenset(Tier)
    refused, _ = converse(client_context(demand(nobody, **given)), server_context(HELD))
    assert isinstance(refused.error, PeerRefused)
    assert (refused.error.exit_code, "no policy" in str(refused.error)) == (3, True)
    assert converse(client_context(demand(nobody, accept=anybody, **given)), server_context(HELD))[0].error is None


def test_demands_take_a_policy_file(tmp_path: Any) -> None:
    file = tmp_path / "app.toml"
    file.write_text(EXPECTED)
    context = client_context(
        demand(file, anchors=intel().anchors, endorsements=intel().endorsements(), clock=lambda: NOW)
    )
    assert converse(context, server_context(HELD))[0].error is None
    file.write_text("nonsense = true")
    with pytest.raises(PolicyError):
        demand(file)


def test_accepting_nothing_cannot_be_meant() -> None:
    with pytest.raises(UsageError, match="no status is accepted"):
        demand(Unchecked("a test"), accept=frozenset())


# ---------------------------------------------------------------- refusals


def test_a_refusal_says_why_and_is_an_error_of_tls_too() -> None:
    refusal = PeerRefused.because(NotFresh("too old", expected="new", actual="old"))
    assert str(refusal) == "the TLS peer is not attested: too old"
    assert (refusal.exit_code, refusal.undecided, refusal.checks) == (5, False, ())
    assert isinstance(refusal, ssl.SSLError)
    assert PeerRefused.because(ParseError("record", "field", 0, "broken")).exit_code == 2
    undecided = PeerRefused.because(EndorsementUnavailable("missing"))
    assert (undecided.exit_code, undecided.undecided) == (6, True)
    assert str(undecided) == "the TLS peer cannot be verified: missing"


def test_a_refusal_is_found_behind_other_exceptions() -> None:
    refusal = PeerRefused("no")
    outer = OSError("connection failed")
    outer.__cause__ = ValueError("in between")
    outer.__cause__.__context__ = refusal
    assert refusal_in(outer) is refusal
    assert refusal_in(refusal) is refusal
    assert refusal_in(ValueError()) is None
    refusal.__context__ = outer
    assert refusal_in(outer) is refusal
    circle = ValueError()
    circle.__context__ = KeyError()
    circle.__context__.__context__ = circle
    assert refusal_in(circle) is None


# ---------------------------------------------------------------- the exchange


def terms(role: str) -> Terms:
    """Both sides demand freshness of each other."""
    certificates = {name: ONES[name].credentials().certificate for name in ONES}
    other = "client" if role == "server" else "server"
    return Terms(
        role=role, demands=demands(fresh=True), identity=ONES[role], own=certificates[role], peer=certificates[other],
        finished=b"finished",
    )  # fmt: skip


ONES = {"client": identity(), "server": identity()}


class Pipe:
    """A stream that gives and takes little at a time, and is not ready every other time."""

    def __init__(self) -> None:
        self.data, self.readable, self.ready = bytearray(), False, False

    def read(self, size: int) -> bytes:
        self.readable = not self.readable
        if not self.readable or not self.data:
            raise ssl.SSLWantReadError
        taken = bytes(self.data[: min(size, 100)])
        del self.data[: len(taken)]
        return taken

    def write(self, data: bytes) -> int:
        self.ready = not self.ready
        if not self.ready:
            raise ssl.SSLWantWriteError
        self.data += data[:100]
        return len(data[:100])


def test_the_exchange_goes_on_where_it_stopped() -> None:
    pipes = {"client": Pipe(), "server": Pipe()}
    sides = {name: Exchange(steps(terms(name))) for name in pipes}
    verdicts: dict[str, Any] = {}
    for _ in range(2000):
        for name, other in (("client", "server"), ("server", "client")):
            if name not in verdicts:
                try:
                    verdicts[name] = sides[name].advance(pipes[name].read, pipes[other].write)
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    continue
    assert {name: str(one.status) for name, one in verdicts.items()} == {"client": "affirming", "server": "affirming"}
    assert not pipes["client"].data
    assert not pipes["server"].data


@hypothesis.given(st.binary(max_size=200))
def test_whatever_a_peer_says_the_exchange_ends(said: bytes) -> None:
    """A verdict is never among the ends: there is no evidence in such bytes."""
    for role in ("client", "server"):
        stream = io.BytesIO(said)
        exchange = Exchange(steps(terms(role)))
        with pytest.raises(CloisterError):
            exchange.advance(stream.read, len)


@pytest.mark.parametrize("size", [1, 31, 33, 64])
def test_a_nonce_has_one_size(size: int) -> None:
    body = _cbor.dumps([bytes(size)])
    stream = io.BytesIO(len(body).to_bytes(4, "big") + body)
    with pytest.raises(ParseError, match="nonce"):
        Exchange(steps(terms("server"))).advance(stream.read, len)


def test_each_part_of_what_is_hashed_counts() -> None:
    """Role (no reflection), nonce, key, handshake."""
    one, other = (ONES[name].credentials().certificate for name in ("client", "server"))
    digests = {
        report_digest("server", b"n" * 32, one, b"f"),
        report_digest("client", b"n" * 32, one, b"f"),
        report_digest("server", b"m" * 32, one, b"f"),
        report_digest("server", b"n" * 32, other, b"f"),
        report_digest("server", b"n" * 32, one, b"g"),
    }
    assert len(digests) == 5


def test_the_naive_context_of_the_tests_really_is_naive() -> None:
    """Otherwise the attacks would fail for another reason."""
    context = naive(server=False)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)
