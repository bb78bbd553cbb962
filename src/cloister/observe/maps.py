r"""`/proc/PID/maps`, parsed strictly, and what each mapping is to someone who looks for secrets.

Source: proc_pid_maps(5); `show_map_vma` in fs/proc/task_mmu.c. One line per mapping:

    7f0c2a1e4000-7f0c2a206000 r--p 00000000 fe:01 1314  /usr/lib/x86_64-linux-gnu/libc.so.6

The first four fields are separated by one space each; the path is padded to a column, may hold spaces,
and has newlines written as `\012`. Addresses and sizes are bytes.
"""

import enum
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cloister.errors import ObservationError

__all__ = ["Mapping", "MappingKind", "parse_maps", "read_maps"]

LINE = re.compile(
    r"(?P<start>[0-9a-f]{8,16})-(?P<end>[0-9a-f]{8,16}) (?P<permissions>[r-][w-][x-][ps]) (?P<offset>[0-9a-f]{8,16})"
    r" (?P<device>[0-9a-f]{2,}:[0-9a-f]{2,}) (?P<inode>\d+)(?: +(?P<path>.+))? *"
)
SECRET_PATH = re.compile(r"/secretmem( \(deleted\))?")
SEALED_PATH = re.compile(r"/memfd:cloister-text( \(deleted\))?")
MEMORY_FILE = re.compile(r"/memfd:|/dev/zero|/dev/shm/|/SYSV")
READ_ATTEMPTS = 5
KERNEL_PAGES = re.compile(r"\[(vvar|vvar_vclock|vdso|vsyscall|uprobes|sigpage|vectors|timens)\]")


class MappingKind(enum.Enum):
    """What a mapping is. Only reading it proves that it cannot be read: the kind is what it claims to be."""

    SECRET = "secret memory"  # noqa: S105  a kind of memory, not a password
    SEALED = "sealed text"
    FILE = "file"
    ANONYMOUS_OPEN = "ordinary memory"
    SHARED_OPEN = "shared memory"
    SPECIAL = "kernel pages"


@dataclass(frozen=True, kw_only=True)
class Mapping:
    """One mapping: addresses [start, end), `permissions` like `r-xp`, `offset` into `path` in bytes.

    `path` is as the kernel prints it: empty for anonymous memory, `[heap]`, `/file`, `/memfd:x (deleted)`.
    """

    start: int
    end: int
    permissions: str
    offset: int = 0
    path: str = ""
    device: str = "00:00"
    inode: int = 0

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.end - self.start

    @property
    def shared(self) -> bool:
        """Whether writes reach the mapped object (MAP_SHARED)."""
        return self.permissions[3] == "s"

    @property
    def writable(self) -> bool:
        """Whether the process may write here now."""
        return self.permissions[1] == "w"

    @property
    def reserved(self) -> bool:
        """Whether the process has no access here at all: address space kept for later (PROT_NONE)."""
        return self.permissions.startswith("---")

    @property
    def kind(self) -> MappingKind:
        """What the kernel's path and permissions say this mapping is."""
        if SECRET_PATH.fullmatch(self.path) and self.shared:
            return MappingKind.SECRET
        if SEALED_PATH.fullmatch(self.path) and self.shared and not self.writable:
            return MappingKind.SEALED
        if KERNEL_PAGES.fullmatch(self.path):
            return MappingKind.SPECIAL
        if self.shared and (self.writable or not self.path.startswith("/") or MEMORY_FILE.match(self.path)):
            return MappingKind.SHARED_OPEN
        if self.path.startswith("/") and not MEMORY_FILE.match(self.path):
            return MappingKind.FILE
        return MappingKind.ANONYMOUS_OPEN

    def __str__(self) -> str:
        """The mapping as `start-end permissions path`."""
        return f"{self.start:x}-{self.end:x} {self.permissions} {self.path or '(anonymous)'}"


def parse_maps(lines: Iterable[str]) -> list[Mapping]:
    """Parse the lines of a maps file; raise ObservationError on any line that is not exactly in the known form."""
    mappings = [parse_line(line.removesuffix("\n")) for line in lines]
    for before, after in itertools.pairwise(mappings):
        if after.start < before.end:
            raise ObservationError(f"maps are out of order: {before} overlaps {after}; read them again")
    return mappings


def parse_line(line: str) -> Mapping:
    """Parse one line without its newline."""
    match = LINE.fullmatch(line)
    if match is None:
        raise ObservationError(f"not a line of /proc/PID/maps: {line!r}; Cloister does not know this kernel's form")
    start, end = int(match["start"], 16), int(match["end"], 16)
    if end <= start:
        raise ObservationError(f"mapping ends before it starts: {line!r}")
    return Mapping(
        start=start,
        end=end,
        permissions=match["permissions"],
        offset=int(match["offset"], 16),
        path=match["path"] or "",
        device=match["device"],
        inode=int(match["inode"]),
    )


def read_maps(pid: int) -> list[Mapping]:
    """The mappings of process `pid`, in address order; empty for a zombie or a kernel thread.

    Raises OSError as the kernel gives it: FileNotFoundError or ProcessLookupError when the process is gone,
    PermissionError when refused.
    The kernel writes the file a page at a time, so a list read while mappings change can contradict itself;
    it is read again a few times, then ObservationError is raised.
    """
    for _ in range(READ_ATTEMPTS - 1):
        try:
            return parse_maps(maps_lines(pid))
        except ObservationError:
            continue
    return parse_maps(maps_lines(pid))


def maps_lines(pid: int) -> list[str]:
    """The lines of /proc/PID/maps; none for a process without memory."""
    return Path(f"/proc/{pid}/maps").read_bytes().decode("utf-8", "surrogateescape").split("\n")[:-1]
