"""Files that exist only inside the TEE: injected secrets, and what a program asks about itself.

    provided = ProvidedFiles()
    provided.add(b"/run/secrets/key", secret)
    provided.add(b"/dev/attestation/quote", lambda: evidence(data), mount=b"/dev/attestation")

Everything below a mount is the TEE's: the host is not asked about it, so it can neither see these files nor put others
in their place. To the program they are a read-only file system, apart from files that take what is written to them.
"""

# ruff: noqa: ARG002 - a kind of file has all methods of the others

import posixpath
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .messages import FileStatus
from .open_files import Entry, OpenFile
from .outcome import Failed

__all__ = ["ProvidedFile", "ProvidedFiles", "Read", "Save"]

Read = Callable[[], bytes]
"""Makes a file's content when the file is opened. It may raise Failed."""

Save = Callable[[bytes], None]
"""Takes a file's whole content after each write. Failed if it is not what belongs there."""

ENOENT, EEXIST, EXDEV, ENOTDIR, EISDIR, EINVAL, EBADF, EROFS, EACCES = 2, 17, 18, 20, 21, 22, 9, 30, 13
O_ACCESS, O_WRONLY, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_DIRECTORY = 3, 1, 0o100, 0o200, 0o1000, 0o2000, 0o200000
W_OK, X_OK = 2, 1
DIRECTORY: Final = 0o040555
FILE: Final = 0o100444
WRITABLE: Final = 0o100644
DT_DIR, DT_REG = 4, 8
SECTOR, BLOCK = 512, 4096
DEVICE: Final = 0x7EE
"""st_dev of all of these files: the host's have others, or at least other inodes."""

FIRST_INODE: Final = 0x7EE0_0000
ABSOLUTE: Final = re.compile(rb"/[^/]")
ALIASES: Final = {b"/var/run": b"/run"}
"""One directory under two names on every Linux: a host must not bring its own by the other name."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where one file's content comes from and goes to. Without `save` it is read-only."""

    read: Read
    save: Save | None
    size: int
    inode: int

    @property
    def mode(self) -> int:
        """As in stat."""
        return WRITABLE if self.save else FILE


class ProvidedFiles:
    """The TEE's own files. Paths are absolute and normal; methods raise Failed as the system calls do."""

    def __init__(self) -> None:
        self._files: dict[bytes, Source] = {}
        self._directories: dict[bytes, int] = {}
        self._mounts: set[bytes] = set()

    def add(self, path: bytes, content: bytes | Read, *, save: Save | None = None, mount: bytes | None = None) -> None:
        """Make a file, in place of one of this name. Its mount is one that it is below already, or else its directory.

        ValueError if the path is not absolute and normal, is not below its mount, or is a directory.
        """
        directory = posixpath.dirname(path)
        mount = next((one for one in self._mounts if _below(path, one)), directory if mount is None else mount)
        if not ABSOLUTE.match(path) or posixpath.normpath(path) != path or mount == b"/" or not _below(path, mount):
            raise ValueError(f"{path!r} is not an absolute, normal path below {mount!r}, or that is the root")
        if path in self._directories or directory in self._files:
            raise ValueError(f"{path!r} would be a file and a directory")
        self._mounts.add(mount)
        while _below(directory, mount):
            self._directories.setdefault(directory, self._inode())
            directory = posixpath.dirname(directory)
        self._directories.setdefault(mount, self._inode())
        size = len(content) if isinstance(content, bytes) else 0
        self._files[path] = Source(
            _fixed(content) if isinstance(content, bytes) else content, save, size, self._inode()
        )

    def _inode(self) -> int:
        return FIRST_INODE + len(self._files) + len(self._directories)

    def place(self, path: bytes) -> bytes:
        """A normal path by its first name, where a directory has two."""
        for alias, name in ALIASES.items():
            if _within(path, alias) and self.owns(renamed := name + path.removeprefix(alias)):
                return renamed
        return path

    def owns(self, path: bytes) -> bool:
        """Whether a path is the TEE's, be there a file or not."""
        return any(_within(path, mount) for mount in self._mounts)

    def status(self, path: bytes) -> FileStatus:
        """As stat. A file that is made when it is opened has size 0, as in /proc."""
        if path in self._directories:
            return _status(DIRECTORY, self._directories[path], 0)
        source = self._source(path)
        return _status(source.mode, source.inode, source.size)

    def access(self, path: bytes, mode: int) -> None:
        """As access: EROFS for writing where that is not allowed, EACCES for executing a file."""
        directory = path in self._directories
        writable = not directory and self._source(path).save is not None
        if mode & W_OK and not writable:
            raise Failed(EROFS)
        if mode & X_OK and not directory:
            raise Failed(EACCES)

    def open(self, path: bytes, flags: int) -> OpenFile:
        """As open. The content is made now, and stays what it is while the file is open."""
        if path not in self._directories and path not in self._files and flags & O_CREAT:
            self._require_parent(path)
            raise Failed(EROFS)
        if flags & O_CREAT and flags & O_EXCL:
            raise Failed(EEXIST)
        writing = bool(flags & O_ACCESS or flags & O_TRUNC)
        if path in self._directories:
            if writing or flags & O_CREAT:
                raise Failed(EISDIR)
            return ProvidedDirectory(path, flags, self._directories[path], deque(self._listed(path)))
        source = self._source(path)
        if flags & O_DIRECTORY:
            raise Failed(ENOTDIR)
        if writing and source.save is None:
            raise Failed(EROFS)
        content = b"" if flags & O_TRUNC or flags & O_ACCESS == O_WRONLY else source.read()
        return ProvidedFile(path, flags, source, content)

    def refuse_change(self, path: bytes, *, making: bool = False) -> None:
        """Names cannot be made, removed or changed: EROFS, or EEXIST for `making` what is there."""
        if making and (path in self._directories or path in self._files):
            raise Failed(EEXIST)
        if not making:
            self.status(path)
        raise Failed(EROFS)

    def mounted_in(self, directory: bytes) -> list[Entry]:
        """The mounts that stand in one of the host's directories: a listing of it shows them."""
        return [
            (self._directories[mount], DT_DIR, posixpath.basename(mount))
            for mount in sorted(self._mounts)
            if posixpath.dirname(mount) == directory and not self.owns(directory)
        ]

    def _listed(self, directory: bytes) -> list[Entry]:
        own = self._directories[directory]
        parent = self._directories.get(posixpath.dirname(directory), own)
        found = [(inode, DT_DIR, path) for path, inode in self._directories.items()]
        found += [(source.inode, DT_REG, path) for path, source in self._files.items()]
        inside = [
            (inode, kind, posixpath.basename(path))
            for inode, kind, path in found
            if posixpath.dirname(path) == directory
        ]
        return [(own, DT_DIR, b"."), (parent, DT_DIR, b".."), *sorted(inside, key=lambda one: one[2])]

    def _source(self, path: bytes) -> Source:
        source = self._files.get(path)
        if source is None:
            self._require_parent(path)
            raise Failed(ENOENT)
        return source

    def _require_parent(self, path: bytes) -> None:
        """ENOTDIR below a file, ENOENT below nothing."""
        parent = posixpath.dirname(path)
        if parent not in self._directories:
            raise Failed(ENOTDIR if any(_within(parent, file) for file in self._files) else ENOENT)


