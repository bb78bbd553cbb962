"""Challenges that cost nothing to give out: the identifier carries everything, and says by its MAC who made it.

An attester that asks for a challenge proves nothing yet, so nothing is stored for it: a flood of such requests fills no
table. What is stored is that a challenge was answered (`Store.accept`), and that happens once, in one statement, so two
replicas that race for one nonce cannot both win. Replicas share the key.

    ticket    version u8 | purpose u8 | expires u64 (seconds) | 16 random bytes | length u8 + TEE's name | nonce
    text      base64url(ticket | HMAC-SHA256)

Knowing the text is knowing the session, so only its SHA-256 is stored and logged.
"""

import hashlib
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Final

from cloister.errors import NotAttested
from cloister.result import _base64url

__all__ = ["NONCE_BYTES", "Challenges", "Purpose", "Ticket"]

NONCE_BYTES: Final = 32
SHORTEST_NONCE, LONGEST_NONCE = 8, 64
"""Bytes (Veraison's challenge-response API; RFC 9711, section 4.1)."""
VERSION: Final = 1
HEAD: Final = 10
SERIAL: Final = 16
MAC: Final = 32
LONGEST: Final = 400
"""Characters of a text."""
KEY_BYTES: Final = 32


class Purpose(IntEnum):
    """Which protocol a challenge belongs to: one is never good for the other. REQUEST: of session_api.py."""

    KBS = 1
    VERAISON = 2
    REQUEST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """One challenge. `text` is for its owner only: it is what a cookie or a session's address carries."""

    text: str = field(repr=False)
    purpose: Purpose
    tee: str
    nonce: bytes
    expires: datetime
    digest: bytes
    """SHA-256 of the ticket: what it is called in the database and in logs."""


class Challenges:
    """Makes challenges and recognises its own. `key`: 32 secret bytes that all replicas share."""

    def __init__(self, key: bytes, clock: Callable[[], datetime], *, lifetime: timedelta) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"the key of challenges has {KEY_BYTES} bytes")
        self._key, self._clock, self._lifetime = key, clock, lifetime

    def issue(self, purpose: Purpose, *, tee: str = "", nonce: bytes | None = None) -> Ticket:
        """A new challenge; `nonce` if it was chosen, else 32 random bytes. ValueError for one of no use."""
        chosen = os.urandom(NONCE_BYTES) if nonce is None else nonce
        if not SHORTEST_NONCE <= len(chosen) <= LONGEST_NONCE:
            raise ValueError(f"a nonce has {SHORTEST_NONCE} to {LONGEST_NONCE} bytes")
        if not any(chosen):
            raise ValueError("a nonce of zeros only: evidence that nobody asked for would answer it")
        until = int((self._clock() + self._lifetime).timestamp())
        name = tee.encode()
        body = bytes((VERSION, purpose)) + until.to_bytes(8) + os.urandom(SERIAL) + bytes((len(name),)) + name + chosen
        return _ticket(body, _base64url.encode(body + self._mac(body)))

    def read(self, text: str, purpose: Purpose) -> Ticket:
        """The challenge that this text stands for; NotAttested if it is not one of ours, for this, and still open."""
        try:
            data = _base64url.decode(text) if len(text) <= LONGEST else b""
        except ValueError:
            data = b""
        body, mac = data[:-MAC], data[-MAC:]
        if len(body) <= HEAD + SERIAL or not hmac.compare_digest(mac, self._mac(body)):
            raise NotAttested("this session is not known here; begin with a new challenge")
        ticket = _ticket(body, text)
        if body[0] != VERSION or ticket.purpose is not purpose:
            raise NotAttested("this session belongs to another protocol; begin with a new challenge")
        if self._clock() >= ticket.expires:
            raise NotAttested("this session has expired; begin with a new challenge")
        return ticket

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, b"cloister challenge\n" + body, "sha256")


def _ticket(body: bytes, text: str) -> Ticket:
    """A ticket from bytes that are ours."""
    size = body[HEAD + SERIAL]
    start = HEAD + SERIAL + 1
    return Ticket(
        text=text, purpose=Purpose(body[1]), expires=datetime.fromtimestamp(int.from_bytes(body[2:HEAD]), UTC),
        tee=body[start : start + size].decode(), nonce=body[start + size :], digest=hashlib.sha256(body).digest(),
    )  # fmt: skip
