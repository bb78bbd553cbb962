"""The socket on which the administrator of a running machine speaks to it: a line of words in, a text out, as JSON.

The machine is one thread: it answers while its program waits for input. Callers are strangers: one who sends nothing,
too much or nonsense is answered or dropped, and neither ends the machine nor keeps it from anybody else for long.
"""

import contextlib
import json
import os
import select
import socket
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from cloister.errors import CloisterError, UsageError

__all__ = ["Answers", "ControlSocket", "ask"]

LONGEST: Final = 1 << 16
"""Bytes of one line. The longest sensible one is a page in hexadecimal digits."""

PATIENCE: Final = 30.0
"""Seconds that a caller waits for an answer: the program may be computing."""

SLOWEST: Final = 5.0
"""Seconds that a caller may take for its line."""

RELUCTANT: Final = 1.0
"""Seconds that a caller may take to fetch its answer. This is the longest that one caller keeps the machine."""

CALLERS: Final = 32
"""Callers who are heard at the same time; the one who has been silent longest goes when another comes."""

MALFORMED: Final = 'not a line of JSON like {"words": ["read", "secret"]}'


class Answers(Protocol):
    """Whoever obeys words: an administrator of a machine. CloisterError for words that mean nothing."""

    def do(self, words: list[str]) -> str:
        """The answer."""
        ...


@dataclass
class _Caller:
    """One connection, what came over it so far, and when it must have said its line (`time.monotonic`)."""

    connection: socket.socket
    deadline: float
    line: bytearray = field(default_factory=bytearray)


class ControlSocket:
    """A unix socket beside the machine. The file is its owner's alone (0600), and goes when it is closed."""

    def __init__(self, path: Path, administrator: Answers) -> None:
        self.path, self._administrator = path, administrator
        self._callers: dict[int, _Caller] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            os.fchmod(self._socket.fileno(), 0o600)  # before bind, so that the file never has another mode: unix(7)
            with _short(path) as name:
                _clear(name)
                self._socket.bind(name)
        except OSError as error:
            self._socket.close()
            raise UsageError(f"cannot listen on {path}: {error.strerror}; name a socket that does not exist") from error
        self._socket.listen(CALLERS)

    def serve_until(self, done: Callable[[], bool], descriptors: Sequence[int] = (), *, patience: float = 3600) -> bool:
        """Answer callers until `done()`, or something can be read from one of the descriptors.

        False if neither came within `patience` seconds without a caller.
        """
        last = time.monotonic()
        while not done():
            now = time.monotonic()
            until = min((one.deadline for one in self._callers.values()), default=last + patience)
            heard = [self._socket.fileno(), *self._callers, *descriptors]
            ready, _, _ = select.select(heard, [], [], max(0.0, min(until, last + patience) - now))
            if any(one in ready for one in descriptors):
                return True
            if ready:
                last = time.monotonic()
            elif time.monotonic() >= last + patience:
                return False
            self._attend(ready)
        return True

    def _attend(self, ready: Sequence[int]) -> None:
        """Hear those who said something, admit who is new, drop who is too slow."""
        for caller in [one for number, one in self._callers.items() if number in ready]:
            self._hear(caller)
        if self._socket.fileno() in ready:
            self._admit()
        for caller in [one for one in self._callers.values() if one.deadline <= time.monotonic()]:
            self._drop(caller)

    def _admit(self) -> None:
        with contextlib.suppress(OSError):  # the caller may have gone again
            connection, _ = self._socket.accept()
            connection.settimeout(0)
            if len(self._callers) == CALLERS:
                self._drop(min(self._callers.values(), key=lambda one: one.deadline))
            self._callers[connection.fileno()] = _Caller(connection, time.monotonic() + SLOWEST)

    def _hear(self, caller: _Caller) -> None:
        """Take what came. A whole line is answered; a line that is none, or too long, as well."""
        try:
            part = caller.connection.recv(LONGEST)
        except OSError:
            part = b""
        caller.line += part
        if caller.line.endswith(b"\n") or len(caller.line) > LONGEST:
            answer = json.dumps(self._answer(bytes(caller.line))).encode() + b"\n"
            with contextlib.suppress(OSError):  # one who breaks off is nobody's problem
                caller.connection.settimeout(RELUCTANT)
                caller.connection.sendall(answer)
            self._drop(caller)
        elif not part:
            self._drop(caller)

    def _drop(self, caller: _Caller) -> None:
        self._callers.pop(caller.connection.fileno(), None)
        caller.connection.close()

    def _answer(self, line: bytes) -> dict[str, str]:
        if len(line) > LONGEST:
            return {"error": f"a line has at most {LONGEST:,} bytes"}
        try:
            words = json.loads(line)["words"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return {"error": MALFORMED}
        if not isinstance(words, list):
            return {"error": MALFORMED}
        try:
            return {"text": self._administrator.do([str(word) for word in words])}
        except CloisterError as error:
            return {"error": str(error)}
        except Exception as failure:  # noqa: BLE001 - no words of an administrator may end somebody's program
            return {"error": f"cloister failed at this: {type(failure).__name__}: {failure}"}

    def close(self) -> None:
        """Stop listening."""
        for caller in list(self._callers.values()):
            self._drop(caller)
        self._socket.close()
        self.path.unlink(missing_ok=True)


def ask(path: Path, words: list[str]) -> str:
    """Send words to a running machine, and wait for the text. UsageError with what the machine said against it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
        connection.settimeout(PATIENCE)
        try:
            with _short(path) as name:
                connection.connect(name)
            connection.sendall(json.dumps({"words": words}).encode() + b"\n")
            answer: dict[str, Any] = json.loads(_whole_answer(connection))
        except TimeoutError as error:
            raise UsageError(f"no answer from {path} in {PATIENCE:.0f} s: the program is computing") from error
        except (OSError, ValueError) as error:
            raise UsageError(f"no machine answers on {path}: {error}; `cloister run --host` starts one") from error
    if "error" in answer:
        raise UsageError(str(answer["error"]))
    return str(answer["text"])


def _whole_answer(connection: socket.socket) -> bytes:
    """Everything up to the end: an answer has no limit, its sender is the machine that was asked."""
    parts = bytearray()
    while part := connection.recv(1 << 16):
        parts += part
    return bytes(parts)


def _clear(name: str) -> None:
    """Remove the socket of a machine that was interrupted: nobody listens there. Anything else stays."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        try:
            probe.connect(name)
        except ConnectionRefusedError:
            if stat.S_ISSOCK(os.lstat(name).st_mode):
                Path(name).unlink()
        except OSError:
            return


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """The same socket by a short name: its own may be longer than the 107 bytes that unix(7) allows."""
    try:
        directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"{path.parent}: {error.strerror}; a socket is made in a directory that exists") from error
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
