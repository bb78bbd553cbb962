"""HTTP connections with an end: one deadline and one number of bytes for everything a server may say.

A timeout per read, which is what the standard library offers, never ends against a server that sends a byte now and
then. Here every wait is for what is left of one deadline, and every byte, of headers too, is taken from one budget.
"""

import functools
import http.client
import io
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["Budget", "BudgetedHttp", "BudgetedHttps", "TooLarge"]

ADDRESSES: Final = 4
"""How many addresses of one name are tried."""
DIAL_SECONDS: Final = 5.0
"""Longest wait for one of them, so that a dead IPv6 route leaves time for the next."""


class TooLarge(OSError):
    """A server sent more bytes than the budget has."""


@dataclass(slots=True, kw_only=True)
class Budget:
    """What one request may still take. `seconds` start to run when it is made."""

    seconds: float
    size: int
    clock: Callable[[], float] = time.monotonic
    _end: float = field(init=False)

    def __post_init__(self) -> None:
        """Start the clock."""
        self._end = self.clock() + self.seconds

    def left(self) -> float:
        """The seconds that are left; TimeoutError if there are none."""
        left = self._end - self.clock()
        if left <= 0:
            raise TimeoutError(f"no complete answer within {self.seconds:g} seconds")
        return left

    def spend(self, size: int) -> None:
        """Take `size` bytes; TooLarge if there are not so many."""
        self.size -= size
        if self.size < 0:
            raise TooLarge("the answer is larger than anything that is published there")


class BudgetedStream(io.RawIOBase):
    """What a server says, read within a budget."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, budget: Budget) -> None:
        self._raw, self._sock, self._budget = raw, sock, budget

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401 - the standard library's Buffer protocol
        """Wait for bytes, at most as long as there is time."""
        self._sock.settimeout(self._budget.left())
        count: int = self._raw.readinto(buffer) or 0
        self._budget.spend(count)
        return count

    def close(self) -> None:
        """Close the connection's file too: it holds the socket open."""
        self._raw.close()
        super().close()


class BudgetedResponse(http.client.HTTPResponse):
    """A response whose status line, headers and body are read within a budget."""

    def __init__(self, sock: socket.socket, *args: Any, budget: Budget, **named: Any) -> None:  # noqa: ANN401
        super().__init__(sock, *args, **named)
        raw: Any = self.fp.detach()
        self.fp = io.BufferedReader(BudgetedStream(raw, sock, budget))


def dial(budget: Budget, address: tuple[str, int], *_: object) -> socket.socket:
    """Connect to the first address of a name that answers, within the budget."""
    failure = OSError(f"the name {address[0]} has no address")
    for family, kind, protocol, _name, place in socket.getaddrinfo(*address, 0, socket.SOCK_STREAM)[:ADDRESSES]:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(min(DIAL_SECONDS, budget.left()))
            sock.connect(place)
            sock.settimeout(budget.left())
        except OSError as error:
            failure = error
            sock.close()
        else:
            return sock
    raise failure


class HttpConnection(http.client.HTTPConnection):
    """HTTP within a budget."""

    def __init__(self, *args: Any, budget: Budget, **named: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **named)
        self.response_class = functools.partial(BudgetedResponse, budget=budget)  # type: ignore[assignment] # it is called, nothing else
        self._create_connection = functools.partial(dial, budget)


class HttpsConnection(http.client.HTTPSConnection):
    """HTTPS within a budget, also through a proxy's tunnel."""

    def __init__(self, *args: Any, budget: Budget, **named: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **named)
        self.response_class = functools.partial(BudgetedResponse, budget=budget)  # type: ignore[assignment]
        self._create_connection = functools.partial(dial, budget)


class BudgetedHttp(urllib.request.HTTPHandler):
    """Opens http: URLs within a budget."""

    def __init__(self, budget: Budget) -> None:
        super().__init__()
        self._budget = budget

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Called by the opener."""
        connection: Any = functools.partial(HttpConnection, budget=self._budget)
        return self.do_open(connection, req)


class BudgetedHttps(urllib.request.HTTPSHandler):
    """Opens https: URLs within a budget; `trust` says which certificates are believed, and always verifies them."""

    def __init__(self, budget: Budget, trust: ssl.SSLContext) -> None:
        super().__init__(context=trust)
        self._budget, self._trust = budget, trust

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Called by the opener."""
        connection: Any = functools.partial(HttpsConnection, budget=self._budget)
        return self.do_open(connection, req, context=self._trust)
