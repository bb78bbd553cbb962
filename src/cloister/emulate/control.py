"""The socket on which the administrator of a running machine speaks to it: a line of words in, a text out, as JSON.

The machine is one thread: it answers while its program waits for input, and at the program's exits.
"""

import contextlib
import json
import select
import socket
from pathlib import Path
from typing import Any, Final

from cloister.emulate.administration import Administrator
from cloister.errors import CloisterError, UsageError

__all__ = ["ControlSocket", "ask"]

LONGEST: Final = 1 << 20
"""Bytes of one line."""

PATIENCE: Final = 30.0
"""Seconds that a caller waits for an answer: the program may be computing."""


class ControlSocket:
    """A unix socket beside the machine. The file is its owner's alone, and goes when it is closed."""

    def __init__(self, path: Path, administrator: Administrator) -> None:
        self.path, self._administrator = path, administrator
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.bind(str(path))
        except OSError as error:
            self._socket.close()
            raise UsageError(f"cannot listen on {path}: {error.strerror}; name a socket that does not exist") from error
        path.chmod(0o600)
        self._socket.listen(8)

    def fileno(self) -> int:
        """For select."""
        return self._socket.fileno()

    def answer_waiting(self) -> None:
        """Answer everybody who is waiting now."""
        while select.select([self._socket], [], [], 0)[0]:
            self.answer_one()

    def answer_one(self) -> None:
        """Accept one caller and answer one line. A caller who breaks off is nobody's problem."""
        connection, _ = self._socket.accept()
        with connection, contextlib.suppress(OSError):
            connection.settimeout(PATIENCE)
            connection.sendall(json.dumps(self._answer(read_line(connection))).encode() + b"\n")

    def _answer(self, line: bytes) -> dict[str, str]:
        try:
            words = json.loads(line)["words"]
            return {"text": self._administrator.do([str(word) for word in words])}
        except CloisterError as error:
            return {"error": str(error)}
        except (ValueError, KeyError, TypeError):
            return {"error": 'not a line of JSON like {"words": ["read", "secret"]}'}

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()
        self.path.unlink(missing_ok=True)


def ask(path: Path, words: list[str]) -> str:
    """Send words to a running machine, and wait for the text. UsageError with what the machine said against it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
        connection.settimeout(PATIENCE)
        try:
            connection.connect(str(path))
            connection.sendall(json.dumps({"words": words}).encode() + b"\n")
            answer: dict[str, Any] = json.loads(read_line(connection))
        except TimeoutError as error:
            raise UsageError(f"no answer from {path} in {PATIENCE:.0f} s: the program is computing") from error
        except (OSError, ValueError) as error:
            raise UsageError(f"no machine answers on {path}: {error}") from error
    if "error" in answer:
        raise UsageError(str(answer["error"]))
    return str(answer["text"])


def read_line(connection: socket.socket) -> bytes:
    """One line, at most LONGEST bytes of it."""
    line = bytearray()
    while not line.endswith(b"\n") and len(line) < LONGEST:
        part = connection.recv(65536)
        if not part:
            break
        line += part
    return bytes(line)
