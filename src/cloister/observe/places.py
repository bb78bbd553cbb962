"""What an administrator reads of a process besides its memory: /proc texts, and the files it holds open.

Texts: environment, arguments, names of threads, and the targets of its links (proc_pid_environ(5) and its
neighbours). Open files are read through /proc/PID/fd/N, which reaches deleted files and memfds too; pipes,
sockets, terminals and devices are not, since reading would take data away from the program.
"""

import contextlib
import errno
import functools
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from cloister.observe.family import Member, family
from cloister.observe.findings import Absent, Reason, Scan
from cloister.observe.images import read_file_range
from cloister.observe.memory import Chunk
from cloister.observe.needles import Needles
from cloister.observe.scan import absence_of, gone
from cloister.observe.tally import Place, Tally

__all__ = ["FILE_LIMIT", "scan_family_places", "scan_places"]

# Bytes read of one open file; the rest is an absence, Reason.TOO_LARGE.
FILE_LIMIT = 1 << 30
SECRET_LINK = "/secretmem (deleted)"  # noqa: S105  the kernel's name for secret memory


def scan_family_places(pid: int, needles: Needles, *, file_limit: int = FILE_LIMIT) -> Scan:
    """`scan_places` of every process of the family of `pid`."""
    members = family(pid)
    return Scan.total(scan_member_places(member, needles, file_limit) for member in members) if members else gone(pid)


def scan_places(pid: int, needles: Needles, *, file_limit: int = FILE_LIMIT) -> Scan:
    """Search the /proc texts and open regular files of one process, each file up to `file_limit` bytes."""
    members = [member for member in family(pid) if member.pid == pid]
    return scan_member_places(members[0], needles, file_limit) if members else gone(pid)


def scan_member_places(member: Member, needles: Needles, file_limit: int) -> Scan:
    """The places of one member; the observer's own are left out, for its arguments may hold the secret."""
    if member.pid == os.getpid():
        return Scan(absences=(Absent(where=f"/proc places of {member}", reason=Reason.SCANNER),))
    return Scan.total((*text_scans(member, needles), *file_scans(member, needles, file_limit)))


def text_scans(member: Member, needles: Needles) -> Iterator[Scan]:
    """One scan for each text of the process."""
    for where, read in texts(member.pid):
        try:
            data = read()
        except OSError as error:
            yield Scan(absences=(absence_of(f"{where} of {member}", error),))
            continue
        tally = Tally(Place(where=where, owner=str(member), pid=member.pid), needles)
        tally.feed(Chunk(address=0, data=memoryview(data), mapping=None))
        yield tally.result()


def texts(pid: int) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Each /proc text of a process by name, with how to read it."""
    directory = Path(f"/proc/{pid}")
    for name in ("environ", "cmdline", "comm"):
        yield name, (directory / name).read_bytes
    for thread in listed(directory / "task"):
        if thread != str(pid):
            yield f"comm of thread {thread}", (directory / "task" / thread / "comm").read_bytes
    for name in ("exe", "cwd", "root", *(f"fd/{number}" for number in listed(directory / "fd"))):
        yield f"name of {name}", functools.partial(link_target, directory / name)


def link_target(path: Path) -> bytes:
    """What a link of /proc points to."""
    return os.fsencode(path.readlink())


def listed(directory: Path) -> list[str]:
    """The numbers in a directory of /proc, in order; none when it may not be listed, which `file_scans` reports."""
    try:
        return sorted((path.name for path in directory.iterdir()), key=int)
    except OSError:
        return []


def file_scans(member: Member, needles: Needles, file_limit: int) -> Iterator[Scan]:
    """One scan for each different file that the process holds open."""
    directory = Path(f"/proc/{member.pid}/fd")
    if not os.access(directory, os.R_OK):
        yield Scan(absences=(Absent(where=f"open files of {member}", reason=Reason.DENIED),))
    seen: set[tuple[int, int]] = set()
    for number in listed(directory):
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            link = directory / number
            status = link.stat()
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                where = f"fd {number} -> {link.readlink()}"
                yield file_scan(link, Place(where=where, owner=str(member), pid=member.pid), needles, file_limit)


def file_scan(link: Path, place: Place, needles: Needles, file_limit: int) -> Scan:
    """One open file, or the reason why it was not read. Only regular files are opened: opening a device can act."""
    status = link.stat()
    where = f"{place.where} of {place.owner}"
    if not stat.S_ISREG(status.st_mode):
        return Scan(absences=(Absent(where=where, reason=Reason.NOT_REGULAR),))
    tally = Tally(place, needles)
    try:
        descriptor = os.open(link, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        # Secret memory has no way to be opened again: ENXIO.
        secret = error.errno == errno.ENXIO and place.where.endswith(SECRET_LINK)
        tally.absent(Absent(where=where, reason=Reason.SECRET) if secret else absence_of(where, error))
        return tally.result()
    try:
        for piece in read_file_range(descriptor, 0, min(status.st_size, file_limit)):
            tally.feed(piece)
    except OSError as error:
        tally.absent(absence_of(where, error))
    finally:
        os.close(descriptor)
    if status.st_size > file_limit:
        tally.absent(Absent(where=where, reason=Reason.TOO_LARGE, size=status.st_size - file_limit))
    return tally.result()
