"""The kernel's trace ring buffer, parsed from the pages that `trace_pipe_raw` gives.

Source: `events/header_page`, `events/header_event` in tracefs; `include/linux/ring_buffer.h`. A page is

    u64 time; u64 commit (low 20 bits: bytes used; bit 31: events before this page were lost); data

and each event `u32 type_len:5, time_delta:27` with its data, whose layout `events/*/*/format` gives.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Field", "Format", "RawEvent", "lost_events", "page_events", "parse_format"]

HEAD = struct.Struct("<QQ")
WORD = struct.Struct("<I")
COMMIT_MASK = (1 << 20) - 1
MISSED = 1 << 31
LARGEST_SHORT = 28
PADDING, TIME_EXTEND, TIME_STAMP = 29, 30, 31
DELTA_SHIFT = 5
EXTEND_SHIFT = 27
STAMP_BITS = 59  # an absolute stamp carries 59 bits; the page's own time gives the rest

FIELD = re.compile(r"\tfield:(.+?)([\w]+)(\[\d*\])?;\toffset:(\d+);\tsize:(\d+);\tsigned:(\d);")


@dataclass(frozen=True, slots=True)
class RawEvent:
    """One event: its time in the trace clock (nanoseconds) and its bytes."""

    time: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Field:
    """Where a field lies in an event. `located` marks `__data_loc`: the bytes stand elsewhere in the event."""

    offset: int
    size: int
    signed: bool
    located: bool

    def number(self, data: bytes) -> int:
        """The field as a number."""
        return int.from_bytes(data[self.offset : self.offset + self.size], "little", signed=self.signed)

    def text(self, data: bytes) -> str:
        """The field as a string."""
        where = self.number(data) & 0xFFFFFFFF
        start, size = (where & 0xFFFF, where >> 16) if self.located else (self.offset, self.size)
        return data[start : start + size].split(b"\0")[0].decode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of event: its number and its fields."""

    number: int
    fields: dict[str, Field]


def parse_format(text: str) -> Format:
    """Parse a `format` file; raises `ValueError` when it has no ID."""
    number = re.search(r"^ID: (\d+)$", text, re.MULTILINE)
    if number is None:
        raise ValueError("an event format without an ID line")
    fields = {
        name: Field(int(offset), int(size), signed == "1", kind.startswith("__data_loc"))
        for kind, name, _, offset, size, signed in FIELD.findall(text.replace("[] ", " "))
    }
    return Format(int(number[1]), fields)


def lost_events(page: bytes) -> bool:
    """True when the kernel dropped events before this page because nobody read fast enough."""
    return len(page) >= HEAD.size and bool(HEAD.unpack_from(page)[1] & MISSED)


def page_events(page: bytes) -> Iterator[RawEvent]:
    """The events of one page; a page cut short gives the events before the cut."""
    if len(page) < HEAD.size:
        return
    time, commit = HEAD.unpack_from(page)
    end = min(HEAD.size + (commit & COMMIT_MASK), len(page))
    position = HEAD.size
    while position + WORD.size <= end:
        (word,) = WORD.unpack_from(page, position)
        kind, delta = word & 0x1F, word >> DELTA_SHIFT
        position += WORD.size
        if kind == 0 or kind > LARGEST_SHORT:
            if position + WORD.size > end:
                return
            (extra,) = WORD.unpack_from(page, position)
        else:
            extra = 0
        if kind == PADDING:
            if delta == 0:
                return
            time += delta
            position += max(extra, WORD.size)
        elif kind == TIME_EXTEND:
            time += (extra << EXTEND_SHIFT) + delta
            position += WORD.size
        elif kind == TIME_STAMP:
            time = (time >> STAMP_BITS << STAMP_BITS) | ((extra << EXTEND_SHIFT) + delta)
            position += WORD.size
        else:
            time += delta
            start, size = (position, kind * WORD.size) if kind else (position + WORD.size, extra - WORD.size)
            if size < 0 or start + size > end:
                return
            yield RawEvent(time, page[start : start + size])
            position = start + size