class ProvidedFile(OpenFile):
    """An open file of the TEE's own."""

    regular = True

    def __init__(self, path: bytes, flags: int, source: Source, content: bytes) -> None:
        super().__init__(path, flags, source.mode)
        self._inode, self._save = source.inode, source.save
        self._content, self._position = content, 0

    def read(self, size: int) -> bytes:
        """From the position on, nothing at the end."""
        data = self.read_at(size, self._position)
        self._position += len(data)
        return data

    def write(self, data: bytes) -> int:
        """At the position, or at the end."""
        if self.flags & O_APPEND:
            self._position = len(self._content)
        count = self.write_at(data, self._position)
        self._position += count
        return count

    def read_at(self, size: int, offset: int) -> bytes:
        """The system call pread."""
        if self.flags & O_ACCESS == O_WRONLY:
            raise Failed(EBADF)
        if offset < 0:
            raise Failed(EINVAL)
        return self._content[offset : offset + size]

    def write_at(self, data: bytes, offset: int) -> int:
        """The system call pwrite. Failed if the whole is then not what belongs into the file; it stays as it was."""
        if not self.flags & O_ACCESS or self._save is None:
            raise Failed(EBADF)
        if offset < 0 or offset > len(self._content):
            raise Failed(EINVAL)
        whole = self._content[:offset] + data + self._content[offset + len(data) :]
        self._save(whole)
        self._content = whole
        return len(data)

    def seek(self, offset: int, whence: int) -> int:
        """SEEK_SET, SEEK_CUR, SEEK_END."""
        if whence not in {0, 1, 2}:
            raise Failed(EINVAL)
        position = (0, self._position, len(self._content))[whence] + offset
        if not 0 <= position < 1 << 63:
            raise Failed(EINVAL)
        self._position = position
        return position

    def status(self) -> FileStatus:
        """The system call fstat: the size is that of what can be read."""
        return _status(self._mode, self._inode, len(self._content))

    def snapshot(self, offset: int, size: int) -> bytes:
        """For a private mapping."""
        if self.flags & O_ACCESS == O_WRONLY:
            raise Failed(EACCES)
        return self._content[offset : offset + size]


class ProvidedDirectory(OpenFile):
    """An open directory of the TEE's own."""

    def __init__(self, path: bytes, flags: int, inode: int, entries: deque[Entry]) -> None:
        super().__init__(path, flags, DIRECTORY)
        self._inode, self._all, self._left = inode, entries, deque(entries)

    def read(self, size: int) -> bytes:
        """Directories are listed, not read."""
        raise Failed(EISDIR)

    def entries(self) -> deque[Entry]:
        """What has not been listed yet."""
        return self._left

    def seek(self, offset: int, whence: int) -> int:
        """Back to the first entry."""
        if offset or whence:
            raise Failed(EINVAL)
        self._left = deque(self._all)
        return 0

    def status(self) -> FileStatus:
        """The system call fstat."""
        return _status(DIRECTORY, self._inode, 0)


def _fixed(content: bytes) -> Read:
    return lambda: content


def _below(path: bytes, directory: bytes) -> bool:
    return path.startswith(directory + b"/")


def _within(path: bytes, directory: bytes) -> bool:
    return path == directory or _below(path, directory)


def _status(mode: int, inode: int, size: int) -> FileStatus:
    zero = dict.fromkeys(("user", "group", "special_device", "accessed", "modified", "changed"), 0)
    blocks = -(-size // SECTOR)
    return FileStatus(
        mode=mode, device=DEVICE, inode=inode, links=1, size=size, blocks=blocks, block_size=BLOCK, **zero
    )
