"""The record of a flow, read strictly: one JSON line for each message (cloister.attest.flow)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cloister import _json
from cloister.errors import ParseError

__all__ = ["Message", "parties", "read_flow"]

RECORD: Final = "flow"
ORDER: Final = ("runtime", "program", "carrier", "verifier", "broker")
"""From the inside to the outside; as they are drawn."""
NAME_MOST: Final = 64
LINES_MOST: Final = 10_000
PARTIES_MOST: Final = 16
"""A drawing has a column for each, in every row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message. `size` in bytes; `sha256` in hexadecimal; `status` is HTTP's, 0 if it is no answer of a server."""

    time: datetime
    source: str
    target: str
    kind: str
    size: int
    sha256: str
    status: int = 0


def read_flow(data: bytes) -> tuple[Message, ...]:
    """Every message of the record; ParseError names the line and member that is not as it must be."""
    lines = [line for line in data.split(b"\n") if line.strip()]
    if not lines or len(lines) > LINES_MOST:
        raise ParseError(RECORD, "lines", 0, f"are {len(lines)}; a record has 1 to {LINES_MOST}")
    messages = tuple(_message(line, f"{RECORD} line {number}") for number, line in enumerate(lines, 1))
    count = len(parties(messages))
    if count > PARTIES_MOST:
        raise ParseError(RECORD, "from, to", 0, f"name {count} parties; a record has at most {PARTIES_MOST}")
    return messages


def parties(messages: Iterable[Message]) -> tuple[str, ...]:
    """Who took part, from the inside to the outside."""
    seen = {name for one in messages for name in (one.source, one.target)}
    known = [name for name in ORDER if name in seen]
    return (*known, *sorted(seen - set(ORDER)))


def _message(line: bytes, record: str) -> Message:
    found = _json.loads(line, record)
    if not isinstance(found, Mapping):
        raise ParseError(record, "message", 0, "is not an object")
    names = {name: _json.text(found, name, record) for name in ("from", "to", "kind", "sha256")}
    for name, value in names.items():
        if not value.isprintable() or len(value) > max(NAME_MOST, 200 if name == "kind" else 0):
            raise ParseError(record, name, 0, "is too long, or not printable")
    return Message(
        time=_time(_json.text(found, "time", record), record), source=names["from"], target=names["to"],
        kind=names["kind"], size=_number(found, "size", record), sha256=names["sha256"],
        status=_number(found, "status", record) if "status" in found else 0,
    )  # fmt: skip


def _number(found: Mapping[str, object], name: str, record: str) -> int:
    value = found.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 48:
        raise ParseError(record, name, 0, "is missing, or no number of bytes")
    return value


def _time(value: str, record: str) -> datetime:
    try:
        made = datetime.fromisoformat(value)
    except ValueError:
        raise ParseError(record, "time", 0, f"is {value[:40]!r}, no ISO 8601 time") from None
    if made.tzinfo is None:
        raise ParseError(record, "time", 0, "has no zone")
    return made
