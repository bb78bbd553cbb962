"""Turns the pieces of one place, and what is found in them, into a `Scan`."""

import bisect
from collections import Counter
from dataclasses import dataclass

from cloister.observe.findings import Absent, Coverage, Finding, FoundKey, Scan
from cloister.observe.keyschedule import KeyFinder, KeyHit
from cloister.observe.maps import Mapping
from cloister.observe.memory import Chunk, Hole, Piece, Untouched
from cloister.observe.needles import Needle, Needles
from cloister.observe.search import Hit, Searcher

__all__ = ["LISTED_PER_NEEDLE", "Place", "Tally"]

# A short secret can be found millions of times; the rest are counted in `Scan.unlisted`.
LISTED_PER_NEEDLE = 100


@dataclass(frozen=True, kw_only=True)
class Place:
    """What is searched: a process's memory, one of its files, or a file.

    A file of no process has the owner "" and the pid None.
    """

    where: str
    owner: str
    pid: int | None = None


class Tally:
    """Feed it the pieces of one place in order, then take `result()`."""

    def __init__(self, place: Place, needles: Needles, *, aes_keys: bool = False) -> None:
        """Search for `needles`, and for expanded AES keys if asked."""
        self.place = place
        self.needles = needles
        self.searcher = Searcher(needles)
        self.key_finder = KeyFinder() if aes_keys else None
        self.zeros = memoryview(bytes(max(self.searcher.keep, 1)))
        self.findings: list[Finding] = []
        self.counts: Counter[Needle] = Counter()
        self.keys: list[FoundKey] = []
        self.absences: list[Absent] = []
        self.read_bytes = 0
        self.untouched_bytes = 0
        self.reserved_bytes = 0
        self.mappings: list[Mapping] = []

    def feed(self, piece: Piece) -> None:
        """Take the next piece."""
        if piece.mapping is not None and (not self.mappings or self.mappings[-1] != piece.mapping):
            bisect.insort(self.mappings, piece.mapping, key=lambda mapping: mapping.start)
        if isinstance(piece, Chunk):
            self.feed_bytes(piece)
        elif isinstance(piece, Hole):
            self.feed_hole(piece)
        else:
            self.feed_zeros(piece)

    def feed_bytes(self, chunk: Chunk) -> None:
        """Search the bytes of a chunk."""
        self.read_bytes += len(chunk.data)
        for hit in self.searcher.feed(chunk.address, chunk.data):
            self.found(hit)
        if self.key_finder is not None:
            for key in self.key_finder.feed(chunk.address, chunk.data):
                self.found_key(key)

    def feed_zeros(self, piece: Untouched) -> None:
        """Untouched memory: zeros, of which only the first and last can belong to a needle."""
        if piece.mapping is not None and piece.mapping.reserved:
            self.reserved_bytes += piece.size
        else:
            self.untouched_bytes += piece.size
        edge = min(piece.size, len(self.zeros))
        for start in sorted({piece.address, piece.end - edge}):
            for hit in self.searcher.feed(start, self.zeros[:edge]):
                self.found(hit)

    def feed_hole(self, hole: Hole) -> None:
        """Unreadable memory: note it, and look for secrets cut off by it."""
        for hit in self.searcher.gap(hole.address, hole.size):
            self.found(hit)
        where = f"{self.place.where} of {self.place.owner}" if self.place.pid is not None else self.place.where
        label = str(hole.mapping) if hole.mapping else f"{hole.address:#x}"
        self.absent(Absent(where=f"{where}: {label}", reason=hole.reason, size=hole.size))

    def absent(self, absent: Absent) -> None:
        """Note something that was not looked at."""
        self.absences.append(absent)

    def found(self, hit: Hit) -> None:
        """List a hit, or count it when its needle has been listed often enough."""
        self.counts[hit.needle] += 1
        if self.counts[hit.needle] > LISTED_PER_NEEDLE:
            return
        mapping = self.mapping_at(hit.address)
        self.findings.append(
            Finding(
                label=hit.needle.label,
                encoding=hit.needle.encoding,
                pid=self.place.pid,
                where=self.place.where,
                address=hit.address,
                mapping=mapping,
                owner=self.place.owner,
                matched=hit.matched,
                length=len(hit.needle.pattern),
                crosses=mapping is not None and hit.address + hit.matched > mapping.end,
            )
        )

    def found_key(self, hit: KeyHit) -> None:
        """List an expanded key."""
        self.keys.append(
            FoundKey(
                key_bits=hit.key_bits,
                layout=hit.layout,
                pid=self.place.pid,
                where=self.place.where,
                address=hit.address,
                mapping=self.mapping_at(hit.address),
                owner=self.place.owner,
            )
        )

    def mapping_at(self, address: int) -> Mapping | None:
        """The mapping that holds `address`, among those seen."""
        index = bisect.bisect_right(self.mappings, address, key=lambda mapping: mapping.start) - 1
        return self.mappings[index] if index >= 0 and address < self.mappings[index].end else None

    def result(self) -> Scan:
        """Everything so far."""
        for hit in self.searcher.finish():
            self.found(hit)
        coverage = Coverage(
            read_bytes=self.read_bytes,
            unreadable_bytes=sum(absent.size for absent in self.absences),
            untouched_bytes=self.untouched_bytes,
            reserved_bytes=self.reserved_bytes,
            expected_chance_hits=self.needles.expected_chance_hits(self.read_bytes),
        )
        return Scan(
            findings=tuple(self.findings),
            absences=tuple(self.absences),
            coverage=coverage,
            keys=tuple(self.keys),
            unlisted=sum(max(0, count - LISTED_PER_NEEDLE) for count in self.counts.values()),
        )
