"""Reading what a client sends: never more than a limit, never for longer than a limit.

All bodies together have a limit too: `BodyBudget` counts what is held, from the first byte to the end of the request.
"""

import asyncio
from collections.abc import MutableMapping
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request

from cloister.serve.problems import Refusal

__all__ = ["BUDGET", "MOST_HELD", "BodyBudget", "read_body"]

SECONDS: Final = 15.0
"""For a whole body. A guest with a slow line sends 4 MiB in that time at 280 kB/s."""


BUDGET: Final = "cloister.budget"
"""Where a request's scope has the budget."""
HELD: Final = "cloister.held"
MOST_HELD: Final = 256 << 20
"""By all workers of a service."""


class BodyBudget:
    """The bytes of bodies that may be in memory at once. Used in the event loop only."""

    def __init__(self, most: int = MOST_HELD) -> None:
        self._most, self.held = most, 0

    def hold(self, request: Request, size: int) -> None:
        """Count bytes of a request; Refusal with 503 if there are too many of all."""
        if self.held + size > self._most:
            raise Refusal(503, "too much is being sent at once; try again")
        self.held += size
        request.scope[HELD] = request.scope.get(HELD, 0) + size

    def release(self, scope: MutableMapping[str, Any]) -> None:
        """The request is over."""
        self.held -= scope.pop(HELD, 0)


async def read_body(request: Request, longest: int) -> bytes:
    """The body; Refusal with 413 if it is longer, 408 if it takes too long, 400 if it breaks off.

    And with 503 if all bodies together are more than the service holds.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isascii() and declared.isdecimal() and int(declared[:20]) > longest:
        raise Refusal(413, f"a message here has at most {longest} bytes")
    received, budget = bytearray(), request.scope[BUDGET]
    try:
        async with asyncio.timeout(SECONDS):
            async for chunk in request.stream():
                budget.hold(request, len(chunk))
                received += chunk
                if len(received) > longest:
                    raise Refusal(413, f"a message here has at most {longest} bytes")
    except TimeoutError:
        raise Refusal(408, f"a message must arrive within {SECONDS:g} seconds") from None
    except ClientDisconnect:
        raise Refusal(400, "the message broke off") from None
    return bytes(received)
