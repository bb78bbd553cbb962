"""What each file descriptor of the traced processes refers to, from /proc/PID/fd, remembered until it may change."""

import os
import re
from collections.abc import Callable

from cloister.observe.trace.redact import Redactor
from cloister.observe.trace.sockets import describe

__all__ = ["SOCKET", "Descriptors"]

SOCKET = re.compile(r"socket:\[(\d+)\]")
CURRENT_DIRECTORY = -100

Volatile = Callable[[int, int], bool]


def never(_pid: int, _fd: int) -> bool:
    """A stopped program closes nothing behind the observer's back."""
    return False


class Descriptors:
    """Names by (process, descriptor), redacted.

    `volatile(pid, fd)` tells that a descriptor was closed after the moment that is being decoded: what /proc
    shows now is then something else, so no name is better than a wrong one.
    """

    def __init__(self, redactor: Redactor, volatile: Volatile = never) -> None:
        self._redactor = redactor
        self._volatile = volatile
        self._names: dict[int, dict[int, str]] = {}
        self._promised: dict[tuple[int, int], str] = {}

    def name(self, pid: int, fd: int) -> str:
        """Path, `pipe:[N]`, `TCP a->b` and so on; empty when it is not known."""
        if fd < 0 and fd != CURRENT_DIRECTORY:
            return ""
        known = self._names.get(pid, {}).get(fd)
        if known is not None:
            return known
        promised = self._promised.pop((pid, fd), "")
        if not promised and self._volatile(pid, fd):
            return ""
        name = self.described(pid, promised) if promised else self.resolve(pid, fd)
        if name and fd != CURRENT_DIRECTORY:
            self._names.setdefault(pid, {})[fd] = name
        return name

    def resolve(self, pid: int, fd: int) -> str:
        """Ask /proc."""
        link = "cwd" if fd == CURRENT_DIRECTORY else f"fd/{fd}"
        try:
            target = os.readlink(f"/proc/{pid}/{link}")
        except OSError:
            return ""
        return self.described(pid, target)

    def promise(self, pid: int, fd: int, target: str) -> None:
        """Tell what a new descriptor refers to, for the next time its name is asked for."""
        self._promised[pid, fd] = target

    def described(self, pid: int, target: str) -> str:
        """The target of a link in /proc/PID/fd, redacted; a socket by its ends."""
        match = SOCKET.fullmatch(target)
        return self._redactor.text(describe(pid, match[1]) if match else target)

    def channel(self, pid: int, fd: int) -> str:
        """The name, or `fd N` when there is none."""
        return self.name(pid, fd) or f"fd {fd}"

    def forget(self, pid: int, fd: int) -> None:
        """The descriptor was closed, replaced or connected."""
        self._names.get(pid, {}).pop(fd, None)

    def forget_all(self, pid: int) -> None:
        """The process ended, or closed an unknown set of descriptors."""
        self._names.pop(pid, None)
