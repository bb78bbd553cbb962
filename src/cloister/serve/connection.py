"""HTTP connections that cannot be held open: uvicorn's protocol, with a clock for slow senders and a limit for headers.

uvicorn bounds how long an idle connection stays, not how long a request takes to arrive. Here every request's headers
must be complete within seconds of the first byte (slow loris), and within a number of bytes. `body.py` does the same
for bodies.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["HEADER_BYTES", "HEADER_SECONDS", "BoundedProtocol"]

HEADER_SECONDS: Final = 10.0
HEADER_BYTES: Final = 65_536


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    seconds: float = HEADER_SECONDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._unfinished = 0
        self._in_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn declares it
        """The clock runs from the connection on: a client that says nothing is the slowest of all."""
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is expected any more."""
        self._arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to unfinished headers; a new request starts the clock.

        What is left of the body of a request that was refused is dropped, and only has the clock: to end the connection
        at once would take the refusal from a client that is still sending.
        """
        if self._reading_headers() and self._in_body:
            self._expect()
        elif self._reading_headers():
            self._unfinished += len(data)
            self._expect()
            if self._unfinished > HEADER_BYTES and not self._is_large_body(data):
                self._give_up()
                return
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """The request has arrived, but for its body."""
        self._arrived()
        self._in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body has arrived too."""
        self._arrived()
        self._in_body = False
        super().on_message_complete()

    def _reading_headers(self) -> bool:
        cycle = getattr(self, "cycle", None)  # uvicorn starts with None, and declares otherwise
        return cycle is None or bool(cycle.response_complete)

    def _is_large_body(self, data: bytes) -> bool:
        """Whether the headers end in what came now: the rest is the body, which has its own limit."""
        return self._unfinished - len(data) + data.find(b"\r\n\r\n") + 4 <= HEADER_BYTES and b"\r\n\r\n" in data

    def _expect(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.seconds, self._give_up)

    def _arrived(self) -> None:
        self._unfinished = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._arrived()
        if not self.transport.is_closing():
            self.transport.abort()
