"""System calls that name files. Paths go to the host whole: the working directory is the shim's."""

import posixpath
import struct
from typing import Final

from cloister.measure.image import Architecture

from .checks import HostLied, check_link, check_status
from .descriptors import Descriptors
from .messages import FileStatus, Operation
from .open_files import Device, status_of
from .outcome import Failed
from .process import LONGEST_PATH, Process
from .stat_forms import stat_of, statx_of
from .words import signed_int

__all__ = ["PathCalls"]

ENOENT, EXDEV, ENOTDIR, EINVAL, ENAMETOOLONG, ERANGE = 2, 18, 20, 22, 36, 34
HERE: Final = -100
"""AT_FDCWD."""

AT_SYMLINK_NOFOLLOW: Final = 0x100
AT_REMOVEDIR: Final = 0x200
AT_EMPTY_PATH: Final = 0x1000
O_CREAT: Final = 0o100
UTIME_NOW: Final = (1 << 30) - 1
UTIME_OMIT: Final = (1 << 30) - 2
NOW_AND_OMIT: Final = {UTIME_NOW: (1 << 64) - 1, UTIME_OMIT: (1 << 64) - 2}
"""How Operation.CHANGE_TIMES says now, and unchanged."""

SECOND: Final = 1_000_000_000
ARM_FLAGS: Final = {0o40000: 0o200000, 0o100000: 0o400000, 0o200000: 0o40000, 0o400000: 0o100000}
"""arm64 has its own O_DIRECTORY, O_NOFOLLOW, O_DIRECT and O_LARGEFILE (arch/arm64/include/uapi/asm/fcntl.h)."""


