"""Structured logs: one JSON line for each request, from which a person can follow a flow.

    {"time": ..., "event": "request", "request": "6f1c...", "method": "POST", "path": "/kbs/v0/attest", "status": 200,
     "ms": 1.9, "session": "9a41c0d2", "tee": "snp", "step": "evidence", "verdict": "affirming"}

What is logged is listed here, not left out here: no header, cookie, query, body or exception text has a way in. A
session appears by eight digits of its digest, which open nothing; in paths not at all.
"""

import json
import sys
import threading
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from starlette.requests import Request

__all__ = ["Journal", "note", "request_id"]

NOTES: Final = "cloister.notes"
REQUEST_ID: Final = "cloister.request"
LONGEST_PATH: Final = 256


class Journal:
    """Writes lines to a stream, standard error unless another is given."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream, self._turn = stream, threading.Lock()

    def write(self, event: str, **members: str | float) -> None:
        """One line."""
        line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **members})
        with self._turn:
            stream = self._stream or sys.stderr
            stream.write(line + "\n")
            stream.flush()

    def request(self, scope: Mapping[str, Any], *, status: int, seconds: float) -> None:
        """What a request came to."""
        self.write(
            "request", request=scope[REQUEST_ID], method=scope["method"], path=shown_path(scope["path"]),
            status=status, ms=round(1000 * seconds, 2), **scope.get(NOTES, {}),
        )  # fmt: skip


def shown_path(path: str) -> str:
    """The path without what only its owner may know: who knows the address of a session, has the session."""
    start, found, _ = path.partition("/session/")
    return (f"{start}{found}..." if found else path)[:LONGEST_PATH]


def note(request: Request, *, session: bytes = b"", **members: str | int) -> None:
    """Add members to the line of this request."""
    notes: MutableMapping[str, str | int] = request.scope.setdefault(NOTES, {})
    if session:
        notes["session"] = session[:4].hex()
    notes.update(members)


def request_id(request: Request) -> str:
    """The identifier of a request: in its log line, its response and the audit log."""
    return str(request.scope[REQUEST_ID])
