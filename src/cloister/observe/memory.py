"""The memory of a process as a stream of pieces: bytes, holes that refused the read, pages never written.

/proc/PID/mem (proc_pid_mem(5)) is read through one bounded buffer, whatever the size of the process. Its
errors mean: EIO, this page may not be read (secret memory, device memory, beyond the end of a file, no longer
mapped); a read of 0 bytes, the address space is gone.

Private anonymous memory that was never written is recognised in /proc/PID/pagemap
(Documentation/admin-guide/mm/pagemap.rst) and not read: reading would make the kernel map zero pages into the
process, and runtimes reserve terabytes.
"""

import errno
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cloister.observe.findings import Reason
from cloister.observe.maps import Mapping, MappingKind, read_maps

__all__ = ["CHUNK_BYTES", "Chunk", "Hole", "Memory", "Piece", "Untouched", "open_memory", "read_mappings"]

CHUNK_BYTES = 1 << 20
PAGE = os.sysconf("SC_PAGE_SIZE")
LARGEST_OFFSET = (1 << 63) - 1
PAGEMAP_ENTRY = 8
# Bits 63 (present) and 62 (swapped) of an entry, which are the top bits of its last byte in memory.
TOUCHED = bytes(1 if byte & 0xC0 else 0 for byte in range(256))
RUN = re.compile(rb"\x01+|\x00+")
# Every page of a refused mapping is tried up to this many; of larger ones, evenly spaced pages. Secret and device
# memory are refused per mapping (check_vma_flags in mm/gup.c), so the spacing loses nothing there.
MAXIMUM_PROBES = 16384
PAGEMAP_BLOCK = 65536
SMAPS = re.compile(rb"^(?:([0-9a-f]+-[0-9a-f]+) .*|(?:Rss|Swap): +(\d+) kB)$", re.MULTILINE)
# Mappings of this size are worth a look at smaps first.
RESERVATION = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Bytes read at `address`. `data` is a view of a buffer that the next piece overwrites."""

    address: int
    data: memoryview
    mapping: Mapping | None

    @property
    def end(self) -> int:
        """The address after the last byte."""
        return self.address + len(self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """`size` bytes at `address` that could not be read."""

    address: int
    size: int
    mapping: Mapping | None
    reason: Reason

    @property
    def end(self) -> int:
        """The address after the last byte."""
        return self.address + self.size


@dataclass(frozen=True, slots=True, kw_only=True)
class Untouched:
    """`size` bytes of private memory at `address` that the process never wrote; they read as zeros."""

    address: int
    size: int
    mapping: Mapping | None

    @property
    def end(self) -> int:
        """The address after the last byte."""
        return self.address + self.size


Piece = Chunk | Hole | Untouched


class AddressSpaceGone(Exception):
    """The process ended or executed another program; internal to this module."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Open descriptors of one address space. After execve they still mean the old one, which reads as gone."""

    pid: int
    mem: int
    pagemap: int

    def __enter__(self) -> Self:
        """Nothing to do: it is open."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close both descriptors."""
        os.close(self.mem)
        os.close(self.pagemap)


