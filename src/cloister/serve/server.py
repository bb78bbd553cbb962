"""Listening: a socket, TLS, uvicorn; until a signal says stop."""

import gc
import os
import signal
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvicorn

from cloister.errors import UsageError
from cloister.serve.accepting import Acceptor
from cloister.serve.app import Application
from cloister.serve.connection import BoundedProtocol
from cloister.serve.metrics import Metrics

__all__ = ["STOPPING_SECONDS", "Listening", "Server", "bind", "run_until_stopped", "server_for"]

MOST_CONNECTIONS: Final = 1000
BACKLOG: Final = 512
STOPPING_SECONDS: Final = 10
KEEP_ALIVE_SECONDS: Final = 15
COLLECTIONS: Final = (10_000, 10, 50)
"""Objects, and rounds, between collections of cyclic garbage, of which requests leave little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """With which certificate to listen; without one, in plain HTTP."""

    certificate: Path | None = None
    key: Path | None = None


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens; any free port for 0. UsageError if the address cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error


class Server(uvicorn.Server):
    """A server that ends with its parent, if it was told of one, and that lets signals in once it can follow them."""

    def __init__(self, config: uvicorn.Config, metrics: Metrics, parent: int) -> None:
        super().__init__(config)
        self.metrics, self.parent = metrics, parent
        self.acceptors: list[Acceptor] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """From here on, SIGTERM ends in order."""
        await super().startup([])
        tls = self.config.ssl
        self.acceptors = [Acceptor(one, self._protocol, tls, has_more=self._has_more) for one in sockets or []]
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})

    def _protocol(self) -> BoundedProtocol:
        return BoundedProtocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        self._has_more(0)
        return await super().on_tick(counter) or (self.parent != 0 and os.getppid() != self.parent)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing more, then finish what is open."""
        for one in self.acceptors:
            one.close()
        await super().shutdown(sockets)
        for one in self.acceptors:
            await one.wait_closed()

    def _has_more(self, being_made: int) -> bool:
        return self.metrics.connected(len(self.server_state.connections) + being_made)


def server_for(application: Application, how: Listening, *, parent: int = 0) -> Server:
    """A server that has not been started: `run(sockets=[...])`. `parent`: the process without which it ends."""
    config = uvicorn.Config(
        application, http=BoundedProtocol, loop="uvloop", ws="none", lifespan="off", log_config=None, access_log=False,
        server_header=False, date_header=False, proxy_headers=False, limit_concurrency=MOST_CONNECTIONS,
        backlog=BACKLOG, timeout_keep_alive=KEEP_ALIVE_SECONDS, timeout_graceful_shutdown=STOPPING_SECONDS,
        ssl_certfile=how.certificate, ssl_keyfile=how.key,
    )  # fmt: skip
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(f"{how.certificate}, {how.key}: no certificate with its key ({error})") from error
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    return Server(config, application.metrics, parent)


def run_until_stopped(server: uvicorn.Server, listener: socket.socket) -> None:
    """Serve until SIGTERM, which ends it in order, or SIGINT, which is KeyboardInterrupt afterwards."""
    # uvicorn raises the signal again when it has stopped: without a handler, that would end the process on the spot.
    before = signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    try:
        gc.collect()
        gc.freeze()  # what a start makes stays; no collection needs to look at it again
        gc.set_threshold(*COLLECTIONS)
        server.run(sockets=[listener])
    finally:
        signal.signal(signal.SIGTERM, before)
