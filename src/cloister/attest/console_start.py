"""What `cloister run --console` prepares: where the person calls, and the descriptors that the program will have.

The program gets a session of its own: its controlling terminal, if the person has one, is new, and only its size and
foreground are the kernel's business. What is typed and printed passes as records (`console_relay`).
"""

import contextlib
import fcntl
import ipaddress
import os
import pty
import re
import signal
import socket
import termios
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cloister.errors import UsageError

__all__ = ["ConsoleStreams", "console_streams", "listen_at", "parse_address", "wait_for_program"]

PORT: Final = re.compile(r"(?P<host>.+):(?P<port>\d{1,5})")
LONGEST_PATH: Final = 107
KEY_RECORD: Final = 26
"""Bytes of a record on a terminal (runtime/shield/console_record.h): a reader wakes up for whole ones only."""
FORWARDED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def parse_address(address: str) -> str | tuple[str, int]:
    """A unix socket's absolute path, or host and port. UsageError."""
    found = PORT.fullmatch(address)
    if "/" in address:
        path = os.path.abspath(address)  # noqa: PTH100 - not through links
        if len(os.fsencode(path)) > LONGEST_PATH:
            raise UsageError(f"{address}: a socket path has at most {LONGEST_PATH} bytes; use a shorter directory")
        return path
    if not found or int(found["port"]) > 65535:
        raise UsageError(f"{address}: give the path of a unix socket (with a slash), or 127.0.0.1:PORT")
    return found["host"].strip("[]"), int(found["port"])


def listen_at(address: str, *, unsafe_anywhere: bool) -> socket.socket:
    """A socket that listens there. UsageError."""
    where = parse_address(address)
    try:
        if isinstance(where, str):
            return _listen_at_path(where)
        if not unsafe_anywhere and not _is_loopback(where[0]):
            raise UsageError(f"--console {address}: is not this machine alone; --unsafe-listen-anywhere allows it")
        return socket.create_server(where, family=socket.AF_INET6 if ":" in where[0] else socket.AF_INET)
    except OSError as error:
        raise UsageError(f"--console {address}: cannot listen there: {error.strerror or error}") from None


def _listen_at_path(path: str) -> socket.socket:
    """A socket that only its user may connect to."""
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        listener.bind(path)
        listener.listen()
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(kw_only=True)
class ConsoleStreams:
    """Both ends: the host's are handed to the carrier (`starting.Given`), the others become the program's streams."""

    master: int
    slave: int
    into: tuple[socket.socket, socket.socket]
    out: tuple[socket.socket, socket.socket]

    @property
    def hosts(self) -> list[int]:
        """The carrier's: master, what the program reads, what it writes."""
        return [self.master, self.into[0].fileno(), self.out[0].fileno()]

    def install(self, *, terminal: bool) -> int:
        """In the process that will be the program: take the streams, close the rest. Returns what output goes to."""
        out = fcntl.fcntl(self.out[1].fileno(), fcntl.F_DUPFD, 3)  # not close-on-exec: it is the runtime's
        if terminal:
            fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
            streams = [self.slave] * 3
        else:
            streams = [self.into[1].fileno(), out, out]
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        for one in (*self.into, *self.out):
            one.close()
        os.close(self.master)
        os.close(self.slave)
        return out


def console_streams() -> ConsoleStreams:
    """New ones, above the standard streams. The terminal passes bytes as they are."""
    with _above_standard_streams():
        master, slave = pty.openpty()
        into, out = (socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2))
    mode = termios.tcgetattr(slave)
    mode[0], mode[1], mode[3] = 0, 0, 0
    mode[6][termios.VMIN], mode[6][termios.VTIME] = KEY_RECORD, 0
    termios.tcsetattr(slave, termios.TCSANOW, mode)
    for one in (*into, *out):
        for size in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            one.setsockopt(socket.SOL_SOCKET, size, 1 << 20)
    return ConsoleStreams(master=master, slave=slave, into=into, out=out)


@contextlib.contextmanager
def _above_standard_streams() -> Iterator[None]:
    """Whoever started this may have closed some: what is opened then must not become one of them."""
    taken = []
    while (number := os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) < 3:
        taken.append(number)
    try:
        yield
    finally:
        for one in (*taken, number):
            os.close(one)


def wait_for_program(pid: int) -> int:
    """In the parent: signals go to the program, its exit status comes back; a death by signal is died again."""
    for number in FORWARDED:
        signal.signal(number, lambda which, _: os.kill(pid, which))
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    return code
