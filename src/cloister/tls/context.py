"""TLS contexts that verify evidence: for `ssl`, asyncio, httpx, uvicorn, and whatever else takes an `ssl.SSLContext`.

    context = client_context(demand("app.toml"))
    with socket.create_connection(address) as plain, context.wrap_socket(plain, server_hostname="db") as tls: ...
    httpx.Client(verify=context)

    uvicorn.Config(app, ssl_context_factory=lambda *_: server_context(Identity(provider)))

TLS 1.3 only; no tickets and no resumption, so no 0-RTT either, which Python does not offer; TLS 1.3 has no
renegotiation. The names in certificates are not checked, and cannot be made to be: see `Peer`.
"""

import ssl
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Final

from cloister.tls.certificate import Credentials
from cloister.tls.connection import AttestedObject, AttestedSocket
from cloister.tls.course import Ends
from cloister.tls.demands import Demands
from cloister.tls.freshness import MARK
from cloister.tls.gate import Gate, watch
from cloister.tls.identity import Identity, load
from cloister.tls.refusal import PeerRefused

__all__ = ["AttestedContext", "client_context", "server_context"]

NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME: the certificate's dates are checked by `Demands`, by its clock, with an explanation."""

NO_RX_CERTIFICATE_COMPRESSION: Final = 1 << 33
"""SSL_OP_NO_RX_CERTIFICATE_COMPRESSION (OpenSSL 3.2): the gate sees no compressed certificates, and refuses them."""

Report = Callable[[PeerRefused], None]


def client_context(
    demands: Demands, *, identity: Identity | None = None, report: Report | None = None
) -> ssl.SSLContext:
    """For clients: no byte of a request leaves before the server's evidence is verified.

    `identity` is shown to servers that ask for one (mutual attestation). `report` is called with each refusal.
    """
    return AttestedContext(ssl.PROTOCOL_TLS_CLIENT, demands=demands, identity=identity, report=report)


def server_context(
    identity: Identity, *, demands: Demands | None = None, report: Report | None = None
) -> ssl.SSLContext:
    """For servers. With `demands` clients must be attested too: nothing of a request is read from one that is not.

    `report` is called with each refusal: asyncio and uvicorn drop the exception.
    """
    return AttestedContext(ssl.PROTOCOL_TLS_SERVER, demands=demands, identity=identity, report=report)


class ConnectionContext(ssl.SSLContext):
    """The context of one connection, or of all those of a server that demands nothing."""

    sslsocket_class = AttestedSocket
    sslobject_class = AttestedObject
    ends: Ends
    parent: "AttestedContext"
    used = False

    def wrap_socket(self, *args: Any, **settings: Any) -> ssl.SSLSocket:  # noqa: ANN401 - as in ssl
        """The first time, for this connection. A listening socket wraps what it accepts: each gets a new context."""
        if self.used:
            return self.parent.wrap_socket(*args, **settings)
        self.used = self.ends.gate is not None
        return super().wrap_socket(*args, **settings)


class AttestedContext(ssl.SSLContext):
    """Makes a context of its own for each connection. Made by `client_context` and `server_context`."""

    def __init__(
        self, protocol: int, *, demands: Demands | None, identity: Identity | None, report: Report | None
    ) -> None:
        super().__init__()
        self._server = protocol == ssl.PROTOCOL_TLS_SERVER
        self._demands, self._identity, self._report = demands, identity, report
        self._protocols: tuple[str, ...] = ()
        self._shared: tuple[Credentials, ConnectionContext] | None = None
        restrict(self, demanding=True)  # whoever gets around wrap_socket meets an empty trust store

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        """What the application speaks; the mark of the freshness exchange comes before it."""
        self._protocols, self._shared = tuple(alpn_protocols), None

    def wrap_socket(
        self,
        sock: Any,  # noqa: ANN401
        server_side: bool = False,  # noqa: FBT001, FBT002
        do_handshake_on_connect: bool = True,  # noqa: FBT001, FBT002
        suppress_ragged_eofs: bool = True,  # noqa: FBT001, FBT002
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLSocket:
        """As in ssl. ValueError for a session, which would show no certificate."""
        return self._context(server_side, session).wrap_socket(
            sock, server_side=server_side, do_handshake_on_connect=do_handshake_on_connect,
            suppress_ragged_eofs=suppress_ragged_eofs, server_hostname=server_hostname,
        )  # fmt: skip

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """As in ssl. ValueError for a session, which would show no certificate."""
        return self._context(server_side, session).wrap_bio(
            incoming, outgoing, server_side=server_side, server_hostname=server_hostname
        )

    def _context(self, server_side: bool, session: object) -> ConnectionContext:  # noqa: FBT001 - as in ssl
        if session is not None:
            raise ValueError("attested TLS resumes no sessions: a resumed one shows no certificate")
        if bool(server_side) != self._server:
            kind, method = ("server", "server_context") if server_side else ("client", "client_context")
            raise ValueError(f"this context is not for a {kind}: make one with {method}")
        credentials = None if self._identity is None else self._identity.credentials()
        if self._demands is not None or credentials is None:
            return self._make(credentials)
        if self._shared is None or self._shared[0] is not credentials:
            self._shared = credentials, self._make(credentials)
        return self._shared[1]

    def _make(self, credentials: Credentials | None) -> ConnectionContext:
        made = ConnectionContext(ssl.PROTOCOL_TLS_SERVER if self._server else ssl.PROTOCOL_TLS_CLIENT)
        restrict(made, demanding=self._demands is not None)
        gate = None if self._demands is None else Gate(self._demands, trusting(made))
        if gate is not None:
            watch(made, gate)
        if credentials is not None:
            load(made, credentials)
        if self._offered:
            made.set_alpn_protocols(self._offered)
        made.parent, made.ends = self, Ends(
            server=self._server, gate=gate, demands=self._demands, identity=self._identity,
            own=None if credentials is None else credentials.certificate, report=self._report,
        )  # fmt: skip
        return made

    @property
    def _offered(self) -> list[str]:
        """ALPN: a client that demands freshness offers nothing else, so that it is not settled otherwise."""
        fresh = self._demands is not None and self._demands.fresh
        if fresh and not self._server:
            return [MARK]
        return [MARK, *self._protocols] if self._identity is not None else list(self._protocols)


def trusting(context: ssl.SSLContext) -> Callable[[bytes], None]:
    """What puts one certificate into a context's trust store.

    It does not keep the context alive: a context that held itself would stay, with its keys, until Python looks for
    circles.
    """
    held = weakref.ref(context)

    def trust(certificate: bytes) -> None:
        alive = held()
        if alive is None:
            raise ReferenceError("the connection is over")
        alive.load_verify_locations(cadata=certificate)

    return trust


def restrict(context: ssl.SSLContext, *, demanding: bool) -> None:
    """TLS 1.3, full handshakes, and with `demanding` a peer whose certificate is in the (empty) trust store."""
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED if demanding else ssl.CERT_NONE
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags = ssl.VerifyFlags(ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME)
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.options |= NO_RX_CERTIFICATE_COMPRESSION
    if context.protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0
