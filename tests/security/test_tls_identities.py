"""Who is at the other end of the TLS engine: clients and servers that are not who they should be, or misbehave."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.property.tls_pieces.attacking import (
    BAD_CERTIFICATE,
    DECODE,
    DECRYPT,
    ILLEGAL,
    MISSING,
    REQUIRED,
    UNEXPECTED,
    UNSUPPORTED,
    UNSUPPORTED_CERTIFICATE,
    VERSION,
    refused,
    said_hello,
    server,
)
from tests.property.tls_pieces.engine import Engine, Event, Identity, records
from tests.property.tls_pieces.identities import known
from tests.property.tls_pieces.peer import (
    DATA,
    HANDSHAKE,
    RETRY,
    BadClient,
    BadServer,
    extension,
    message,
    plain_record,
    vector,
)

pytestmark = pytest.mark.needs_program("cc")

FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine() as one:
        yield one


@pytest.fixture(scope="module")
def other() -> Iterator[Engine]:
    with Engine() as one:
        yield one


OWN = ("p256", "client")


def ask(engine: Engine, own: str | None = "client") -> BadClient:
    one = known("p256", own) if own else None
    client = said_hello(engine, pins=(known(*OWN).pin,), wants=True, requires=True)
    if one:
        client.chain, client.key = one.identity.chain, one.key  # type: ignore[assignment]
    return client


def test_a_known_client(engine: Engine) -> None:
    assert engine.feed(ask(engine).finish(identity=lambda proof: proof)).connected


def test_clients_that_are_not_known(engine: Engine) -> None:
    refused(engine.feed(ask(engine, "somebody").finish(identity=lambda proof: proof)), BAD_CERTIFICATE)
    refused(engine.feed(ask(engine, None).finish(identity=lambda proof: proof)), REQUIRED)
    refused(engine.feed(ask(engine, None).finish()), UNEXPECTED)  # nothing at all instead of a certificate


def test_a_known_certificate_without_its_key(engine: Engine) -> None:
    client = ask(engine)
    client.key = known("p256", "somebody").key  # type: ignore[assignment]
    refused(engine.feed(client.finish(identity=lambda proof: proof)), DECRYPT)
    client = ask(engine)
    client.key = None
    refused(engine.feed(client.finish(identity=lambda proof: proof)), UNEXPECTED)  # no proof at all


def test_a_proof_for_another_role_or_scheme(engine: Engine) -> None:
    refused(engine.feed(ask(engine).finish(identity=lambda proof: proof, who=b"server")), DECRYPT)
    refused(engine.feed(ask(engine).finish(identity=lambda proof: b"\x08\x07" + proof[2:])), DECRYPT)
    refused(engine.feed(ask(engine).finish(identity=lambda proof: b"\x02\x03" + proof[2:])), ILLEGAL)
    refused(engine.feed(ask(engine).finish(identity=lambda proof: proof + b"\0")), DECODE)


# A client, and servers that misbehave.


def client_of(engine: Engine, label: str = "localhost") -> tuple[BadServer, bytes]:
    """A server, and the engine's hello to it."""
    one = known("p256", label)
    hello = engine.start(server=False, pins=(known("p256").pin,), name="x.test").sent[5:]
    return BadServer(chain=one.identity.chain, key=one.key), hello  # type: ignore[arg-type]


def test_a_good_server(engine: Engine) -> None:
    peer, hello = client_of(engine)
    answer = engine.feed(peer.answer(hello, hello[-32:]))
    assert answer.connected
    outgoing, incoming = peer.connected()
    assert (
        engine.feed(outgoing.seal(HANDSHAKE, message(4, bytes(40)) * 3) + outgoing.seal(DATA, b"data")).data == b"data"
    )
    assert incoming.open(engine.write(b"question")) == (DATA, b"question")


def test_a_server_with_another_key(engine: Engine) -> None:
    peer, hello = client_of(engine, "somebody")
    refused(engine.feed(peer.answer(hello, hello[-32:])), BAD_CERTIFICATE)
    peer.chain = known("p256").identity.chain  # the right certificate, which everybody can have
    _, hello = client_of(engine)
    refused(engine.feed(peer.answer(hello, hello[-32:])), DECRYPT)


def test_a_pinned_certificate_behind_the_first(engine: Engine) -> None:
    peer, hello = client_of(engine, "somebody")
    peer.chain = (*peer.chain, *known("p256").identity.chain)
    refused(engine.feed(peer.answer(hello, hello[-32:])), BAD_CERTIFICATE)


CHANGED_FLIGHTS = {
    "a wrong Finished": (20, lambda one: one[:-1] + bytes([one[-1] ^ 1]), DECRYPT),
    "no Finished": (20, lambda _: message(24, b"\0"), UNEXPECTED),
    "no proof": (15, lambda _: b"", UNEXPECTED),
    "no certificate": (11, lambda _: message(11, b"\0\0\0\0"), DECODE),
    "half a certificate": (11, lambda one: message(11, one[4:-7]), DECODE),
    "not a certificate": (
        11,
        lambda _: message(11, b"\0" + vector(vector(b"x" * 50, 3) + b"\0\0", 3)),
        UNSUPPORTED_CERTIFICATE,
    ),
    "an answer to what was not asked": (
        8,
        lambda _: message(8, vector(extension(16, b"\0\x03\x02h2"), 2)),
        UNSUPPORTED,
    ),
    "extensions of a certificate": (11, lambda one: one[:-2] + b"\0\x04\0\x05\0\0", DECODE),
    "PKCS #1": (15, lambda one: message(15, b"\x04\x01" + one[6:]), ILLEGAL),
    "SHA-1": (15, lambda one: message(15, b"\x02\x03" + one[6:]), ILLEGAL),
}


