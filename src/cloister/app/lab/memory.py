"""A process's memory as the administrator sees it: each mapping's colour on the map, each hit with its surroundings."""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from cloister.observe.family import family
from cloister.observe.findings import Finding
from cloister.observe.maps import Mapping, MappingKind, read_maps
from cloister.observe.memory import Hole, Untouched, open_memory, read_mappings
from cloister.observe.needles import Needles
from cloister.observe.report.record import Access, HitRecord, MemberRecord, Region
from cloister.observe.scan import scan_family
from cloister.observe.trace.memory_unsafe import read_by_file
from cloister.observe.trace.processes import tracer_of

__all__ = ["Look", "input_address", "look_at", "wait_for_input"]

ROW = 8
READ_SYSCALL, STANDARD_INPUT = "0", "0x0"  # x86-64; the file prints arguments in hexadecimal


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one look at a program and its guards showed.

    `hits` and `read_bytes` are of the whole family, `regions` and `unreadable_bytes` of the program alone.
    """

    members: tuple[MemberRecord, ...]
    regions: tuple[Region, ...]
    hits: tuple[HitRecord, ...]
    read_bytes: int
    unreadable_bytes: int
    buffer_address: int


def look_at(pid: int, needles: Needles) -> Look:
    """Scan the whole family of `pid` for `needles`, and map the memory of `pid` itself. OSError if it is gone."""
    scan = scan_family(pid, needles)
    regions = _regions(pid)
    return Look(
        members=tuple(
            MemberRecord(pid=member.pid, comm=member.comm, role=member.role, tracer=tracer_of(member.pid))
            for member in family(pid)
        ),
        regions=tuple(regions),
        hits=tuple(_hit(finding.pid or pid, finding) for finding in scan.findings),
        read_bytes=scan.coverage.read_bytes,
        unreadable_bytes=sum(one.size - one.read_bytes for one in regions if one.access is Access.UNREADABLE),
        buffer_address=input_address(pid),
    )


def input_address(pid: int) -> int:
    """Where the program is waiting to read its input to, 0 if it is not: /proc/PID/syscall, proc_pid_syscall(5).

    It needs no tracer, so the guards cannot hide it: the address is known, its contents are what is protected.
    """
    try:
        number, *arguments = Path(f"/proc/{pid}/syscall").read_text(encoding="ascii").split()
    except OSError:
        return 0
    if number != READ_SYSCALL or arguments[0] != STANDARD_INPUT:
        return 0
    return int(arguments[1], 16)


def wait_for_input(pid: int, seconds: float = 2.0) -> None:
    """Wait until the program blocks in read(2) of its standard input, or `seconds` have passed."""
    deadline = time.monotonic() + seconds
    while not input_address(pid) and time.monotonic() < deadline:
        time.sleep(0.01)


def _regions(pid: int) -> list[Region]:
    """The map, empty where it is refused: an ordinary user may not look into a software enclave, even their own."""
    try:
        return _read_regions(pid)
    except PermissionError:
        return []


def _read_regions(pid: int) -> list[Region]:
    mappings = read_maps(pid)
    read: Counter[int] = Counter()
    untouched: Counter[int] = Counter()
    with open_memory(pid) as memory:
        for piece in read_mappings(memory, mappings):
            if piece.mapping is not None and not isinstance(piece, Hole):
                count = untouched if isinstance(piece, Untouched) else read
                count[piece.mapping.start] += piece.end - piece.address
    return [_region(mapping, read[mapping.start], untouched[mapping.start]) for mapping in mappings]


def _region(mapping: Mapping, read: int, untouched: int) -> Region:
    return Region(
        start=mapping.start,
        end=mapping.end,
        permissions=mapping.permissions,
        name=_name(mapping),
        access=_access(mapping, read, untouched),
        read_bytes=read + untouched,
    )


def _access(mapping: Mapping, read: int, untouched: int) -> Access:
    """What reading gave decides, not what the mapping is called: secret memory that could be read is readable.

    Reserved address space (no permissions, nothing in it) is neither readable nor protected: there is nothing there.
    """
    if mapping.kind is MappingKind.SPECIAL or (mapping.reserved and not read):
        return Access.SPECIAL
    if not read and not untouched:
        return Access.UNREADABLE
    return Access.SEALED if mapping.kind is MappingKind.SEALED else Access.READABLE


def _name(mapping: Mapping) -> str:
    """A short name: the file's last part, or what anonymous memory is."""
    if mapping.reserved:
        return "reserved, empty"
    if mapping.kind is MappingKind.SECRET:
        return "secret memory"
    if mapping.kind is MappingKind.SEALED:
        return "sealed program code"
    if not mapping.path:
        return "anonymous"
    return mapping.path if mapping.path.startswith("[") else mapping.path.rpartition("/")[2]


def _hit(pid: int, finding: Finding) -> HitRecord:
    """The finding with the bytes around it: whole rows, one before and three after, as far as its mapping goes."""
    start, end = finding.address // ROW * ROW - ROW, finding.address // ROW * ROW + 4 * ROW
    if finding.mapping is not None:
        start, end = max(start, finding.mapping.start), min(end, finding.mapping.end)
    return HitRecord(
        pid=pid,
        where=(finding.mapping and finding.mapping.path) or "anonymous memory",
        address=finding.address,
        length=finding.length,
        encoding=finding.encoding,
        context_start=start,
        context_hex=_read(pid, start, end).hex(),
    )


def _read(pid: int, start: int, end: int) -> bytes:
    try:
        return read_by_file(pid, start, end - start)
    except OSError:
        return b""
