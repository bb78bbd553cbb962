"""The runtime's TLS engine against OpenSSL, against itself, and against published values."""

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.property.tls_pieces.engine import Engine, Event, Identity, records
from tests.property.tls_pieces.identities import KINDS, OpenSsl, known
from tests.property.tls_pieces.peer import HANDSHAKE, BadClient, expand_label, plain_record

pytestmark = pytest.mark.needs_program("cc")

LARGE = bytes(range(256)) * 200
FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
GROUPS = ("X25519", "prime256v1")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine() as one:
        yield one


@pytest.fixture(scope="module")
def other() -> Iterator[Engine]:
    with Engine() as one:
        yield one


def client_context(kind: str, group: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=known(kind).pem)
    if group != "X25519":
        context.set_ecdh_curve(group)
    return context


def exchange(engine: Engine, peer: OpenSsl) -> None:
    """Both ways, more than a record, a change of keys, and the end of both sides."""
    peer.tls.write(b"a question")
    assert engine.feed(peer.taken()).data == b"a question"
    peer.give(engine.write(LARGE) + engine.update() + engine.write(b"behind it"))
    assert peer.read_all() == LARGE + b"behind it"
    peer.tls.write(LARGE)
    assert engine.feed(peer.taken()).data == LARGE
    peer.give(engine.close())
    assert peer.read_all() == b""
    peer.tls.unwrap()
    assert engine.stream_ended() is Event.BROKEN  # not before its close_notify has come
    assert engine.feed(peer.taken()).event is Event.END
    assert engine.stream_ended() is Event.END


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("kind", KINDS)
def test_server_for_openssl(engine: Engine, kind: str, group: str) -> None:
    engine.start(server=True, own=known(kind).identity)
    peer = OpenSsl(client_context(kind, group), server=False, name="localhost")
    assert peer.shake(engine).connected
    assert peer.tls.version() == "TLSv1.3"
    exchange(engine, peer)


