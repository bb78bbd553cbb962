"""Dumping a family of processes: one ELF core each, and a map of what was readable, what was not and why.

Cores hold whatever secrets the memory holds: they are created with mode 0600, never over an existing file.
"""

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloister.errors import ObservationError, UsageError
from cloister.observe.corenotes import build_notes, read_identity
from cloister.observe.corewrite import CoreWriter
from cloister.observe.family import Member, family, memory_thread
from cloister.observe.findings import Absent, Reason
from cloister.observe.maps import Mapping, read_maps
from cloister.observe.memory import Chunk, Hole, Piece, open_memory, read_mappings
from cloister.observe.registers_unsafe import Threads, stopped
from cloister.observe.scan import absence_of

__all__ = ["DumpOptions", "MappingDump", "ProcessDump", "dump_family"]

Progress = Callable[[Member, int], None]
"""Called after each piece with the process and the bytes gone through so far, readable or not."""


@dataclass(frozen=True, kw_only=True)
class DumpOptions:
    """`registers` stops each thread for a moment; `freeze` keeps all stopped while their memory is read."""

    registers: bool = True
    freeze: bool = False


@dataclass(frozen=True, kw_only=True)
class MappingDump:
    """Bytes of one mapping: read, never written by the process, and unreadable by reason. They add up to its size."""

    mapping: Mapping
    read_bytes: int
    untouched_bytes: int
    unreadable: dict[Reason, int]


@dataclass(frozen=True, kw_only=True)
class ProcessDump:
    """One process. `core` is the file written; `absences` are what is missing beside memory: registers, the whole."""

    member: Member
    core: Path | None
    threads: tuple[int, ...]
    mappings: tuple[MappingDump, ...]
    absences: tuple[Absent, ...]

    @property
    def read_bytes(self) -> int:
        """Bytes read from memory."""
        return sum(one.read_bytes for one in self.mappings)


def dump_family(pid: int, output: Path, options: DumpOptions, progress: Progress) -> list[ProcessDump]:
    """Dump `pid` to `output`, and each other member of its family to `output` with its pid appended.

    Raises ObservationError when there is no such process or the disk is full, UsageError when a core exists already.
    """
    members = family(pid)
    if not members:
        raise ObservationError(f"there is no process {pid}; look its id up with ps or pgrep")
    return [
        dump_member(member, output if member.pid == pid else Path(f"{output}.{member.pid}"), options, progress)
        for member in members
        if member.pid != os.getpid()
    ]


def dump_member(member: Member, core: Path, options: DumpOptions, progress: Progress) -> ProcessDump:
    """Dump one process; one that ended or refuses gives a record without a core."""
    try:
        return write_core(member, core, options, progress)
    except OSError as error:
        absent = absence_of(f"memory of {member}", error)
        return ProcessDump(member=member, core=None, threads=(), mappings=(), absences=(absent,))


def write_core(member: Member, core: Path, options: DumpOptions, progress: Progress) -> ProcessDump:
    """Write the core of a process; raises OSError when it cannot be opened."""
    with contextlib.ExitStack() as frozen:
        threads = frozen.enter_context(halted(member, options))
        if not options.freeze:
            frozen.close()
        source = memory_thread(member.pid)
        mappings = read_maps(source)
        notes = build_notes(read_identity(member.pid), threads.stopped, mappings)
        with open_memory(source) as memory, new_file(core) as descriptor:
            writer = CoreWriter(descriptor, notes)
            records = list(record_all(read_mappings(memory, mappings), mappings, writer, member, progress))
            writer.finish()
    return ProcessDump(
        member=member,
        core=core,
        threads=tuple(thread.tid for thread in threads.stopped),
        mappings=tuple(records),
        absences=threads.absences,
    )


@contextlib.contextmanager
def halted(member: Member, options: DumpOptions) -> Iterator[Threads]:
    """The threads of a process with their registers, stopped; none when registers are not asked for."""
    if options.registers:
        with stopped(member.pid) as threads:
            yield threads
    else:
        absent = Absent(where=f"registers of {member}", reason=Reason.NOT_ASKED)
        yield Threads(stopped=(), absences=(absent,))


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[int]:
    """A new file that only its owner can read; removed again when the dump fails, for half a core misleads."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise UsageError(f"{path} exists already; remove it or choose another --output") from error
    except OSError as error:
        raise UsageError(f"cannot create {path}: {error.strerror}; choose another --output") from error
    try:
        yield descriptor
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def record_all(
    pieces: Iterator[Piece], mappings: Sequence[Mapping], writer: CoreWriter, member: Member, progress: Progress
) -> Iterator[MappingDump]:
    """Write every piece, and account for it; one record per mapping, in address order."""
    read: Counter[int] = Counter()
    untouched: Counter[int] = Counter()
    unreadable: dict[int, Counter[Reason]] = {mapping.start: Counter() for mapping in mappings}
    done = 0
    for piece in pieces:
        writer.feed(piece)
        size = piece.end - piece.address
        start = piece.mapping.start if piece.mapping else 0
        if isinstance(piece, Hole):
            unreadable[start][piece.reason] += size
        else:
            (read if isinstance(piece, Chunk) else untouched)[start] += size
        done += size
        progress(member, done)
    for mapping in mappings:
        yield MappingDump(
            mapping=mapping,
            read_bytes=read[mapping.start],
            untouched_bytes=untouched[mapping.start],
            unreadable=dict(unreadable[mapping.start]),
        )
