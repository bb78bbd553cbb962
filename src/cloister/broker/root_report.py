"""What a runtime reports of a volume: its newest root, under a key that only the volume's holders have.

    message          text NAME, u64 generation, 32 bytes digest
    report           message, 32 bytes HMAC-SHA-256 of it under the key for reports
    acknowledgement  32 bytes HMAC-SHA-256 of the message under the key for acknowledgements

Both keys are HKDF-SHA-256 of the volume's key, without salt. NAME is what the broker wrote into the shield block, and
the runtime only repeats it: SESSION:VOLUME#START.BASE. START is a number that grows with each start, BASE the
generation that the broker had then. So a report says for which session it is made, by which start, and on top of what.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cloister._wire import Reader
from cloister.broker.session.language import SESSION_NAME
from cloister.errors import ParseError
from cloister.shield_policy.fields import KEY, WRITER, text, text_of, u64
from cloister.shield_policy.policy import Root

__all__ = ["RootReport", "StartName", "volume_identity"]

RECORD: Final = "root report"
GENERATIONS: Final = range(1, 1 << 53)
"""Larger numbers do not survive every JSON reader (RFC 8259, section 6)."""
LONGEST_NAME: Final = 2048
"""Bytes."""
START: Final = re.compile(rf"({SESSION_NAME}):([^\x00-\x1f\x7f]+)#([0-9a-f]{{24}})\.([0-9]{{1,16}})")
REPORT, ACKNOWLEDGED, VOLUME = "report", "acknowledged", "volume"


def derived(key: bytes, purpose: str) -> bytes:
    """32 bytes of the volume's key, for one purpose."""
    return HKDF(hashes.SHA256(), KEY, None, f"cloister root 1 {purpose}".encode()).derive(key)


def volume_identity(key: bytes) -> bytes:
    """What tells one volume's key from another, and says nothing else of it."""
    return derived(key, VOLUME)


@dataclass(frozen=True, slots=True)
class StartName:
    """The name that one start reports a volume under."""

    session: str
    volume: str
    start: str
    base: int

    def __str__(self) -> str:
        return f"{self.session}:{self.volume}#{self.start}.{self.base}"

    @property
    def line(self) -> str:
        """What tells this start from others of the same volume."""
        return f"{self.start}.{self.base}"

    @property
    def writer(self) -> bytes:
        """What this start's runtime writes into each state of the volume: the first bytes of the name's SHA-256."""
        return hashlib.sha256(str(self).encode("utf-8", "surrogateescape")).digest()[:WRITER]

    @classmethod
    def of_line(cls, session: str, volume: str, line: str) -> "StartName":
        """From what was kept of it."""
        start, _, base = line.partition(".")
        return cls(session, volume, start, int(base))

    @classmethod
    def parse(cls, name: str) -> "StartName":
        """ParseError for what is none."""
        match = START.fullmatch(name)
        if match is None:
            raise ParseError(RECORD, "name", 4, "is not SESSION:VOLUME#START.BASE")
        return cls(match[1], match[2], match[3], int(match[4]))


@dataclass(frozen=True, slots=True)
class RootReport:
    """One report. Nothing of it is believed before `is_made_with` says by which key it was made."""

    name: str
    root: Root
    mac: bytes

    @classmethod
    def parse(cls, data: bytes) -> "RootReport":
        """From exactly these bytes. ParseError."""
        reader = Reader(data, RECORD)
        name = text_of(reader, "name")
        if not 1 <= len(name.encode("utf-8", "surrogateescape")) <= LONGEST_NAME:
            raise ParseError(RECORD, "name", 0, f"has not 1 to {LONGEST_NAME} bytes")
        generation = reader.u64("generation")
        if generation not in GENERATIONS:
            raise ParseError(RECORD, "generation", reader.offset, f"{generation} is none")
        found = cls(name, Root(generation, reader.take(KEY, "digest")), reader.take(KEY, "mac"))
        reader.finish()
        return found

    @classmethod
    def make(cls, key: bytes, name: str, root: Root) -> "RootReport":
        """What a runtime makes that has the volume's key."""
        return cls(name, root, hmac.digest(derived(key, REPORT), _message(name, root), "sha256"))

    def serialize(self) -> bytes:
        """Its bytes."""
        return _message(self.name, self.root) + self.mac

    def is_made_with(self, key: bytes) -> bool:
        """Whether whoever made it has this key."""
        return hmac.compare_digest(self.mac, RootReport.make(key, self.name, self.root).mac)

    def acknowledgement(self, key: bytes) -> bytes:
        """What tells the holder of the key that this very report was kept."""
        return hmac.digest(derived(key, ACKNOWLEDGED), _message(self.name, self.root), "sha256")


def _message(name: str, root: Root) -> bytes:
    return text(name) + u64(root.generation) + root.digest
