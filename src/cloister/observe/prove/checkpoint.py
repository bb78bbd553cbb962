"""The socket at which the runtime stops each enclaved process, at start and right before exit, until it was sampled.

Protocol (runtime option `--checkpoint`): the process connects to the unix stream socket, sends one line
`{"pid":N,"at":"start"|"exit","exe":"..."}`, and goes on when it receives one byte, or when the socket is closed.
The pid that counts is the kernel's (SO_PEERCRED, unix(7)): the program may live in another pid namespace, or lie.
"""

import json
import select
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from cloister.errors import ObservationError
from cloister.observe.prove.record import Trigger

__all__ = ["Checkpoint", "Visit", "parse_record"]

PEER = struct.Struct("3i")
RECORD_LIMIT = 8192
RECORD_TIMEOUT = 2.0  # seconds a connected process may take to send its line
GO_ON = b"\x01"


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One process waiting at a checkpoint; leaving the `with` block lets it go on."""

    pid: int
    at: Trigger
    connection: socket.socket

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.connection.sendall(GO_ON)
        except OSError:
            pass  # the process was killed while it waited
        finally:
            self.connection.close()


def parse_record(line: bytes) -> Trigger:
    """The moment that a record names; ObservationError if it is not exactly such a record."""
    try:
        record = json.loads(line)
        return {"start": Trigger.START, "exit": Trigger.EXIT}[record["at"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ObservationError(
            f"not a checkpoint record: {line[:80]!r}; the runtime and the prover differ in version"
        ) from error


class Checkpoint:
    """The listening end. `path` is created here and removed by `close`; only its owner may list its directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.listener.bind(str(path))
        path.chmod(0o666)  # a program that drops its privileges still has to connect
        self.listener.listen(256)

    def waiting(self, timeout: float) -> Iterator[Visit]:
        """Every process that waits now; the first is awaited for `timeout` seconds."""
        while select.select([self.listener], [], [], timeout)[0]:
            timeout = 0.0
            connection, _ = self.listener.accept()
            try:
                pid, line = receive(connection)
                if line:  # nothing was sent: the process was killed while it connected
                    yield Visit(pid=pid, at=parse_record(line), connection=connection)
            finally:
                connection.close()

    def close(self) -> None:
        """Stop listening: processes that come later go on at once."""
        self.listener.close()
        self.path.unlink(missing_ok=True)


def receive(connection: socket.socket) -> tuple[int, bytes]:
    """The pid and the line of a process that has just connected."""
    connection.settimeout(RECORD_TIMEOUT)
    pid, _, _ = PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
    line = b""
    try:
        while not line.endswith(b"\n") and len(line) < RECORD_LIMIT:
            part = connection.recv(RECORD_LIMIT)
            if not part:
                break
            line += part
    except ConnectionError:
        return pid, b""
    except TimeoutError as error:
        raise ObservationError(f"process {pid} stopped at a checkpoint and sent no record") from error
    return pid, line
