"""Reading what a client sends: never more than a limit, never for longer than a limit."""

import asyncio
from typing import Final

from starlette.requests import ClientDisconnect, Request

from cloister.serve.problems import Refusal

__all__ = ["read_body"]

SECONDS: Final = 15.0
"""For a whole body. A guest with a slow line sends 4 MiB in that time at 280 kB/s."""


async def read_body(request: Request, longest: int) -> bytes:
    """The body; Refusal with 413 if it is longer, 408 if it takes too long, 400 if it breaks off."""
    declared = request.headers.get("content-length", "0")
    if declared.isascii() and declared.isdecimal() and int(declared[:20]) > longest:
        raise Refusal(413, f"a message here has at most {longest} bytes")
    received = bytearray()
    try:
        async with asyncio.timeout(SECONDS):
            async for chunk in request.stream():
                received += chunk
                if len(received) > longest:
                    raise Refusal(413, f"a message here has at most {longest} bytes")
    except TimeoutError:
        raise Refusal(408, f"a message must arrive within {SECONDS:g} seconds") from None
    except ClientDisconnect:
        raise Refusal(400, "the message broke off") from None
    return bytes(received)
