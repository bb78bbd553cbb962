"""A server on a free loopback port, and plain sockets to talk to it."""

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.system.arms import ENVIRONMENT
from tests.system.process_tree import kill, moments, tree

PATIENCE = 20.0  # seconds for one answer, on a slow and busy machine


def free_port() -> int:
    """A port that nobody listens on now. Should another process take it first, the server says so: the test fails."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, kw_only=True)
class Service:
    """A running server."""

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def connect(self) -> socket.socket:
        """Wait until it accepts."""
        for _ in moments(PATIENCE):
            with contextlib.suppress(ConnectionRefusedError):
                return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
            assert self.process.poll() is None, (
                f"it ended with status {self.process.returncode}: {self.log.read_text()}"
            )
        raise AssertionError(f"it does not accept connections: {self.log.read_text()}")

    def ask(self, question: bytes, *, end: bytes) -> bytes:
        """Send on a connection of its own; read until the answer ends with `end`."""
        with self.connect() as connection:
            return ask(connection, question, end=end)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        os.kill(self.pid, number)
        return self.process.wait(PATIENCE)


def ask(connection: socket.socket, question: bytes, *, end: bytes) -> bytes:
    connection.sendall(question)
    answer = b""
    while not answer.endswith(end):
        data = connection.recv(1 << 16)
        assert data, f"the connection was closed after {answer!r}"
        answer += data
    return answer


@contextlib.contextmanager
def serving(argv: Sequence[str], *, port: int, cwd: Path, env: Mapping[str, str] = ENVIRONMENT) -> Iterator[Service]:
    """Start the server; at the end it is gone, with all of its processes."""
    log = cwd / f"service-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield Service(process=process, port=port, log=log)
    finally:
        if process.poll() is None:
            kill(tree([process.pid]))
            process.wait(PATIENCE)
