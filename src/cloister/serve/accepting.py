"""Accepting connections from a socket that several processes share, so that each of them gets its part.

The event loop's own servers take every connection that waits: whoever wakes first takes all, and they stay with it.
This one takes a few, then lets its requests have their turn. While it has more than another process it stands back for
a moment, and takes what is still there then: so nobody waits long for a process that hangs.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Final

__all__ = ["Acceptor"]

AT_ONCE: Final = 2
COURTESY: Final = 0.005
"""Seconds."""
HANDSHAKE_SECONDS: Final = 10.0
PAUSE: Final = 1.0
"""Seconds until the next look when this process has no descriptors left."""


class Acceptor:
    """Accepts until it is closed. In the terms of asyncio, a server."""

    def __init__(
        self, listener: socket.socket, protocol: Callable[[], asyncio.Protocol], tls: ssl.SSLContext | None,
        *, has_more: Callable[[int], bool],
    ) -> None:  # fmt: skip
        """`has_more`, given how many connections are being made, tells if this process has more than others."""
        self._listener, self._protocol, self._tls, self._has_more = listener, protocol, tls, has_more
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        listener.settimeout(0)
        self._begin()

    def close(self) -> None:
        """Accept nothing more."""
        self._loop.remove_reader(self._listener)
        if self._pause is not None:
            self._pause.cancel()

    async def wait_closed(self) -> None:
        """Return when no handshake is under way; those that are, are broken off."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._ready)

    def _ready(self) -> None:
        if self._has_more(len(self._tasks)):
            self._wait(COURTESY, self._take_and_begin)
        else:
            self._take()

    def _take_and_begin(self) -> None:
        self._begin()
        self._take()

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(seconds, then)

    def _take(self) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):  # another process was faster, or it is gone
                return
            except OSError:
                self._wait(PAUSE, self._begin)
                return
            connection.settimeout(0)
            task = self._loop.create_task(self._welcome(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            self._has_more(len(self._tasks))  # so that others see it

    async def _welcome(self, connection: socket.socket) -> None:
        """Hand it to a protocol, after its handshake if there is one."""
        seconds = None if self._tls is None else HANDSHAKE_SECONDS
        with contextlib.suppress(OSError):  # ssl.SSLError and TimeoutError are
            await self._loop.connect_accepted_socket(
                self._protocol, connection, ssl=self._tls, ssl_handshake_timeout=seconds
            )
