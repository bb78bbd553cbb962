"""Attacks on the runtime's TLS engine, from the network and from the other end. Each has its control: the same exchange, untouched."""

import os
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.property.tls_pieces.engine import Answer, Engine, Event, Identity, records
from tests.property.tls_pieces.identities import OpenSsl, known
from tests.property.tls_pieces.peer import (
    ALERT,
    CHANGE_CIPHER,
    DATA,
    HANDSHAKE,
    RETRY,
    BadClient,
    BadServer,
    Direction,
    extension,
    hello_extensions,
    message,
    plain_record,
    vector,
)

pytestmark = pytest.mark.needs_program("cc")

FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
UNEXPECTED, BAD_RECORD, OVERFLOW, HANDSHAKE_FAILURE, BAD_CERTIFICATE = 10, 20, 22, 40, 42
UNSUPPORTED_CERTIFICATE, ILLEGAL, DECODE, DECRYPT, VERSION, MISSING, UNSUPPORTED, REQUIRED = 43, 47, 50, 51, 70, 109, 110, 116


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine() as one:
        yield one


@pytest.fixture(scope="module")
def other() -> Iterator[Engine]:
    with Engine() as one:
        yield one


def refused(answer: Answer, alert: int) -> None:
    """It has ended by its own alert, and says so."""
    assert (answer.event, answer.alert, answer.from_peer, answer.data) == (Event.BROKEN, alert, False, b"")
    assert answer.sent


def server(engine: Engine, **more: object) -> Engine:
    engine.start(server=True, own=known("p256").identity, **more)  # type: ignore[arg-type]
    return engine


def said_hello(engine: Engine, **more: object) -> BadClient:
    """A client that knows the server's whole flight."""
    client = BadClient()
    client.take(server(engine, **more).feed(plain_record(HANDSHAKE, client.hello())).sent)
    return client


def connected(engine: Engine) -> tuple[Direction, Direction]:
    client = said_hello(engine)
    assert engine.feed(client.finish()).connected
    return client.connected()


# The records, once connected.


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0), (0, 0), (0, 2), (0, 1, 1)])
def test_replayed_reordered_and_dropped_records(engine: Engine, order: tuple[int, ...]) -> None:
    outgoing, _ = connected(engine)
    sealed = [outgoing.seal(DATA, bytes([number])) for number in range(3)]
    answer = engine.feed(b"".join(sealed[number] for number in order))
    right = bytes(number for at, number in enumerate(order) if order[: at + 1] == tuple(range(at + 1)))
    assert answer.data == right
    assert answer.broken == (order != (0, 1, 2))
    if answer.broken:
        assert answer.alert == BAD_RECORD


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
@FEW
def test_any_changed_bit_of_a_record(engine: Engine, at: int, bit: int) -> None:
    outgoing, _ = connected(engine)
    record = bytearray(outgoing.seal(DATA, b"the price is 100", padding=7))
    record[at % len(record)] ^= 1 << bit
    answer = engine.feed(bytes(record) + outgoing.seal(DATA, b"more") * 600)
    assert answer.broken
    assert answer.data == b""


def test_a_cut_stream_is_not_an_end(engine: Engine) -> None:
    outgoing, _ = connected(engine)
    assert engine.feed(outgoing.seal(DATA, b"half of it")).data == b"half of it"
    assert engine.stream_ended() is Event.BROKEN
    assert engine.feed(outgoing.seal(ALERT, b"\x01\0")).event is Event.END
    assert engine.stream_ended() is Event.END
    assert engine.feed(outgoing.seal(DATA, b"behind the end")).data == b""


def test_a_forged_end(engine: Engine) -> None:
    connected(engine)
    refused(engine.feed(plain_record(ALERT, b"\x01\0")), UNEXPECTED)
    assert engine.stream_ended() is Event.BROKEN


@pytest.mark.parametrize(
    ("inner", "alert"),
    [
        (b"\0" * 20, UNEXPECTED),  # no content at all
        (b"\x14\x01\x14", UNEXPECTED),  # ChangeCipherSpec, encrypted
        (b"x\x19", UNEXPECTED),  # a type that does not exist
        (b"\x16", UNEXPECTED),  # an empty part of a handshake
        (b"\x01\x15", DECODE),  # half an alert
        (bytes(1 << 14) + b"x\x17", OVERFLOW),
        (message(24, b"\x02") + b"\x16", ILLEGAL),  # KeyUpdate, neither requested nor not
        (message(24, b"\0\0") + b"\x16", UNEXPECTED),
        (message(24, b"\0") * 2 + b"\x16", UNEXPECTED),  # more behind the change of keys
        (message(4, bytes(40)) + b"\x16", UNEXPECTED),  # a ticket, for a server
        (message(1, bytes(40)) + b"\x16", UNEXPECTED),  # once more from the start
    ],
)
def test_what_may_not_be_in_a_record(engine: Engine, inner: bytes, alert: int) -> None:
    outgoing, _ = connected(engine)
    refused(engine.feed(outgoing.seal_inner(inner)), alert)