def open_memory(pid: int) -> Memory:
    """Open the memory of `pid` for reading; raises OSError as the kernel gives it (EACCES, ENOENT, ESRCH)."""
    mem = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return Memory(pid=pid, mem=mem, pagemap=os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        os.close(mem)
        raise


def read_mappings(memory: Memory, mappings: Iterable[Mapping], chunk_bytes: int = CHUNK_BYTES) -> Iterator[Piece]:
    """Every byte of `mappings` once, in address order, as pieces.

    When the process ends or executes another program on the way, all that is left becomes holes that say so, except
    what was seen to be empty before: terabytes of reserved addresses that nobody could have read anything in.
    """
    buffer = memoryview(bytearray(chunk_bytes))
    listed = list(mappings)
    empty = empty_mappings(memory.pid) if any(mapping.size >= RESERVATION for mapping in listed) else frozenset()
    waiting = iter(listed)
    for mapping in waiting:
        reached = mapping.start
        try:
            for piece in read_mapping(memory, mapping, buffer, empty):
                yield piece
                reached = piece.end
        except AddressSpaceGone:
            reason = gone_reason(memory.pid)
            yield Hole(address=reached, size=mapping.end - reached, mapping=mapping, reason=reason)
            for rest in waiting:
                if known_empty(rest, empty):
                    yield Untouched(address=rest.start, size=rest.size, mapping=rest)
                else:
                    yield Hole(address=rest.start, size=rest.size, mapping=rest, reason=reason)


def gone_reason(pid: int) -> Reason:
    """Why an address space has gone: its process has ended, or has another one now."""
    try:
        return Reason.REPLACED if read_maps(pid) else Reason.GONE
    except OSError:
        return Reason.GONE


def empty_mappings(pid: int) -> frozenset[tuple[int, int]]:
    """(start, end) of the mappings without a page in memory or swap, from /proc/PID/smaps; none if it is refused.

    The pagemap tells the same, but takes a second for each terabyte of reserved addresses.
    """
    found: dict[tuple[int, int], int] = {}
    now = (0, 0)
    try:
        text = Path(f"/proc/{pid}/smaps").read_bytes()
    except OSError:
        return frozenset()
    for header, pages in SMAPS.findall(text):
        if header:
            start, end = header.split(b"-")
            now = (int(start, 16), int(end, 16))
        found[now] = found.get(now, 0) + int(pages or 0)
    return frozenset(place for place, pages in found.items() if not pages)


def read_mapping(
    memory: Memory, mapping: Mapping, buffer: memoryview, empty: frozenset[tuple[int, int]]
) -> Iterator[Piece]:
    """The pieces of one mapping; `empty` is what `empty_mappings` says."""
    if mapping.end > LARGEST_OFFSET:  # [vsyscall]: a kernel page beyond what a file offset can name
        yield Hole(address=mapping.start, size=mapping.size, mapping=mapping, reason=Reason.KERNEL_PAGES)
        return
    for start, end, touched in touched_ranges(memory.pagemap, mapping, empty):
        if touched:
            yield from read_range(memory, mapping, start, end, buffer)
        else:
            yield Untouched(address=start, size=end - start, mapping=mapping)


def touched_ranges(
    pagemap: int, mapping: Mapping, empty: frozenset[tuple[int, int]]
) -> Iterator[tuple[int, int, bool]]:
    """Split a mapping into (start, end, touched) ranges. Only private anonymous memory can be known untouched."""
    if not private_anonymous(mapping):
        yield mapping.start, mapping.end, True
        return
    if known_empty(mapping, empty):
        yield mapping.start, mapping.end, False
        return
    begun, reached, state = mapping.start, mapping.start, True
    for end, touched in page_runs(pagemap, mapping):
        if touched != state:
            if reached > begun:
                yield begun, reached, state
            begun, state = reached, touched
        reached = end
    yield begun, mapping.end, state


def private_anonymous(mapping: Mapping) -> bool:
    """Whether a page that is neither in memory nor in swap can only read as zeros."""
    return not (mapping.shared or mapping.inode) and mapping.kind is MappingKind.ANONYMOUS_OPEN


def known_empty(mapping: Mapping, empty: frozenset[tuple[int, int]]) -> bool:
    """Whether `empty_mappings` found that the process never wrote here."""
    return private_anonymous(mapping) and (mapping.start, mapping.end) in empty


def page_runs(pagemap: int, mapping: Mapping) -> Iterator[tuple[int, bool]]:
    """Runs of equal pages as (end address, touched). What the pagemap does not tell counts as touched."""
    address = mapping.start
    while address < mapping.end:
        pages = min(PAGEMAP_BLOCK, (mapping.end - address) // PAGE)
        entries = os.pread(pagemap, pages * PAGEMAP_ENTRY, address // PAGE * PAGEMAP_ENTRY)
        flags = entries[PAGEMAP_ENTRY - 1 :: PAGEMAP_ENTRY].translate(TOUCHED)
        if not flags:
            yield mapping.end, True
            return
        for run in RUN.finditer(flags):
            yield address + run.end() * PAGE, run.group()[0] == 1
        address += len(flags) * PAGE


def read_range(memory: Memory, mapping: Mapping, start: int, end: int, buffer: memoryview) -> Iterator[Piece]:
    """Read [start, end) of one mapping into `buffer`, piece by piece."""
    address = start
    while address < end:
        try:
            count = os.preadv(memory.mem, [buffer[: end - address]], address)
        except OSError as error:
            readable = next_readable(memory.mem, address, end)
            reason = hole_reason(memory.pid, mapping, address, error)
            yield Hole(address=address, size=readable - address, mapping=mapping, reason=reason)
            address = readable
            continue
        if count == 0:
            raise AddressSpaceGone
        yield Chunk(address=address, data=buffer[:count], mapping=mapping)
        address += count


def next_readable(mem: int, start: int, end: int) -> int:
    """The first page after the unreadable one at `start` that can be read, or `end`."""
    first = start - start % PAGE + PAGE
    stride = max(1, (end - first) // PAGE // MAXIMUM_PROBES) * PAGE
    for address in range(first, end, stride):
        if page_readable(mem, address):
            skipped = range(max(first, address - stride + PAGE), address, PAGE)
            return next((page for page in skipped if page_readable(mem, page)), address)
    return end


def page_readable(mem: int, address: int) -> bool:
    """Whether one byte at `address` can be read."""
    try:
        if os.pread(mem, 1, address):
            return True
    except OSError:
        return False
    raise AddressSpaceGone


def hole_reason(pid: int, mapping: Mapping, address: int, error: OSError) -> Reason:
    """Why `address` in `mapping` could not be read."""
    if error.errno != errno.EIO:
        return Reason.FAILED
    if mapping.kind is MappingKind.SECRET:
        return Reason.SECRET
    if mapping.kind is MappingKind.SPECIAL:
        return Reason.KERNEL_PAGES
    try:
        mapped = any(now.start <= address < now.end and now.path == mapping.path for now in read_maps(pid))
    except OSError:
        return Reason.GONE
    return Reason.REFUSED if mapped else Reason.CHANGED
