"""Attested TLS in uvicorn: `uvicorn.Config(app, **settings(context))`, and the application learns who asks.

Needs uvicorn with `ssl_context_factory` (tested with 0.54); Cloister itself does not depend on it.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

from cloister.tls.connection import peer_of
from cloister.tls.course import Peer

__all__ = ["EXTENSION", "AttestedProtocol", "settings"]

EXTENSION: Final = "cloister.tls"
"""The key under `scope["extensions"]` of each request; its value is `{"peer": Peer or None}`."""

Application = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]


class AttestedProtocol(H11Protocol):
    """HTTP/1.1 on an attested connection. It is made after the handshake; another kind of connection is closed."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Look up the peer, and put it before every request of the connection."""
        try:
            peer = peer_of(transport.get_extra_info("ssl_object"))
        except TypeError:
            transport.abort()
            raise
        self.app = telling(self.app, peer)
        super().connection_made(transport)


def telling(app: Application, peer: Peer | None) -> Application:
    """The application, with the peer in each request's scope."""

    async def told(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's
        extensions = {**(scope.get("extensions") or {}), EXTENSION: {"peer": peer}}
        await app({**scope, "extensions": extensions}, receive, send)

    return told


def settings(context: ssl.SSLContext) -> dict[str, Any]:
    """Arguments of `uvicorn.Config` for a context of `server_context`. No WebSockets: nothing tells them who asks."""
    return {"ssl_context_factory": lambda *_: context, "http": AttestedProtocol, "ws": "none"}