@pytest.mark.parametrize("mutual", [False, True])
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("kind", KINDS)
def test_client_of_openssl(engine: Engine, kind: str, group: str, *, mutual: bool, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(known(kind).file(tmp_path))
    if group != "X25519":
        context.set_ecdh_curve(group)  # so the server asks for another share first
    own = known("p256", "client")
    if mutual:
        context.load_verify_locations(cadata=own.pem)
        context.verify_mode = ssl.CERT_REQUIRED
    peer = OpenSsl(context, server=True)
    identity = own.identity if mutual else Identity()
    first = engine.start(server=False, own=identity, pins=(known(kind).pin,), name="localhost").sent
    assert peer.shake(engine, first).connected
    assert peer.tls.getpeercert(binary_form=True) == (own.certificate if mutual else None)
    exchange(engine, peer)


@pytest.mark.parametrize("kind", KINDS)
def test_client_certificates_are_asked_for(engine: Engine, kind: str, tmp_path: Path) -> None:
    own = known(kind, "client")
    context = client_context("p256", "X25519")
    context.load_cert_chain(own.file(tmp_path))
    engine.start(server=True, own=known("p256").identity, pins=(own.pin,), wants=True, requires=True)
    peer = OpenSsl(context, server=False, name="localhost")
    assert peer.shake(engine).connected
    exchange(engine, peer)


def test_a_client_without_certificate_where_none_is_required(engine: Engine) -> None:
    engine.start(server=True, own=known("p256").identity, pins=(known("p256", "client").pin,), wants=True)
    peer = OpenSsl(client_context("p256", "X25519"), server=False, name="localhost")
    assert peer.shake(engine).connected


@pytest.mark.parametrize("suite", ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"])
def test_every_suite(engine: Engine, suite: str) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("not installed: openssl")
    engine.start(server=True, own=known("p256").identity)
    ours, theirs = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        command = [
            "openssl",
            "s_client",
            "-connect",
            f"127.0.0.1:{listening.getsockname()[1]}",
            "-ciphersuites",
            suite,
            "-quiet",
        ]
        with subprocess.Popen(
            command, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=subprocess.DEVNULL
        ) as client:
            connection, _ = listening.accept()
            with connection, ours:
                while not engine.feed(b"").connected:
                    connection.sendall(engine.feed(connection.recv(1 << 16)).sent)
                connection.sendall(engine.write(LARGE))
                received = b""
                while len(received) < len(LARGE):
                    received += ours.recv(1 << 16)
                assert received == LARGE
                ours.sendall(b"typed")
                assert engine.feed(connection.recv(1 << 16)).data == b"typed"
            client.kill()
    theirs.close()


@pytest.mark.parametrize("suite", [0x1301, 0x1302, 0x1303])
@FEW
@given(data=st.data())
def test_in_any_pieces(engine: Engine, suite: int, data: st.DataObject) -> None:
    """A hello in records of any size, and the stream in pieces of any size."""
    engine.start(server=True, own=known("p256").identity)
    client = BadClient()
    client.schedule.suite = suite
    hello = client.hello(suites=suite.to_bytes(2, "big"))
    record_sizes = data.draw(st.lists(st.integers(1, len(hello)), max_size=8))
    stream = b""
    for size in [*record_sizes, len(hello)]:
        if hello[:size]:
            stream += plain_record(HANDSHAKE, hello[:size])
        hello = hello[size:]
    answered = b""
    for piece in cut(data, stream):
        answered += engine.feed(piece).sent
    client.take(answered)
    for piece in cut(data, client.finish()):
        engine.feed(piece)
    assert engine.feed(b"").connected
    outgoing, incoming = client.connected()
    stream = outgoing.seal(23, b"first", padding=300) + outgoing.seal(23, b"") + outgoing.seal(23, b"second")
    assert b"".join(engine.feed(piece).data for piece in cut(data, stream)) == b"firstsecond"
    assert incoming.open(engine.write(b"answer")) == (23, b"answer")


def cut(data: st.DataObject, stream: bytes) -> list[bytes]:
    places = sorted(set(data.draw(st.lists(st.integers(0, len(stream)), max_size=6))))
    return [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]


def shake(client: Engine, server: Engine, *, mutual: bool = False) -> None:
    """Two engines."""
    own = known("ed25519", "client")
    sent = client.start(
        server=False, own=own.identity if mutual else Identity(), pins=(known("p256").pin,), name="x.test"
    ).sent
    server.start(
        server=True, own=known("p256").identity, pins=(own.pin,) if mutual else (), wants=mutual, requires=mutual
    )
    back = client.feed(server.feed(sent).sent)
    assert back.connected
    assert server.feed(back.sent).connected


@pytest.mark.parametrize("mutual", [False, True])
def test_two_engines(engine: Engine, other: Engine, *, mutual: bool) -> None:
    shake(engine, other, mutual=mutual)
    assert other.feed(engine.write(LARGE)).data == LARGE
    assert engine.feed(other.write(LARGE)).data == LARGE


def test_keys_change_before_they_are_used_too_often(engine: Engine, other: Engine) -> None:
    shake(engine, other)
    engine.set_sequence((1 << 23) - 1)
    first = engine.write(b"the last one with these keys")
    second = records(engine.write(b"the first one with the next"))
    assert len(records(first)) == 1
    assert len(second) == 2  # KeyUpdate before it


@pytest.mark.parametrize("requested", [0, 1])
def test_key_updates_of_the_peer(engine: Engine, requested: int) -> None:
    client = BadClient()
    engine.start(server=True, own=known("p256").identity)
    client.take(engine.feed(plain_record(HANDSHAKE, client.hello())).sent)
    assert engine.feed(client.finish()).connected
    outgoing, incoming = client.connected()
    answer = engine.feed(outgoing.seal(HANDSHAKE, bytes([24, 0, 0, 1, requested])))
    if requested:
        assert incoming.open(answer.sent) == (HANDSHAKE, bytes([24, 0, 0, 1, 0]))
        incoming = incoming.next()
    else:
        assert not answer.sent
    assert engine.feed(outgoing.next().seal(23, b"with new keys")).data == b"with new keys"
    assert incoming.open(engine.write(b"likewise")) == (23, b"likewise")


def test_published_values(engine: Engine) -> None:
    """RFC 8448, section 3; and the model that the attacks use gives the same."""
    handshake = bytes.fromhex("1dc826e93606aa6fdc0aadc12f741b01046aa6b99f691ed221a9f0ca043fbeac")
    digest = bytes.fromhex("860c06edc07858ee8e78f0e7428c58edd6b43f2ca3e6e95f02ed063cf0e1cad8")
    server = bytes.fromhex("b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38")
    for expand in (expand_label, engine.expand_label):
        assert expand("sha256", handshake, b"s hs traffic", digest, 32) == server
        assert expand("sha256", server, b"key", b"", 16).hex() == "3fce516009c21727d0f2e4e86ee403bc"
        assert expand("sha256", server, b"iv", b"", 12).hex() == "5d313eb2671276ee13000b30"


@given(secret=st.binary(min_size=48, max_size=48), label=st.binary(max_size=12), context=st.binary(max_size=48))
@FEW
def test_labels_with_sha384(engine: Engine, secret: bytes, label: bytes, context: bytes) -> None:
    label = label.replace(b"\0", b"x")
    assert engine.expand_label("sha384", secret, label, context, 48) == expand_label(
        "sha384", secret, label, context, 48
    )
