"""DER, read strictly (ITU-T X.690, section 10): one length form, no indefinite lengths, nothing behind the value.

Only what certificates, revocation lists and the vendors' extensions need.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from cloister.errors import ParseError

__all__ = [
    "BIT_STRING",
    "BOOLEAN",
    "ENUMERATED",
    "GENERALIZED_TIME",
    "INTEGER",
    "OCTET_STRING",
    "OID",
    "SEQUENCE",
    "SET",
    "UTC_TIME",
    "Der",
    "oid_of",
]

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
OID: Final = 0x06
ENUMERATED: Final = 0x0A
UTC_TIME: Final = 0x17
GENERALIZED_TIME: Final = 0x18
SEQUENCE: Final = 0x30
SET: Final = 0x31
LARGEST_ARC: Final = (1 << 128) + 80
"""Of an object identifier: UUIDs (X.667) are the largest there are. The first arc is joined with the second."""
LONGEST_INTEGER: Final = 1536
"""Bytes. A modulus of 8192 bits has 1,025; Python does not write numbers of more than 4,300 digits into messages."""
SHORT_TIME: Final = re.compile(rb"([0-9]{12})Z")
LONG_TIME: Final = re.compile(rb"([0-9]{14})Z")


class Der:
    """Reads the elements of `data` one after the other. `base` is where `data` stands in the whole input."""

    __slots__ = ("_data", "_end", "base", "offset", "record")

    def __init__(self, data: bytes, record: str, *, base: int = 0) -> None:
        self._data, self.record, self.base, self.offset, self._end = data, record, base, 0, len(data)

    @property
    def at_end(self) -> bool:
        """Whether everything was read."""
        return self.offset == self._end

    def tag(self) -> int:
        """The tag of the next element, 0 at the end."""
        return 0 if self.at_end else self._data[self.offset]

    def element(self, field: str, *tags: int) -> tuple[int, bytes, bytes]:
        """The next element: its tag, its content, and all its bytes. One of `tags`, if any are given."""
        start = self.offset
        if self._end - start < 2:
            raise self.error(field, "the data ends here")
        tag, length, header = self._data[start], self._data[start + 1], 2
        if tags and tag not in tags:
            raise self.error(field, f"has tag {tag:#04x}; expected {' or '.join(f'{one:#04x}' for one in tags)}")
        if tag & 0x1F == 0x1F:
            raise self.error(field, "has a tag of several bytes")
        if length >= 0x80:
            length, header = self._long_length(field, length & 0x7F)
        if length > self._end - start - header:
            raise self.error(field, f"needs {length} bytes, {self._end - start - header} are left")
        self.offset = start + header + length
        whole = self._data[start : self.offset]
        return tag, whole[header:], whole

    def _long_length(self, field: str, size: int) -> tuple[int, int]:
        start = self.offset + 2
        if not 1 <= size <= 4 or self._end - start < size:
            raise self.error(field, "has a length that DER does not allow here")
        length = int.from_bytes(self._data[start : start + size])
        if length < 0x80 or length >> (8 * (size - 1)) == 0:
            raise self.error(field, "has a length in more bytes than it needs")
        return length, 2 + size

    def inside(self, field: str, *tags: int) -> "Der":
        """A reader of the next element's content."""
        start = self.offset
        _, content, whole = self.element(field, *(tags or (SEQUENCE,)))
        return Der(content, f"{self.record}.{field}", base=self.base + start + len(whole) - len(content))

    def whole(self, field: str, *tags: int) -> bytes:
        """All bytes of the next element."""
        return self.element(field, *tags)[2]

    def each(self, field: str, *tags: int) -> "Iterator[Der]":
        """Readers of the contents of all remaining elements."""
        while not self.at_end:
            yield self.inside(field, *tags)

    def integer(self, field: str, tag: int = INTEGER) -> int:
        """The next element as a number, which may be negative."""
        content = self.element(field, tag)[1]
        if len(content) > LONGEST_INTEGER:
            raise self.error(field, f"is a number of {len(content)} bytes; at most {LONGEST_INTEGER}")
        if not content or (len(content) > 1 and content[0] in {0, 0xFF} and (content[0] ^ content[1]) < 0x80):
            raise self.error(field, "is not a number in its shortest form")
        return int.from_bytes(content, signed=True)

    def octets(self, field: str) -> bytes:
        """The content of the next OCTET STRING."""
        return self.element(field, OCTET_STRING)[1]

    def bits(self, field: str) -> bytes:
        """The content of the next BIT STRING, which has whole bytes."""
        content = self.element(field, BIT_STRING)[1]
        if not content or content[0]:
            raise self.error(field, "is not a string of whole bytes")
        return content[1:]

    def boolean(self, field: str) -> bool:
        """The next BOOLEAN."""
        content = self.element(field, BOOLEAN)[1]
        if content not in {b"\x00", b"\xff"}:
            raise self.error(field, "is neither true nor false")
        return content == b"\xff"

    def oid(self, field: str) -> str:
        """The next OBJECT IDENTIFIER, dotted."""
        start, content = self.offset, self.element(field, OID)[1]
        try:
            return oid_of(content)
        except ValueError as error:
            raise ParseError(self.record, field, self.base + start, str(error)) from error

    def time(self, field: str) -> datetime:
        """The next UTCTime or GeneralizedTime as X.509 restricts them (RFC 5280, section 4.1.2.5): seconds, Zulu."""
        start, (tag, content, _) = self.offset, self.element(field, UTC_TIME, GENERALIZED_TIME)
        found = (SHORT_TIME if tag == UTC_TIME else LONG_TIME).fullmatch(content)
        if found is None:
            raise ParseError(self.record, field, self.base + start, "is not a time in a form that X.509 allows")
        digits = found[1].decode("ascii")
        if tag == UTC_TIME:
            digits = ("19" if digits >= "50" else "20") + digits
        try:
            return datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        except ValueError as error:
            raise ParseError(self.record, field, self.base + start, f"is not a time: {error}") from error

    def finish(self) -> None:
        """Refuse what is left over."""
        if not self.at_end:
            raise self.error("end", f"{self._end - self.offset} bytes too many")

    def error(self, field: str, reason: str) -> ParseError:
        """A ParseError about the next byte, to be raised."""
        return ParseError(self.record, field, self.base + self.offset, reason)


def oid_of(content: bytes) -> str:
    """The dotted form of an OBJECT IDENTIFIER's content (X.690, section 8.19); ValueError if it is malformed."""
    if not content or content[-1] & 0x80:
        raise ValueError("is not an object identifier")
    arcs, value, fresh = [], 0, True
    for byte in content:
        if fresh and byte == 0x80:
            raise ValueError("has an arc with leading zeros")
        value, fresh = value << 7 | byte & 0x7F, not byte & 0x80
        if value > LARGEST_ARC:
            raise ValueError("has an arc of more than 128 bits")
        if fresh:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, [first, arcs[0] - 40 * first, *arcs[1:]]))
