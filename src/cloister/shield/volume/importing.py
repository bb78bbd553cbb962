"""A directory of the host, or another volume, as a new volume."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from cloister.errors import UsageError
from cloister.shield.volume.building import Builder, Facts
from cloister.shield.volume.layout import ROOT_INODE, Entry, Inode
from cloister.shield.volume.reading import Volume

__all__ = ["import_directory", "import_volume"]

PIECE: Final = 1 << 20
Progress = Callable[[int], None]


def import_directory(builder: Builder, path: Path | None, progress: Progress | None = None) -> None:
    """Everything below `path`, or nothing, as the volume's root. UsageError; `progress` is told the bytes read."""
    if path is None:
        builder.directory(Facts(stat.S_IFDIR | 0o700), (), root=True)
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"cannot read the directory {path}: {error.strerror}") from error
    try:
        _Import(builder, progress).directory(descriptor, path, root=True)
    finally:
        os.close(descriptor)


class _Import:
    """Goes by descriptors, so that nobody can put a link in the place of a directory meanwhile."""

    def __init__(self, builder: Builder, progress: Progress | None) -> None:
        self._builder, self._progress = builder, progress
        self._known: dict[tuple[int, int], int] = {}
        self._done = 0

    def directory(self, descriptor: int, path: Path, *, root: bool) -> int:
        try:
            names = sorted(os.listdir(descriptor))
            entries = [Entry(os.fsencode(name), self._entry(descriptor, name, path / name)) for name in names]
            return self._builder.directory(_facts(os.fstat(descriptor)), entries, root=root)
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error

    def _entry(self, parent: int, name: str, path: Path) -> int:
        try:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                return self._builder.add(_facts(status), [os.fsencode(os.readlink(name, dir_fd=parent))])
            if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
                raise UsageError(f"{path} is no file, directory or symbolic link; volumes hold nothing else")
            descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parent)
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
        try:
            if stat.S_ISDIR(status.st_mode):
                return self.directory(descriptor, path, root=False)
            return self._file(descriptor, path)
        finally:
            os.close(descriptor)

    def _file(self, descriptor: int, path: Path) -> int:
        """One file under several names stays one."""
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{path} became something else while it was read")
        known = self._known.get((status.st_dev, status.st_ino))
        if known is not None:
            self._builder.link(known)
            return known
        number = self._builder.add(_facts(status), self._pieces(descriptor, path))
        self._known[status.st_dev, status.st_ino] = number
        return number

    def _pieces(self, descriptor: int, path: Path) -> Iterator[bytes]:
        while True:
            try:
                piece = os.read(descriptor, PIECE)
            except OSError as error:
                raise UsageError(f"cannot read {path}: {error.strerror}") from error
            if not piece:
                return
            self._done += len(piece)
            if self._progress:
                self._progress(self._done)
            yield piece


def import_volume(builder: Builder, volume: Volume, progress: Progress | None = None) -> None:
    """Everything that is in another volume. VolumeBroken if something there is wrong."""
    known: dict[int, int] = {}
    done = 0

    def pieces(number: int) -> Iterator[bytes]:
        nonlocal done
        for piece in volume.content(number):
            done += len(piece)
            if progress:
                progress(done)
            yield piece

    def entry(number: int) -> int:
        inode = volume.inode(number)
        if inode.is_directory:
            return directory(number, inode)
        if number in known:
            builder.link(known[number])
        else:
            known[number] = builder.add(_inode_facts(inode), pieces(number))
        return known[number]

    def directory(number: int, inode: Inode) -> int:
        entries = [Entry(one.name, entry(one.inode)) for one in volume.entries(number)]
        return builder.directory(_inode_facts(inode), entries, root=number == ROOT_INODE)

    directory(ROOT_INODE, volume.inode(ROOT_INODE))


def _facts(status: os.stat_result) -> Facts:
    return Facts(status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_ctime_ns)


def _inode_facts(inode: Inode) -> Facts:
    return Facts(inode.mode, inode.uid, inode.gid, inode.mtime, inode.ctime)
