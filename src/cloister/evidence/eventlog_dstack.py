"""dstack's event log: JSON, with the boot's events and the application's in one list.

github.com/Dstack-TEE/dstack, cc-eventlog (TdxEvent, RuntimeEvent). Register numbers count from 0 here: 3 is RTMR3,
which the application's events extend. The log is what `event_log` holds in the guest's answer: a JSON text of

    [{"imr": 3, "event_type": 134217729, "digest": hex, "event": "app-id", "event_payload": hex}, ...]

The digest may be empty (left out for brevity) where it follows from the rest. White space is not evidence: `serialize`
gives the compact form with these keys in this order. Events of version 2, whose digest is that of a canonical JSON
text, say so in a key `version`, and are refused: there is no sample to check that rule with.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cloister import _json
from cloister.errors import ParseError

__all__ = ["RUNTIME_EVENT", "DstackEvent", "DstackLog", "looks_like", "parse"]

RECORD: Final = "dstack event log"
RUNTIME_EVENT: Final = 0x08000001
"""The type of the application's events."""

KEYS: Final = {"imr", "event_type", "digest", "event", "event_payload"}
REGISTERS: Final = 4
DIGEST: Final = 48
LONGEST: Final = 4 << 20
MOST_EVENTS: Final = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class DstackEvent:
    """One event. `register` is the RTMR's number; `digest` is empty or 48 bytes."""

    register: int
    type: int
    digest: bytes
    name: str
    payload: bytes

    @property
    def is_runtime(self) -> bool:
        """Whether the application made it: its digest follows from name and payload."""
        return self.type == RUNTIME_EVENT

    @property
    def measured(self) -> bytes:
        """What a runtime event's digest is the hash of."""
        return b":".join([self.type.to_bytes(4, "little"), self.name.encode(), self.payload])


@dataclass(frozen=True, kw_only=True, slots=True)
class DstackLog:
    """A whole log, in order."""

    events: tuple[DstackEvent, ...]

    def serialize(self) -> bytes:
        """The compact JSON form."""
        made = [
            {
                "imr": one.register,
                "event_type": one.type,
                "digest": one.digest.hex(),
                "event": one.name,
                "event_payload": one.payload.hex(),
            }
            for one in self.events
        ]
        return json.dumps(made, separators=(",", ":"), ensure_ascii=False).encode()


def looks_like(data: bytes) -> bool:
    """Whether this looks like such a log."""
    return data[:64].lstrip()[:1] == b"[" and all(
        f'"{key}"'.encode() in data[:4096] for key in ("imr", "event_payload")
    )


def parse(data: bytes, *, base: int = 0) -> DstackLog:
    """Read a log."""
    if len(data) > LONGEST:
        raise ParseError(RECORD, "length", base, f"{len(data)} bytes; at most {LONGEST}")
    document = _json.loads(data, RECORD)
    if not isinstance(document, list) or not 1 <= len(document) <= MOST_EVENTS:
        raise ParseError(RECORD, "events", base, f"is not a list of 1 to {MOST_EVENTS} events")
    return DstackLog(events=tuple(_event(one) for one in document))


def _event(value: object) -> DstackEvent:
    if not isinstance(value, Mapping) or value.keys() != KEYS:
        raise ParseError(RECORD, "event", 0, f"needs the keys {', '.join(sorted(KEYS))}, and has no others")
    register, kind = _json.whole(value, "imr", RECORD), _json.whole(value, "event_type", RECORD)
    digest, payload, name = _hex(value, "digest"), _hex(value, "event_payload"), _json.text(value, "event", RECORD)
    if register >= REGISTERS or kind >= 1 << 32:
        raise ParseError(RECORD, "imr", 0, f"there is no RTMR {register}, or no event type {kind}")
    if len(digest) != DIGEST and (digest or kind != RUNTIME_EVENT):
        raise ParseError(RECORD, "digest", 0, f"{len(digest)} bytes: has {DIGEST}, or none in an application's event")
    if not _is_text(name):
        raise ParseError(RECORD, "event", 0, "has half a character in it")
    return DstackEvent(register=register, type=kind, digest=digest, name=name, payload=payload)


def _is_text(name: str) -> bool:
    """JSON can write half of a surrogate pair, which is no text and has no bytes."""
    return not any(0xD800 <= ord(character) < 0xE000 for character in name)


def _hex(value: object, key: str) -> bytes:
    text = _json.text(value, key, RECORD)
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    if data.hex() != text:
        raise ParseError(RECORD, key, 0, "is not in lowercase hexadecimal digits")
    return data
