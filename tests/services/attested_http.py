"""A uvicorn server with attested TLS in a thread, on loopback; it keeps every request that reached the application."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from cloister.tls.course import Peer
from cloister.tls.uvicorn_server import EXTENSION, settings

__all__ = ["Application", "serving"]

SECONDS = 20.0


@dataclass
class Application:
    """An ASGI application that answers with the status of who asks. `requests` are the bodies that reached it."""

    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    peers: list[Peer | None] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/"

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        peer = scope["extensions"][EXTENSION]["peer"]
        self.requests.append(body)
        self.peers.append(peer)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send(
            {"type": "http.response.body", "body": b"anybody" if peer is None else str(peer.verdict.status).encode()}
        )


@contextlib.contextmanager
def serving(context: ssl.SSLContext, *, loop: str = "asyncio") -> Iterator[Application]:
    """Serve until the block ends."""
    application = Application()
    config = uvicorn.Config(
        application, log_config=None, lifespan="off", loop=loop, timeout_graceful_shutdown=2, **settings(context)
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        application.port = listening.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            end = time.monotonic() + SECONDS
            while not server.started and thread.is_alive() and time.monotonic() < end:
                time.sleep(0.01)
            assert server.started
            yield application
        finally:
            server.should_exit = True
            thread.join(SECONDS)
            assert not thread.is_alive()
