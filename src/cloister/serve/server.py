"""Listening: a socket, TLS, uvicorn; until a signal says stop."""

import signal
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvicorn

from cloister.errors import UsageError
from cloister.serve.app import Application
from cloister.serve.connection import BoundedProtocol

__all__ = ["Listening", "bind", "run_until_stopped", "server_for"]

MOST_CONNECTIONS: Final = 1000
BACKLOG: Final = 512
STOPPING_SECONDS: Final = 10
KEEP_ALIVE_SECONDS: Final = 15


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


def server_for(application: Application, how: Listening) -> uvicorn.Server:
    """A server that has not been started: `run(sockets=[...])`."""
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
    return uvicorn.Server(config)


def run_until_stopped(server: uvicorn.Server, listener: socket.socket) -> None:
    """Serve until SIGTERM, which ends it in order, or SIGINT, which is KeyboardInterrupt afterwards."""
    # uvicorn raises the signal again when it has stopped: without a handler, that would end the process on the spot.
    before = signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    try:
        server.run(sockets=[listener])
    finally:
        signal.signal(signal.SIGTERM, before)
