"""Finding needles in a stream of bytes that arrives in pieces of any size.

Engine: the Aho-Corasick library, in two automata. The exact one reports overlapping matches but walks every
byte (0.6 GB/s). The filter only says whether a chunk holds anything; in its leftmost mode the library uses vector
instructions (1.5 to 2.6 GB/s for 1 to 6 secrets of 12 to 17 patterns each). The exact one then runs on the few
chunks with a match. Measured on a 142 MB core file, where one `bytes.find` pass per pattern gave 0.18 GB/s for one
secret, an alternation in `re` 0.06, GNU grep for one plain pattern 1.1 to 1.9; benchmarks/scan_speed.py repeats this.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ahocorasick_rs import BytesAhoCorasick, MatchKind

from cloister.observe.needles import Needle, Needles

__all__ = ["Hit", "Searcher"]

# The library's vector search serves at most this many patterns.
FILTER_PATTERNS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """`needle` seen at `address`; `matched` is less than its length only at the edge of unreadable memory."""

    needle: Needle
    address: int
    matched: int


class Searcher:
    """Feed it contiguous bytes with `feed`; call `gap` where the stream breaks off.

    Each occurrence is reported once, by the piece in which it ends, whatever the sizes of the pieces.
    """

    def __init__(self, needles: Needles) -> None:
        """Build the automaton once; a Searcher may be used for any number of streams, one after the other."""
        self.needles = needles.needles
        self.keep = max(needles.longest - 1, 0)
        self.filters = [BytesAhoCorasick(group, MatchKind.LeftmostFirst) for group in filter_groups(needles)]
        self.automaton = BytesAhoCorasick([needle.pattern for needle in self.needles])
        self.tail = b""
        self.next_address = 0
        self.head: bytes | None = None
        self.hole_end = 0

    def feed(self, address: int, data: memoryview) -> Iterator[Hit]:
        """Occurrences that end in `data`, which lies at `address`; a jump in addresses starts afresh."""
        if address != self.next_address:
            yield from self.finish()
            self.begin(address)
        if self.head is not None:
            self.head += bytes(data[: self.keep])
            if len(self.head) >= self.keep:
                yield from self.endings()
        yield from self.across(address, bytes(data[: self.keep]))
        yield from self.inside(address, data)
        self.tail = (self.tail + bytes(data[-self.keep :]))[-self.keep :] if self.keep else b""
        self.next_address = address + len(data)

    def gap(self, address: int, size: int) -> Iterator[Hit]:
        """Tell that `size` bytes at `address` are unreadable; yields needles whose beginning stands right before."""
        yield from self.finish()
        if address == self.next_address:
            yield from self.beginnings(address)
        self.begin(address + size)
        self.head, self.hole_end = b"", address + size

    def finish(self) -> Iterator[Hit]:
        """The stream ends here: judge the bytes kept since the last hole."""
        if self.head is not None:
            yield from self.endings()
        self.head = None

    def begin(self, address: int) -> None:
        """Start a new contiguous stream at `address`."""
        self.tail, self.next_address = b"", address

    def inside(self, address: int, data: memoryview) -> Iterator[Hit]:
        """Occurrences wholly in `data`."""
        if not any(automaton.find_matches_as_indexes(data) for automaton in self.filters):
            return
        for index, start, end in self.automaton.find_matches_as_indexes(data, overlapping=True):
            yield Hit(needle=self.needles[index], address=address + start, matched=end - start)

    def across(self, address: int, head: bytes) -> Iterator[Hit]:
        """Occurrences that start in the kept tail and end in `head`."""
        border = len(self.tail)
        if not border:
            return
        for index, start, end in self.automaton.find_matches_as_indexes(self.tail + head, overlapping=True):
            if start < border < end:
                yield Hit(needle=self.needles[index], address=address - border + start, matched=end - start)

    def beginnings(self, hole: int) -> Iterator[Hit]:
        """The longest beginning of each needle that stands right before `hole`."""
        for needle in self.needles:
            pattern = needle.pattern
            for size in range(min(len(pattern) - 1, len(self.tail)), needle.minimum_part - 1, -1):
                if self.tail.endswith(pattern[:size]):
                    yield Hit(needle=needle, address=hole - size, matched=size)
                    break

    def endings(self) -> Iterator[Hit]:
        """The longest end of each needle that stands right after the last hole."""
        head, self.head = self.head or b"", None
        for needle in self.needles:
            pattern = needle.pattern
            for size in range(min(len(pattern) - 1, len(head)), needle.minimum_part - 1, -1):
                if head.startswith(pattern[-size:]):
                    yield Hit(needle=needle, address=self.hole_end, matched=size)
                    break


def filter_groups(needles: Needles) -> list[list[bytes]]:
    """The patterns, shortened where that makes them rarer, in even groups that the vector search can take.

    Leading zeros are left out: memory is full of zeros, and UTF-16BE would make every one of them a candidate.
    """
    patterns = sorted({needle.pattern.lstrip(b"\0") or needle.pattern for needle in needles.needles})
    groups = -(-len(patterns) // FILTER_PATTERNS)
    return [patterns[index::groups] for index in range(groups)]
