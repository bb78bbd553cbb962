"""A record of the messages that were really sent and received, one JSON line each: who to whom, what, how large.

    {"time": "...", "from": "runtime", "to": "carrier", "kind": "STATEMENT", "size": 96, "sha256": "..."}

Content is never written, only its SHA-256: by that a reader sees that what the broker sent is what the runtime got. No
message here has a secret in the clear.
"""

import contextlib
import hashlib
import json
import threading
from datetime import UTC, datetime
from typing import IO

__all__ = ["Flow"]


class Flow:
    """Writes to a file that is open for appending, or nowhere."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream, self._lock = stream, threading.Lock()

    def note(self, source: str, target: str, kind: str, content: bytes, **more: int | str) -> None:
        """One message. A full disk does not keep a program from its secrets: then the record ends here."""
        if self._stream is None:
            return
        line = {
            "time": datetime.now(UTC).isoformat(timespec="microseconds"), "from": source, "to": target, "kind": kind,
            "size": len(content), "sha256": hashlib.sha256(content).hexdigest(), **more,
        }  # fmt: skip
        with self._lock, contextlib.suppress(OSError):
            self._stream.write(json.dumps(line) + "\n")
            self._stream.flush()