class PathCalls:
    """System calls on paths. What /proc says of a process is the host's view of another one: it does not exist here."""

    def __init__(self, process: Process, descriptors: Descriptors) -> None:
        self._process, self._files = process, descriptors
        self._space, self._ask, self._provided = process.space, process.link.ask, process.provided
        self._mask = 0o022

    def open(self, path: int, flags: int, mode: int) -> int:
        """The system call open."""
        return self.openat(HERE, path, flags, mode)

    def creat(self, path: int, mode: int) -> int:
        """The system call creat: open for writing, made or emptied."""
        return self.openat(HERE, path, 0o1101, mode)

    def openat(self, directory: int, path: int, flags: int, mode: int) -> int:
        """The system call openat."""
        flags &= 0xFFFF_FFFF
        if self._space.architecture == Architecture.ARM64:
            kept = flags & ~0o740000
            flags = kept | sum(new for old, new in ARM_FLAGS.items() if flags & old)
        mode = mode & 0o7777 & ~self._mask if flags & O_CREAT else 0
        return self._files.open(self._path(directory, path), flags, mode)

    def stat(self, path: int, address: int) -> int:
        """The system call stat."""
        return self.newfstatat(HERE, path, address, 0)

    def lstat(self, path: int, address: int) -> int:
        """The system call lstat."""
        return self.newfstatat(HERE, path, address, AT_SYMLINK_NOFOLLOW)

    def newfstatat(self, directory: int, path: int, address: int, flags: int) -> int:
        """The system call fstatat."""
        self._space.write(address, stat_of(self._status(directory, path, flags), self._space.architecture))
        return 0

    def statx(self, directory: int, path: int, flags: int, mask: int, address: int) -> int:
        """The system call statx: the basic fields, whatever was asked for."""
        if mask >> 31 & 1:
            raise Failed(EINVAL)
        self._space.write(address, statx_of(self._status(directory, path, flags)))
        return 0

    def access(self, path: int, mode: int) -> int:
        """The system call access."""
        return self.faccessat(HERE, path, mode)

    def faccessat(self, directory: int, path: int, mode: int) -> int:
        """The system call faccessat."""
        where = self._path(directory, path)
        if mode & ~7:
            raise Failed(EINVAL)
        if self._provided.owns(where):
            self._provided.access(where, mode)
        elif where not in Device.KINDS:
            self._ask(Operation.ACCESS, mode, data=where)
        return 0

    def readlink(self, path: int, address: int, size: int) -> int:
        """The system call readlink."""
        return self.readlinkat(HERE, path, address, size)

    def readlinkat(self, directory: int, path: int, address: int, size: int) -> int:
        """The system call readlinkat. /proc/self/exe is the program's own name for itself."""
        if size == 0 or size >> 31:
            raise Failed(EINVAL)
        if self._join(directory, self._process.text(path)) == b"/proc/self/exe":
            target = self._absolute(self._process.directory, self._process.executable)
        else:
            where = self._path(directory, path)
            if self._provided.owns(where):
                self._provided.status(where)
                raise Failed(EINVAL)
            target = check_link("READ_LINK", self._ask(Operation.READ_LINK, data=where)[1])
        self._space.write(address, target[:size])
        return len(target[:size])

    def unlink(self, path: int) -> int:
        """The system call unlink."""
        return self.unlinkat(HERE, path, 0)

    def rmdir(self, path: int) -> int:
        """The system call rmdir."""
        return self.unlinkat(HERE, path, AT_REMOVEDIR)

    def unlinkat(self, directory: int, path: int, flags: int) -> int:
        """The system call unlinkat."""
        self._ask(Operation.REMOVE, 1 if flags & AT_REMOVEDIR else 0, data=self._host_path(directory, path))
        return 0

    def rename(self, old: int, new: int) -> int:
        """The system call rename."""
        return self.renameat2(HERE, old, HERE, new, 0)

    def renameat(self, old_directory: int, old: int, directory: int, new: int) -> int:
        """The system call renameat."""
        return self.renameat2(old_directory, old, directory, new, 0)

    def renameat2(self, old_directory: int, old: int, directory: int, new: int, flags: int) -> int:
        """The system call renameat2 without flags; with them EINVAL, as file systems without exchange answer."""
        if flags:
            raise Failed(EINVAL)
        places = self._path(old_directory, old), self._path(directory, new)
        owned = [place for place in places if self._provided.owns(place)]
        if len(owned) == 1:
            raise Failed(EXDEV)
        for place in owned:
            self._provided.refuse_change(place)
        self._ask(Operation.RENAME, data=b"\0".join(places))
        return 0

    def mkdir(self, path: int, mode: int) -> int:
        """The system call mkdir."""
        return self.mkdirat(HERE, path, mode)

    def mkdirat(self, directory: int, path: int, mode: int) -> int:
        """The system call mkdirat."""
        where = self._host_path(directory, path, making=True)
        self._ask(Operation.MAKE_DIRECTORY, mode & 0o7777 & ~self._mask, data=where)
        return 0

    def chmod(self, path: int, mode: int) -> int:
        """The system call chmod."""
        return self.fchmodat(HERE, path, mode)

    def fchmodat(self, directory: int, path: int, mode: int) -> int:
        """The system call fchmodat."""
        self._ask(Operation.CHANGE_MODE, mode & 0o7777, data=self._host_path(directory, path))
        return 0

    def fchmod(self, descriptor: int, mode: int) -> int:
        """The system call fchmod, by the name under which the file was opened."""
        file = self._files.file(descriptor)
        self._require_hosts(file.path)
        file.handle()
        self._ask(Operation.CHANGE_MODE, mode & 0o7777, data=file.path)
        return 0

    def utimensat(self, directory: int, path: int, times: int, _flags: int) -> int:
        """The system call utimensat."""
        where = self._host_path(directory, path) if path else self._files.file(directory).path
        self._require_hosts(where)
        raw = self._space.read(times, 32) if times else struct.pack("<4Q", 0, UTIME_NOW, 0, UTIME_NOW)
        accessed, modified = (
            NOW_AND_OMIT.get(part, seconds * SECOND + part) for seconds, part in struct.iter_unpack("<QQ", raw)
        )
        self._ask(Operation.CHANGE_TIMES, accessed, modified, data=where)
        return 0

    def umask(self, mask: int) -> int:
        """The system call umask: the shim's own; the host's does not count."""
        old, self._mask = self._mask, mask & 0o777
        return old

    def getcwd(self, address: int, size: int) -> int:
        """The system call getcwd: the length with its final zero."""
        path = self._process.directory + b"\0"
        if len(path) > size:
            raise Failed(ERANGE)
        self._space.write(address, path)
        return len(path)

    def chdir(self, path: int) -> int:
        """The system call chdir."""
        return self._enter(self._path(HERE, path))

    def fchdir(self, descriptor: int) -> int:
        """The system call fchdir."""
        return self._enter(self._files.file(descriptor).path)

    def _enter(self, path: bytes) -> int:
        if self._provided.owns(path):
            status = self._provided.status(path)
        else:
            status = check_status("STATUS", self._ask(Operation.STATUS, 1, data=path)[1])
        if status.mode & 0o170000 != 0o040000:
            raise Failed(ENOTDIR)
        self._process.directory = posixpath.normpath(path)
        return 0

    def _status(self, directory: int, path: int, flags: int) -> FileStatus:
        text = self._process.text(path) if path else b""
        if not text and flags & AT_EMPTY_PATH and signed_int(directory) != HERE:
            return self._files.file(directory).status()
        where = b"." if not text and flags & AT_EMPTY_PATH else text
        where = self._allowed(self._join(directory, where))
        if where in Device.KINDS:
            return status_of(0o020666)
        if self._provided.owns(where):
            return self._provided.status(where)
        status = check_status(
            "STATUS", self._ask(Operation.STATUS, int(not flags & AT_SYMLINK_NOFOLLOW), data=where)[1]
        )
        if not flags & AT_SYMLINK_NOFOLLOW and status.mode & 0o170000 == 0o120000:
            raise HostLied("STATUS", "a link although links were to be followed")
        return status

    def _path(self, directory: int, path: int) -> bytes:
        """The absolute path that a program means. Failed with ENOENT if it names nothing, or a process."""
        return self._allowed(self._join(directory, self._process.text(path)))

    def _host_path(self, directory: int, path: int, *, making: bool = False) -> bytes:
        """The same where the host is to change something: what is the TEE's own stays as it is."""
        where = self._path(directory, path)
        self._require_hosts(where, making=making)
        return where

    def _require_hosts(self, path: bytes, *, making: bool = False) -> None:
        if self._provided.owns(path):
            self._provided.refuse_change(path, making=making)

    def _allowed(self, path: bytes) -> bytes:
        plain = posixpath.normpath(b"/" + path.lstrip(b"/"))
        first = plain.removeprefix(b"/proc/").partition(b"/")[0]
        if plain.startswith(b"/proc/") and (first.isdigit() or first in {b"self", b"thread-self"}):
            raise Failed(ENOENT)
        own = self._provided.place(plain)
        if self._provided.owns(own):
            if path.endswith(b"/") and self._provided.status(own).mode & 0o170000 != 0o040000:
                raise Failed(ENOTDIR)
            return own
        return plain if plain in Device.KINDS else path

    def _join(self, directory: int, path: bytes) -> bytes:
        if not path:
            raise Failed(ENOENT)
        start = b"/" if path[:1] == b"/" else self._base(signed_int(directory))
        return self._absolute(start, path)

    def _base(self, directory: int) -> bytes:
        return self._process.directory if directory == HERE else self._files.file(directory).path

    @staticmethod
    def _absolute(start: bytes, path: bytes) -> bytes:
        """One path of both. `..` stays where it is: what it means depends on links."""
        whole = posixpath.join(start, path)
        if len(whole) > LONGEST_PATH:
            raise Failed(ENAMETOOLONG)
        return whole
