"""Looking for secrets in the memory of processes, and in files.

A scan does not stop the process: what moves while it is read may be missed, or seen twice. Mappings that
appear meanwhile are read in further passes, as is the new memory of a process that executed another program.
"""

import dataclasses
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from cloister.observe.family import Member, family, memory_thread, read_member
from cloister.observe.findings import Absent, Reason, Scan
from cloister.observe.images import open_image
from cloister.observe.maps import Mapping, read_maps
from cloister.observe.memory import Hole, open_memory, read_mappings
from cloister.observe.needles import Needles
from cloister.observe.tally import Place, Tally

__all__ = ["absence_of", "scan_family", "scan_file", "scan_member", "scan_process"]

PASSES = 3
REASONS = {
    errno.EACCES: Reason.DENIED,
    errno.EPERM: Reason.DENIED,
    errno.ENOENT: Reason.GONE,
    errno.ESRCH: Reason.GONE,
}


def scan_family(pid: int, needles: Needles, *, aes_keys: bool = False) -> Scan:
    """Search the memory of `pid`, its descendants and its guards, and of those that appear meanwhile.

    A pid that does not exist gives a scan with one absence, Reason.GONE.
    """
    scans: dict[int, Scan] = {}
    for _ in range(PASSES):
        new = [member for member in family(pid) if member.pid not in scans]
        if not new:
            break
        for member in new:
            scans[member.pid] = scan_member(member, needles, aes_keys=aes_keys)
    return Scan.total(scans.values()) if scans else gone(pid)


def scan_process(pid: int, needles: Needles, *, aes_keys: bool = False) -> Scan:
    """Search the memory of this one process; see `scan_family` for a whole program."""
    try:
        member = read_member(pid)
    except OSError:
        return gone(pid)
    return scan_member(member, needles, aes_keys=aes_keys)


def gone(pid: int) -> Scan:
    """The scan of a process that is not there."""
    return Scan(absences=(Absent(where=f"process {pid}", reason=Reason.GONE),))


def scan_member(member: Member, needles: Needles, *, aes_keys: bool = False) -> Scan:
    """Search the memory of one process of a family, which may end or change meanwhile."""
    if member.pid == os.getpid():
        return Scan(absences=(Absent(where=f"memory of {member}", reason=Reason.SCANNER),))
    tally = Tally(Place(where="memory", owner=str(member), pid=member.pid), needles, aes_keys=aes_keys)
    try:
        read_memory(memory_thread(member.pid), tally)
    except OSError as error:
        tally.absent(absence_of(f"memory of {member}", error))
    scan = tally.result()
    return scan if member.role == "program" else ended_rightly(scan)


def ended_rightly(scan: Scan) -> Scan:
    """The scan of a descendant or guard, whose end is part of the program's life and leaves no doubt about it."""
    absences = (
        dataclasses.replace(absent, reason=Reason.ENDED) if absent.reason is Reason.GONE else absent
        for absent in scan.absences
    )
    return dataclasses.replace(scan, absences=tuple(absences))


def absence_of(where: str, error: OSError) -> Absent:
    """The absence that a refused open or read means."""
    return Absent(where=where, reason=REASONS.get(error.errno or 0, Reason.FAILED), detail=error.strerror or str(error))


def read_memory(pid: int, tally: Tally) -> None:
    """Feed all memory of `pid`, in several passes while it changes; raises OSError when it cannot be opened."""
    done: list[Mapping] = []
    for _ in range(PASSES):
        mappings = read_maps(pid)
        if not mappings and not done:
            tally.absent(Absent(where=f"memory of {tally.place.owner}", reason=Reason.NO_MEMORY))
        new = list(without(mappings, done))
        if not new:
            return
        replaced = read_pass(pid, new, tally)
        done = [] if replaced else mappings
    for mapping in without(read_maps(pid), done):
        tally.absent(Absent(where=f"memory of {tally.place.owner}: {mapping}", reason=Reason.LATE, size=mapping.size))


def read_pass(pid: int, mappings: Iterable[Mapping], tally: Tally) -> bool:
    """Feed `mappings` of `pid` once; whether the address space was replaced by execve on the way."""
    replaced = False
    with open_memory(pid) as memory:
        for piece in read_mappings(memory, mappings):
            tally.feed(piece)
            replaced = replaced or (isinstance(piece, Hole) and piece.reason is Reason.REPLACED)
    return replaced


def without(mappings: Iterable[Mapping], done: list[Mapping]) -> Iterator[Mapping]:
    """What of `mappings` lies outside `done`; both in address order."""
    waiting = list(done)
    for mapping in mappings:
        start = mapping.start
        while waiting and waiting[0].end <= start:
            waiting.pop(0)
        for old in waiting:
            if old.start >= mapping.end:
                break
            if old.start > start:
                yield part(mapping, start, old.start)
            start = max(start, old.end)
        if start < mapping.end:
            yield part(mapping, start, mapping.end)


def part(mapping: Mapping, start: int, end: int) -> Mapping:
    """The part [start, end) of a mapping."""
    return dataclasses.replace(mapping, start=start, end=end, offset=mapping.offset + start - mapping.start)


def scan_file(path: Path | str, needles: Needles, *, aes_keys: bool = False) -> Scan:
    """Search a file. In an ELF core, memory is searched by address and the rest (notes, registers) by offset.

    Raises ObservationError when it cannot be opened, or is neither a regular file nor a block device.
    """
    with open_image(Path(path)) as image:
        scans = []
        for place, pieces in image.parts():
            tally = Tally(place, needles, aes_keys=aes_keys)
            for piece in pieces:
                tally.feed(piece)
            scans.append(tally.result())
    return Scan.total(scans)
