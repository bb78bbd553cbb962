"""A checkpoint: the seal of a log's last entry and the broker's key, kept where the broker's host cannot write.

Whoever holds one can tell later whether the log still contains that entry: not truncated before it, not rolled back,
not replaced by another history. It needs no private key to make, for the seal is signed already, and says nothing
about sessions or secrets.
"""

from dataclasses import dataclass
from typing import Final

from cloister import _json
from cloister.broker.audit.entry import Entry, Seal, canonical, hexadecimal, parse_seal, text_of_time
from cloister.errors import ParseError

__all__ = ["LONGEST_CHECKPOINT", "Checkpoint", "parse_checkpoint"]

FORMAT: Final = "cloister audit log checkpoint 1"
LONGEST_CHECKPOINT: Final = 4096
"""Bytes."""
MEMBERS: Final = {"event", "format", "key", "previous", "sequence", "signature", "time"}
RECORD: Final = "audit checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The seal of one entry; `key` is the broker's public key, DER SubjectPublicKeyInfo of an Ed25519 key."""

    seal: Seal
    key: bytes

    @classmethod
    def of(cls, entry: Entry, key: bytes) -> "Checkpoint":
        """The checkpoint at an entry."""
        return cls(seal=entry.seal, key=key)

    def verify(self, key: bytes) -> None:
        """SignatureInvalid unless this key, DER SubjectPublicKeyInfo, signed it."""
        self.seal.verify(key)

    def serialize(self) -> bytes:
        """The checkpoint as a file has it: one line."""
        return canonical({
            "event": self.seal.event_sha256.hex(), "format": FORMAT, "key": self.key.hex(),
            "previous": self.seal.previous.hex(), "sequence": self.seal.sequence,
            "signature": self.seal.signature.hex(), "time": text_of_time(self.seal.time),
        }) + b"\n"  # fmt: skip


def parse_checkpoint(data: bytes) -> Checkpoint:
    """The checkpoint in a file's bytes; ParseError unless they are exactly one. Who signed it is not asked here."""
    if len(data) > LONGEST_CHECKPOINT:
        raise ParseError(RECORD, "length", 0, f"{len(data)} bytes; at most {LONGEST_CHECKPOINT}")
    members = _json.loads(data, RECORD)
    if not isinstance(members, dict) or members.keys() != MEMBERS or members["format"] != FORMAT:
        raise ParseError(RECORD, "members", 0, f"is not a {FORMAT!r}; `cloister log checkpoint` writes them")
    seal = parse_seal(members, hexadecimal(members, "event", 32, RECORD), RECORD)
    made = Checkpoint(seal=seal, key=hexadecimal(members, "key", 44, RECORD))
    if made.serialize().rstrip(b"\n") != data.rstrip(b"\n"):
        raise ParseError(RECORD, "form", 0, "means a checkpoint, but is not written as they are (RFC 8785)")
    return made