@pytest.mark.parametrize("name", CHANGED_FLIGHTS)
def test_changed_flights(engine: Engine, name: str) -> None:
    kind, change, alert = CHANGED_FLIGHTS[name]
    peer, hello = client_of(engine)
    refused(engine.feed(peer.answer(hello, hello[-32:], {kind: change})), alert)


def test_a_proof_made_for_clients(engine: Engine) -> None:
    peer, hello = client_of(engine)
    refused(engine.feed(peer.answer(hello, hello[-32:], who=b"client")), DECRYPT)


def test_server_hellos_with_one_thing_wrong(engine: Engine) -> None:
    share = extension(51, b"\0\x1d" + vector(b"\x09" + bytes(31), 2))
    version = extension(43, b"\x03\x04")
    point = extension(51, b"\0\x17" + vector(b"\x04" + bytes(64), 2))
    wrong: list[tuple[dict[str, bytes], int]] = [
        ({"legacy": b"\x03\x04"}, VERSION),
        ({"session": b"\x07another"}, ILLEGAL),
        ({"suite": b"\x13\x05"}, ILLEGAL),
        ({"suite": b"\xc0\x2f"}, ILLEGAL),
        ({"compression": b"\x01"}, ILLEGAL),
        ({"extensions": share}, VERSION),  # TLS 1.2
        ({"extensions": extension(43, b"\x03\x03") + share}, ILLEGAL),
        ({"extensions": version}, MISSING),
        ({"extensions": version + point}, ILLEGAL),  # a group for which no share was sent
        ({"extensions": version + extension(51, b"\0\x1d" + vector(bytes(32), 2))}, ILLEGAL),
        ({"more": extension(41, b"\0\0")}, UNSUPPORTED),
        ({"more": version}, ILLEGAL),
    ]
    for changes, alert in wrong:
        peer, hello = client_of(engine)
        refused(engine.feed(plain_record(HANDSHAKE, peer.hello(hello, **changes))), alert)


def test_the_mark_of_a_downgrade(engine: Engine) -> None:
    """A server that also has TLS 1.2, and somebody between who took TLS 1.3 from the hello."""
    peer, hello = client_of(engine)
    random = os.urandom(24) + b"DOWNGRD\x01"
    refused(engine.feed(plain_record(HANDSHAKE, peer.hello(hello, random=random, extensions=b""))), VERSION)


def test_requests_to_try_again(engine: Engine) -> None:
    version = extension(43, b"\x03\x04")
    other_group = version + extension(51, b"\0\x17")
    for extensions, alert in (
        (version, ILLEGAL),
        (version + extension(51, b"\0\x1d"), ILLEGAL),
        (version + extension(51, b"\0\x18"), ILLEGAL),
    ):
        peer, hello = client_of(engine)
        retry = peer.hello(hello, random=RETRY, extensions=extensions)
        refused(engine.feed(plain_record(HANDSHAKE, retry)), alert)
    peer, hello = client_of(engine)
    retry = plain_record(HANDSHAKE, peer.hello(hello, random=RETRY, extensions=other_group))
    assert not engine.feed(retry).broken
    refused(engine.feed(retry), UNEXPECTED)  # and once more


@given(at=st.integers(0, 100_000), bit=st.integers(0, 7))
@FEW
def test_any_changed_bit_of_a_servers_flight(engine: Engine, other: Engine, at: int, bit: int) -> None:
    sent = engine.start(server=False, pins=(known("p256").pin,)).sent
    flight = bytearray(server(other).feed(sent).sent)
    at %= len(flight)
    flight[at] ^= 1 << bit
    answer = engine.feed(bytes(flight))
    versions = {sum(map(len, records(bytes(flight))[:n])) + 2 for n in range(3)}
    if at in versions - {max(versions)}:
        assert not answer.broken  # of unencrypted records the minor version says nothing (section 5.1)
    else:
        assert not answer.connected


@given(cut=st.integers(0, 100_000))
@FEW
def test_a_cut_handshake(engine: Engine, other: Engine, cut: int) -> None:
    sent = engine.start(server=False, pins=(known("p256").pin,)).sent
    flight = server(other).feed(sent).sent
    assert not engine.feed(flight[: cut % len(flight)]).connected
    assert engine.stream_ended() is Event.BROKEN


@pytest.mark.parametrize(
    "use",
    [
        {"server": True},
        {"server": True, "own": known(*OWN).identity, "requires": True},
        {"server": True, "own": known(*OWN).identity, "wants": True, "requires": True},
        {"server": True, "own": Identity((b"",), known(*OWN).identity.key)},
        {"server": True, "own": Identity((b"x" * 13_000,), known(*OWN).identity.key)},
        {"server": False},
        {"server": False, "pins": (bytes(32),), "name": "x" * 256},
        {"server": False, "pins": (bytes(32),), "own": Identity((b"x",))},
    ],
)
def test_configurations_that_would_let_everybody_in(engine: Engine, use: dict[str, object]) -> None:
    assert engine.start(**use).event is Event.UNUSABLE  # type: ignore[arg-type]
