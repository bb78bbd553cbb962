"""Both ends of attested TLS for tests: forged SGX evidence, honest and hostile certificates, and a conversation."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.forge import ratls
from tests.forge.every import intel
from tests.forge.intel import enclave_report
from tests.forge.x509 import NOW

from cloister._x509 import Certificate
from cloister.appraise.parse_policy import parse_policy
from cloister.errors import CloisterError
from cloister.tls import Demands, Identity, Peer, PeerRefused, demand, peer_of
from cloister.tls.certificate import Credentials
from cloister.tls.identity import load

__all__ = [
    "EXPECTED",
    "End",
    "Recording",
    "converse",
    "credentials",
    "demands",
    "genuine",
    "hostile",
    "identity",
    "naive",
    "own_key",
    "quote",
    "refusal",
]

SECONDS = 20.0
MRENCLAVE = bytes(range(32))
EXPECTED = f"""\
accept_anchors = ["testing"]

[sgx]
mrenclave = "{MRENCLAVE.hex()}"
debug = false
"""
"""The policy that names the forged enclave."""


def quote(report_data: bytes, **changes: Any) -> bytes:
    """An SGX quote under forged roots; `changes` replace members of the enclave's report."""
    members: dict[str, Any] = {"mrenclave": MRENCLAVE, "report_data": report_data} | changes
    return intel().sgx_quote(body=enclave_report(**members))


def demands(policy: str = EXPECTED, **settings: Any) -> Demands:
    """What the forged enclave fulfils."""
    given: dict[str, Any] = {
        "anchors": intel().anchors, "endorsements": intel().endorsements(), "clock": lambda: NOW,
    }  # fmt: skip
    return demand(parse_policy(policy), **given | settings)


def identity(provider: Callable[[bytes], bytes] = quote, **settings: Any) -> Identity:
    """An attester under the forged Intel."""
    return Identity(provider, **{"clock": lambda: NOW} | settings)


def credentials(key: ratls.Key, *certificates: Certificate) -> Credentials:
    """What a hostile or foreign attester shows, the leaf first."""
    passphrase = b"only here"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase),
    )
    pem = b"".join([*(ratls.armoured(one.encoded) for one in certificates), private])
    return Credentials(certificate=certificates[0], pem=pem, passphrase=passphrase)


def naive(*, server: bool, shows: Credentials | None = None, protocols: tuple[str, ...] = ()) -> ssl.SSLContext:
    """A context that checks nothing: what an attacker uses."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if shows is not None:
        load(context, shows)
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


def hostile(key: ratls.Key, *extensions: tuple[str, bytes]) -> ssl.SSLContext:
    """A server with a certificate of this key that carries these extensions."""
    return naive(server=True, shows=credentials(key, ratls.certificate(key, extensions)))


@dataclass
class End:
    """What one end came to: what it received, whom it found, how it failed."""

    received: bytes = b""
    peer: Peer | None = None
    error: Exception | None = None
    connection: ssl.SSLSocket | None = field(default=None, repr=False)
    session: ssl.SSLSession | None = field(default=None, repr=False)
    resumed: bool | None = None
    protocol: str | None = None


def own_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def genuine(key: ratls.Key) -> tuple[str, bytes]:
    """The extension that an honest attester with this key has."""
    return ratls.dice_extension(quote, ratls.claims_for(key))


def refusal(end: End, why: type[CloisterError] | None) -> PeerRefused:
    """The refusal at this end, for this reason."""
    assert isinstance(end.error, PeerRefused), end
    assert why is None or type(end.error.error) is why, repr(end.error.error)
    return end.error


def converse(
    client: ssl.SSLContext, server: ssl.SSLContext, *, lazily: bool = False, request: bytes = b"request"
) -> tuple[End, End]:
    """The client sends a request, the server answers; (client, server). `lazily` leaves the handshake to send()."""
    ends = End(), End()
    left, right = socket.socketpair()

    def answer() -> None:
        with _held(right, ends[1]):
            tls = server.wrap_socket(right, server_side=True)
            ends[1].connection = tls
            ends[1].received = tls.recv(1024)
            ends[1].peer, ends[1].protocol = _peer(tls), tls.selected_alpn_protocol()
            tls.send(b"answer")

    thread = threading.Thread(target=answer)
    thread.start()
    with _held(left, ends[0]):
        tls = client.wrap_socket(left, do_handshake_on_connect=not lazily, server_hostname="localhost")
        ends[0].connection = tls
        tls.send(request)
        ends[0].received = tls.recv(1024)
        ends[0].peer, ends[0].protocol = _peer(tls), tls.selected_alpn_protocol()
        ends[0].session, ends[0].resumed = tls.session, tls.session_reused
    thread.join(SECONDS)
    assert not thread.is_alive(), "the server did not end"
    for end in ends:
        if end.connection is not None:
            end.connection.close()
    return ends


@contextlib.contextmanager
def _held(plain: socket.socket, end: End) -> Any:
    plain.settimeout(SECONDS)
    try:
        yield
    except Exception as error:  # noqa: BLE001 - what happened to this end is what the test asks about
        end.error = error
    finally:
        if end.connection is None or end.error is not None:
            plain.close()
            if end.connection is not None:
                end.connection.close()


def _peer(tls: ssl.SSLSocket) -> Peer | None:
    try:
        return peer_of(tls)
    except TypeError:  # a naive context's
        return None


class Recording:
    """A TLS server that takes one connection and keeps what it decrypts: (url, what it was)."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context, self.received = context, list[bytes]()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self.take)

    def take(self) -> None:
        plain, _ = self.listening.accept()
        plain.settimeout(SECONDS)
        try:
            with self.context.wrap_socket(plain, server_side=True) as tls:
                self.received.append(tls.recv(1024))
        except OSError:
            self.received.append(b"")
        finally:
            plain.close()

    def __enter__(self) -> tuple[str, list[bytes]]:
        self.thread.start()
        return f"https://127.0.0.1:{self.listening.getsockname()[1]}/", self.received

    def __exit__(self, *_: object) -> None:
        self.thread.join(SECONDS)
        self.listening.close()
        assert not self.thread.is_alive()