def test_nothing_between_the_parts_of_a_message(engine: Engine) -> None:
    outgoing, _ = connected(engine)
    answer = engine.feed(outgoing.seal(HANDSHAKE, message(24, b"\0")[:3]) + outgoing.seal(DATA, b"data"))
    refused(answer, UNEXPECTED)


@pytest.mark.parametrize("record", [b"\x17\x03\x03\x41\x01", b"\x17\x02\x03\0\x20", b"\x18\x03\x03\0\x20", b"\x17\x03\x03\0\0"])
def test_headers_that_none_may_have(engine: Engine, record: bytes) -> None:
    connected(engine)
    refused(engine.feed(record), DECODE)


def test_a_change_of_cipher_after_the_handshake(engine: Engine) -> None:
    connected(engine)
    refused(engine.feed(plain_record(CHANGE_CIPHER, b"\x01")), UNEXPECTED)


def test_a_peer_that_never_says_anything_is_sent_away(engine: Engine) -> None:
    outgoing, _ = connected(engine)
    answer = engine.feed(b"".join(outgoing.seal(DATA, b"") for _ in range(300)))
    refused(answer, UNEXPECTED)


def test_old_keys_are_gone_after_an_update(engine: Engine) -> None:
    outgoing, _ = connected(engine)
    engine.feed(outgoing.seal(HANDSHAKE, message(24, b"\0")))
    refused(engine.feed(outgoing.seal(DATA, b"with the old key")), BAD_RECORD)


# A server, and clients that misbehave.


