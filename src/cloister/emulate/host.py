"""The untrusted side of an emulated machine: operating system or hypervisor, and what it sees and may do.

It owns physical memory and its own page tables, serves system calls from the bounce buffer, and is told of exits what
the TEE lets through. An adversary is a host whose `on_exit`, `on_fault` or `serve` were replaced.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

__all__ = ["Cause", "Host", "HostView", "PhysicalMemory"]

REMEMBERED: Final = 4096
"""Exits that a host keeps for whoever wants to look."""


class Cause(StrEnum):
    """Why a TEE was left."""

    SYSTEM_CALL = "system call"  # the program asked: what is passed was chosen
    PAGE_FAULT = "page fault"  # the host's own tables lack the page
    INTERRUPT = "interrupt"  # the host's timer or device


@dataclass(frozen=True, slots=True)
class HostView:
    """What the host sees of one exit: its cause, the registers by name, and the address of a page fault (bytes)."""

    cause: Cause
    registers: Mapping[str, int]
    address: int | None = None


class PhysicalMemory:
    """Which physical pages are free, in one range: the host decides, the TEE checks."""

    def __init__(self, first: int, count: int) -> None:
        self.first, self.count = first, count
        self._next, self._freed = first, list[int]()

    def allocate(self) -> int:
        """A free page. MemoryError if there is none."""
        if self._freed:
            return self._freed.pop()
        if self._next == self.first + self.count:
            raise MemoryError(f"all {self.count:,} pages of this range are in use")
        self._next += 1
        return self._next - 1

    def free(self, page: int) -> None:
        """Take a page back."""
        self._freed.append(page)

    @property
    def left(self) -> int:
        """How many pages are free."""
        return self.first + self.count - self._next + len(self._freed)


def _nothing(_view: HostView) -> None:
    """A host that only runs its guest."""


def _as_it_is(result: int) -> int:
    """An operating system that tells the truth."""
    return result


def _no_repair(_host_address: int) -> bool:
    """A host that maps everything at once has nothing to repair."""
    return False


@dataclass
class Host:
    """One operating system or hypervisor.

    `serve` answers a system call: request bytes in, reply bytes out. `on_exit` is called at every exit, after the TEE
    has hidden what it hides. `on_fault` is called with the address of a page that the host's own tables lack; it
    returns whether they now have it. `on_result` sets the result of a system call where no TEE does.
    `seen` holds the last exits, `exits` counts all.
    """

    serve: Callable[[bytes], bytes]
    on_exit: Callable[[HostView], None] = _nothing
    on_fault: Callable[[int], bool] = _no_repair
    on_result: Callable[[int], int] = _as_it_is
    seen: deque[HostView] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    exits: int = 0

    def sees(self, view: HostView) -> None:
        """Tell the host of an exit."""
        self.exits += 1
        self.seen.append(view)
        self.on_exit(view)
