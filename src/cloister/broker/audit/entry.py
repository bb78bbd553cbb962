r"""One line of an audit log: an event in its place in the chain, signed.

    header     {"event": SHA-256 of the event, "previous": hash of the entry before, "sequence", "time"}
    signature  Ed25519 over "cloister audit log entry 1\n" || header
    hash       SHA-256 of what was signed || signature

An entry is an event and its seal. The seal alone, which says nothing about the event but its digest, is what a
checkpoint holds. All JSON here is as RFC 8785 writes it, so everything has exactly one form in bytes.
"""

import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from cloister import _crypto, _json
from cloister.broker.audit.event_json import event_of_json, json_of_event
from cloister.broker.audit.events import Event
from cloister.errors import ParseError, SignatureInvalid
from cloister.result.signing import SigningKey

__all__ = ["FIRST_PREVIOUS", "LONGEST_LINE", "Entry", "Seal", "canonical", "parse_entry", "sign_entry"]

TAG: Final = b"cloister audit log entry 1\n"
"""What no other signature of the same key begins with."""
FIRST_PREVIOUS: Final = bytes(32)
"""Before the first entry there is none."""
LONGEST_LINE: Final = 1 << 17
"""Bytes, with its line feed. Events that need more are refused when they are appended."""
LAST: Final = 1 << 53
TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
MEMBERS: Final = {"event", "previous", "sequence", "signature", "time"}
RECORD: Final = "audit entry"
ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """An entry's place in the chain, signed by the broker: proof that it was written, without what it says."""

    sequence: int
    """From 1."""
    time: datetime
    """UTC, by the broker's clock. It may go back; the sequence never does."""
    previous: bytes
    event_sha256: bytes
    signature: bytes
    signed: bytes = field(init=False, repr=False)
    """What the broker signs: the tag and the header."""
    hash: bytes = field(init=False)
    """SHA-256, which the next entry repeats as `previous`."""

    def __post_init__(self) -> None:
        """Work out what follows from the rest, once."""
        signed = _signed(self.sequence, self.time, self.previous, self.event_sha256)
        object.__setattr__(self, "signed", signed)
        object.__setattr__(self, "hash", hashlib.sha256(signed + self.signature).digest())

    def verify(self, spki: bytes) -> None:
        """SignatureInvalid if another key than this one (DER SubjectPublicKeyInfo) signed."""
        what = f"the signature of entry {self.sequence}"
        if len(self.signature) != 64:
            raise SignatureInvalid(f"{what} has {len(self.signature)} bytes, not 64")
        _crypto.verify_ed25519(_crypto.load_spki(spki), self.signature, self.signed, what=what)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An event and its seal."""

    seal: Seal
    event: Event
    text: bytes = field(default=b"", repr=False, compare=False)
    """The event as canonical JSON, if that is known already."""

    @property
    def sequence(self) -> int:
        """From 1."""
        return self.seal.sequence

    @property
    def time(self) -> datetime:
        """UTC, by the broker's clock."""
        return self.seal.time

    @property
    def hash(self) -> bytes:
        """SHA-256, which the next entry repeats as `previous`."""
        return self.seal.hash

    def line(self) -> bytes:
        """The entry as it stands in the log, without the line feed."""
        return _line(self.seal, self.text or canonical(json_of_event(self.event)))


def canonical(value: object) -> bytes:
    """JSON in the one form of RFC 8785: simple, for members here have ASCII names and all numbers are whole."""
    return ENCODER.encode(value).encode()


def sign_entry(event: Event, *, sequence: int, time: datetime, previous: bytes, key: SigningKey) -> Entry:
    """The entry that says this, at this place. The key is Ed25519; ValueError if the time has no zone."""
    if time.tzinfo is None:
        raise ValueError("an entry's time needs a zone: the clock answers a datetime without one")
    time = time.astimezone(UTC)
    text = canonical(json_of_event(event))
    digest = hashlib.sha256(text).digest()
    signature = key.sign(_signed(sequence, time, previous, digest))
    seal = Seal(sequence=sequence, time=time, previous=previous, event_sha256=digest, signature=signature)
    return Entry(seal=seal, event=event, text=text)


def parse_entry(line: bytes, where: str = RECORD) -> Entry:
    """The entry in a line without its line feed; ParseError unless it is written exactly as `Entry.line` writes it.

    Whether it is authentic is not asked here. `where` names the line in errors.
    """
    if len(line) >= LONGEST_LINE:
        raise ParseError(where, "length", 0, f"a line of an audit log is shorter than {LONGEST_LINE} bytes")
    members = _json.loads(line, where)
    if not isinstance(members, dict) or members.keys() != MEMBERS:
        raise ParseError(where, "members", 0, f"an entry is an object of {', '.join(sorted(MEMBERS))}, and no more")
    try:
        event = event_of_json(members["event"])
    except ParseError as error:
        raise ParseError(where, error.field, 0, error.reason) from error
    text = canonical(json_of_event(event))
    seal = parse_seal(members, hashlib.sha256(text).digest(), where)
    if _line(seal, text) != line:
        raise ParseError(where, "form", 0, "means an entry, but is not written as entries are (RFC 8785)")
    return Entry(seal=seal, event=event)


def parse_seal(members: dict[str, object], event_sha256: bytes, where: str) -> Seal:
    """The seal in the members of an entry or a checkpoint."""
    sequence = _json.whole(members, "sequence", where)
    if not 1 <= sequence < LAST:
        raise ParseError(where, "sequence", 0, "is not a whole number from 1")
    return Seal(
        sequence=sequence, time=_time(_json.text(members, "time", where), where), event_sha256=event_sha256,
        previous=hexadecimal(members, "previous", 32, where), signature=hexadecimal(members, "signature", 64, where),
    )  # fmt: skip


def hexadecimal(members: dict[str, object], name: str, size: int, where: str) -> bytes:
    """The bytes of a member in lower-case hexadecimal, of this size."""
    text = _json.text(members, name, where)
    if not re.fullmatch(rf"[0-9a-f]{{{2 * size}}}", text):
        raise ParseError(where, name, 0, f"is not {size} bytes in lower-case hexadecimal")
    return bytes.fromhex(text)


def text_of_time(time: datetime) -> str:
    """RFC 3339, UTC, always with microseconds."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _time(text: str, where: str) -> datetime:
    try:
        if TIME.fullmatch(text):
            return datetime.fromisoformat(text)
    except ValueError:  # the 31st of February
        pass
    raise ParseError(where, "time", 0, "is not a time like 2026-01-31T12:00:00.000000Z")


def _line(seal: Seal, event: bytes) -> bytes:
    """The event's JSON is put in as it is: its name comes first in the order of names."""
    others = (
        f'"previous":"{seal.previous.hex()}","sequence":{seal.sequence},"signature":"{seal.signature.hex()}"'
        f',"time":"{text_of_time(seal.time)}"}}'
    )
    return b'{"event":' + event + b"," + others.encode()


def _signed(sequence: int, time: datetime, previous: bytes, event_sha256: bytes) -> bytes:
    """Written as `canonical` writes it: no value here needs an escape."""
    header = (
        f'{{"event":"{event_sha256.hex()}","previous":"{previous.hex()}","sequence":{sequence}'
        f',"time":"{text_of_time(time)}"}}'
    )
    return TAG + header.encode()