def test_downgrades(engine: Engine) -> None:
    """A client, or somebody between, that wants an older version; of OpenSSL too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    peer = OpenSsl(context, server=False)
    refused(peer.shake(server(engine)), VERSION)
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        peer.tls.do_handshake()
    client = BadClient()
    without = hello_extensions(client.public)[1:]
    refused(server(engine).feed(plain_record(HANDSHAKE, client.hello(without))), VERSION)
    older = [extension(43, b"\x04\x03\x03\x03\x02"), *without]
    refused(server(engine).feed(plain_record(HANDSHAKE, client.hello(older))), VERSION)


@dataclass(frozen=True)
class Bad:
    """A hello with one thing wrong."""

    alert: int
    change: Callable[[list[bytes]], list[bytes]] = lambda offered: offered
    suites: bytes = b"\x13\x01"
    legacy: bytes = b"\x03\x03"
    compression: bytes = b"\0"


BAD_HELLOS = {
    "control": Bad(0),
    "no suite of ours": Bad(HANDSHAKE_FAILURE, suites=b"\x13\x04\xc0\x2f"),
    "no suites": Bad(DECODE, suites=b""),
    "half a suite": Bad(DECODE, suites=b"\x13\x01\x13"),
    "compression": Bad(ILLEGAL, compression=b"\x01\0"),
    "a later version": Bad(VERSION, legacy=b"\x03\x04"),
    "the same twice": Bad(ILLEGAL, lambda offered: [*offered, offered[0]]),
    "no groups": Bad(MISSING, lambda offered: [offered[0], *offered[2:]]),
    "no signatures": Bad(MISSING, lambda offered: [*offered[:2], offered[3]]),
    "no shares": Bad(MISSING, lambda offered: offered[:3]),
    "signatures of others": Bad(HANDSHAKE_FAILURE, lambda offered: [*offered[:2], extension(13, b"\0\x02\x08\x04"), offered[3]]),
    "an empty list": Bad(DECODE, lambda offered: [*offered[:2], extension(13, b"\0\0"), offered[3]]),
    "more than the list": Bad(DECODE, lambda offered: [*offered[:2], extension(13, b"\0\x02\x04\x03\0"), offered[3]]),
    "something behind a ticket": Bad(ILLEGAL, lambda offered: [extension(41, b""), *offered]),
    "a share of another size": Bad(ILLEGAL, lambda offered: [*offered[:3], extension(51, vector(b"\0\x1d" + vector(bytes(31), 2), 2))]),
    "two shares of a group": Bad(ILLEGAL, lambda offered: [*offered[:3], extension(51, vector((b"\0\x1d" + vector(b"x" * 32, 2)) * 2, 2))]),
    "a share of small order": Bad(ILLEGAL, lambda offered: [*offered[:3], extension(51, vector(b"\0\x1d" + vector(bytes(32), 2), 2))]),
    "a point off the curve": Bad(
        ILLEGAL, lambda offered: [*offered[:3], extension(51, vector(b"\0\x17" + vector(b"\x04" + bytes(63) + b"\x01", 2), 2))]
    ),
    "a compressed point": Bad(
        ILLEGAL, lambda offered: [*offered[:3], extension(51, vector(b"\0\x17" + vector(b"\x02" + bytes(32), 2), 2))]
    ),
    "a hundred extensions": Bad(ILLEGAL, lambda offered: [*offered, *(extension(5000 + i, b"") for i in range(100))]),
}


@pytest.mark.parametrize("name", BAD_HELLOS)
def test_bad_hellos(engine: Engine, name: str) -> None:
    bad, client = BAD_HELLOS[name], BadClient()
    offered = bad.change(hello_extensions(client.public))
    hello = client.hello(offered, suites=bad.suites, legacy=bad.legacy, compression=bad.compression)
    answer = server(engine).feed(plain_record(HANDSHAKE, hello))
    if bad.alert:
        refused(answer, bad.alert)
    else:
        assert not answer.broken


@given(data=st.data())
@FEW
def test_any_changed_byte_of_a_hello(engine: Engine, data: st.DataObject) -> None:
    """The server may answer; it is never connected with a client that said something else."""
    client = BadClient()
    hello = client.hello()
    at, value = data.draw(st.integers(0, len(hello) - 1)), data.draw(st.integers(0, 255))
    changed = hello[:at] + bytes([value]) + hello[at + 1 :]
    answer = server(engine).feed(plain_record(HANDSHAKE, changed))
    if changed == hello or answer.broken or not answer.sent:
        return
    try:
        client.take(answer.sent)
    except Exception:  # the client could not read the server's answer, so it would have ended here
        return
    assert not engine.feed(client.finish()).connected


@given(garbage=st.binary(min_size=1, max_size=600))
@FEW
def test_garbage_instead_of_a_hello(engine: Engine, garbage: bytes) -> None:
    for stream in (garbage, plain_record(HANDSHAKE, garbage), plain_record(HANDSHAKE, message(1, garbage))):
        answer = server(engine).feed(stream)
        assert not answer.connected
        assert answer.data == b""


def test_a_wrong_finished(engine: Engine) -> None:
    client = said_hello(engine)
    answer = engine.feed(client.finish(change=lambda code: code[:-1] + bytes([code[-1] ^ 1])))
    refused(answer, DECRYPT)
    assert not answer.connected
    refused(said_hello_and(engine, lambda code: code[:-1]), DECODE)


def said_hello_and(engine: Engine, change: Callable[[bytes], bytes]) -> Answer:
    client = said_hello(engine)
    return engine.feed(client.finish(change=change))


def test_data_before_finished(engine: Engine) -> None:
    client = said_hello(engine)
    refused(engine.feed(client.outgoing.seal(DATA, b"early")), UNEXPECTED)


def test_more_behind_finished_in_its_record(engine: Engine) -> None:
    refused(said_hello_and(engine, lambda code: code + message(24, b"\0")), DECODE)
    client = said_hello(engine)
    finished = client.schedule.finished(client.outgoing.secret)
    refused(engine.feed(client.outgoing.seal(HANDSHAKE, message(20, finished) + message(24, b"\0"))), UNEXPECTED)


def test_plaintext_after_the_hello(engine: Engine) -> None:
    client = said_hello(engine)
    finished = message(20, client.schedule.finished(client.outgoing.secret))
    refused(engine.feed(plain_record(HANDSHAKE, finished)), UNEXPECTED)


def test_messages_out_of_order(engine: Engine) -> None:
    for kind in (1, 2, 8, 11, 13, 15, 24):
        client = said_hello(engine)
        refused(engine.feed(client.outgoing.seal(HANDSHAKE, message(kind, bytes(8)))), UNEXPECTED)


def test_a_message_without_end(engine: Engine) -> None:
    refused(server(engine).feed(plain_record(HANDSHAKE, b"\x01\xff\xff\xff")), DECODE)


# Clients that must be known.

OWN = ("p256", "client")


def ask(engine: Engine, own: str | None = "client", **more: object) -> BadClient:
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
    assert engine.feed(outgoing.seal(HANDSHAKE, message(4, bytes(40)) * 3) + outgoing.seal(DATA, b"data")).data == b"data"
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
    "no Finished": (20, lambda one: message(24, b"\0"), UNEXPECTED),
    "no proof": (15, lambda one: b"", UNEXPECTED),
    "no certificate": (11, lambda one: message(11, b"\0\0\0\0"), DECODE),
    "half a certificate": (11, lambda one: message(11, one[4:-7]), DECODE),
    "not a certificate": (11, lambda one: message(11, b"\0" + vector(vector(b"x" * 50, 3) + b"\0\0", 3)), UNSUPPORTED_CERTIFICATE),
    "an answer to what was not asked": (8, lambda one: message(8, vector(extension(16, b"\0\x03\x02h2"), 2)), UNSUPPORTED),
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
        refused(engine.feed(plain_record(HANDSHAKE, peer.hello(hello, **changes))), alert)  # type: ignore[arg-type]


def test_the_mark_of_a_downgrade(engine: Engine) -> None:
    """A server that also has TLS 1.2, and somebody between who took TLS 1.3 from the hello."""
    peer, hello = client_of(engine)
    random = os.urandom(24) + b"DOWNGRD\x01"
    refused(engine.feed(plain_record(HANDSHAKE, peer.hello(hello, random=random, extensions=b""))), VERSION)


def test_requests_to_try_again(engine: Engine) -> None:
    version = extension(43, b"\x03\x04")
    other_group = version + extension(51, b"\0\x17")
    for extensions, alert in ((version, ILLEGAL), (version + extension(51, b"\0\x1d"), ILLEGAL), (version + extension(51, b"\0\x18"), ILLEGAL)):
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
