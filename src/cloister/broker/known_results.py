"""Tokens whose signature and content are known, because the verifier beside this broker made them a moment ago.

What is remembered of a token is what never changes: what it says, and that it is signed. Its times are checked at every
use. Tokens are found by SHA-256 of all their bytes, so one that differs anywhere is read and verified like any other.
"""

import hashlib
import threading
from collections import OrderedDict
from typing import Final

from cloister.result.attestation import AttestationResult

__all__ = ["KnownResults"]

MOST: Final = 1024
LONGEST: Final = 1 << 13
"""Bytes of a token: those with event logs are read again. Both together bound the memory, to some tens of MB."""


class KnownResults:
    """The newest ones. May be used from any thread."""

    def __init__(self, most: int = MOST) -> None:
        self._most, self._turn = most, threading.Lock()
        self._results: OrderedDict[bytes, AttestationResult] = OrderedDict()

    def add(self, token: bytes, result: AttestationResult) -> None:
        """`result` is exactly what reading `token` gives."""
        if len(token) > LONGEST:
            return
        with self._turn:
            self._results[hashlib.sha256(token).digest()] = result
            if len(self._results) > self._most:
                self._results.popitem(last=False)

    def find(self, token: bytes) -> AttestationResult | None:
        """What the token says; None if that must be read."""
        return self._results.get(hashlib.sha256(token).digest())
