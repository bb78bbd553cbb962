"""Attacks on the runtime's TLS engine as a server, and on its records. Each has its control: the same, untouched."""

import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.property.tls_pieces.attacking import (
    BAD_RECORD,
    DECODE,
    DECRYPT,
    HANDSHAKE_FAILURE,
    ILLEGAL,
    MISSING,
    OVERFLOW,
    UNEXPECTED,
    VERSION,
    connected,
    refused,
    said_hello,
    server,
)
from tests.property.tls_pieces.engine import Answer, Engine, Event
from tests.property.tls_pieces.identities import OpenSsl
from tests.property.tls_pieces.peer import (
    ALERT,
    CHANGE_CIPHER,
    DATA,
    HANDSHAKE,
    BadClient,
    extension,
    hello_extensions,
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


@pytest.mark.parametrize(
    "record", [b"\x17\x03\x03\x41\x01", b"\x17\x02\x03\0\x20", b"\x18\x03\x03\0\x20", b"\x17\x03\x03\0\0"]
)
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
    "signatures of others": Bad(
        HANDSHAKE_FAILURE, lambda offered: [*offered[:2], extension(13, b"\0\x02\x08\x04"), offered[3]]
    ),
    "an empty list": Bad(DECODE, lambda offered: [*offered[:2], extension(13, b"\0\0"), offered[3]]),
    "more than the list": Bad(DECODE, lambda offered: [*offered[:2], extension(13, b"\0\x02\x04\x03\0"), offered[3]]),
    "something behind a ticket": Bad(ILLEGAL, lambda offered: [extension(41, b""), *offered]),
    "a share of another size": Bad(
        ILLEGAL, lambda offered: [*offered[:3], extension(51, vector(b"\0\x1d" + vector(bytes(31), 2), 2))]
    ),
    "two shares of a group": Bad(
        ILLEGAL, lambda offered: [*offered[:3], extension(51, vector((b"\0\x1d" + vector(b"x" * 32, 2)) * 2, 2))]
    ),
    "a share of small order": Bad(
        ILLEGAL, lambda offered: [*offered[:3], extension(51, vector(b"\0\x1d" + vector(bytes(32), 2), 2))]
    ),
    "a point off the curve": Bad(
        ILLEGAL,
        lambda offered: [*offered[:3], extension(51, vector(b"\0\x17" + vector(b"\x04" + bytes(63) + b"\x01", 2), 2))],
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
    except (
        InvalidTag,
        ValueError,
        IndexError,
    ):  # the client could not read the server's answer, so it would have ended here
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
