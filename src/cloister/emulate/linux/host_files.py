"""The host's files: ordinary system calls with the caller's rights, optionally beneath one directory."""

# ruff: noqa: PTH101, PTH102, PTH104, PTH118, PTH120 - paths are bytes, which Linux has and pathlib has not

import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

from .messages import LARGEST_DATA, FileStatus, HostCall, Operation

__all__ = ["HostFiles"]

EBADF, EACCES, EINVAL = 9, 13, 22
WORD: Final = 1 << 64
NOW, UNCHANGED = WORD - 1, WORD - 2
FLAGS: Final = {
    0o1: os.O_WRONLY,
    0o2: os.O_RDWR,
    0o100: os.O_CREAT,
    0o200: os.O_EXCL,
    0o1000: os.O_TRUNC,
    0o2000: os.O_APPEND,
    0o4000: os.O_NONBLOCK,
    0o10000: os.O_DSYNC,
    0o200000: os.O_DIRECTORY,
    0o400000: os.O_NOFOLLOW,
    0o4000000: os.O_SYNC,
}
"""asm-generic/fcntl.h, which messages use, to this host's numbers. What is not here is dropped."""

FLOCK: Final = struct.Struct("hhqqi4x")
ENTRY: Final = struct.Struct("<QBH")
MAY_WAIT, ASK = 16, 32
Answer = tuple[int, bytes]


def _status(found: os.stat_result) -> bytes:
    return FileStatus(
        device=found.st_dev,
        inode=found.st_ino,
        mode=found.st_mode,
        links=found.st_nlink,
        user=found.st_uid,
        group=found.st_gid,
        special_device=found.st_rdev,
        size=found.st_size,
        block_size=found.st_blksize,
        blocks=found.st_blocks,
        accessed=max(found.st_atime_ns, 0),
        modified=max(found.st_mtime_ns, 0),
        changed=max(found.st_ctime_ns, 0),
    ).serialize()


class HostFiles:
    """Opens and changes files. With `root` every path is taken beneath that directory, also through links.

    The root keeps a program from touching files by mistake. It is no jail: whoever swaps links meanwhile gets out.
    """

    def __init__(self, root: Path | None) -> None:
        self._root = None if root is None else os.fsencode(root.resolve(strict=True))
        self._descriptors: set[int] = set()
        self._lists: dict[int, list[bytes]] = {}
        self.operations: dict[int, Callable[[HostCall, bytes], Answer]] = {
            Operation.OPEN: self._open,
            Operation.CLOSE: self._close,
            Operation.READ: self._read,
            Operation.WRITE: self._write,
            Operation.READ_AT: self._read_at,
            Operation.WRITE_AT: self._write_at,
            Operation.STATUS: self._path_status,
            Operation.HANDLE_STATUS: self._handle_status,
            Operation.LIST: self._list,
            Operation.ACCESS: self._access,
            Operation.READ_LINK: self._read_link,
            Operation.REMOVE: self._remove,
            Operation.RENAME: self._rename,
            Operation.MAKE_DIRECTORY: self._make_directory,
            Operation.TRUNCATE: self._truncate,
            Operation.SYNCHRONIZE: self._synchronize,
            Operation.LOCK: self._lock,
            Operation.CHANGE_MODE: self._change_mode,
            Operation.CHANGE_TIMES: self._change_times,
        }

    def close(self) -> None:
        """Close what the program left open."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()

    def _path(self, data: bytes) -> bytes:
        """The path on this host. ValueError if it is not absolute; PermissionError if it leads out of the root."""
        if data[:1] != b"/" or b"\0" in data:
            raise ValueError("not an absolute path")
        if self._root is None:
            return data
        path = os.path.normpath(b"/" + data.lstrip(b"/")).lstrip(b"/")
        whole = os.path.join(self._root, path)
        parent = os.path.realpath(os.path.dirname(whole) if path else whole)
        for found in (parent, os.path.realpath(whole)):
            if found != self._root and not found.startswith(self._root.rstrip(b"/") + b"/"):
                raise PermissionError(EACCES, "outside the root directory")
        return whole

    def _descriptor(self, call: HostCall) -> int:
        """Only what this program opened: the host has other descriptors, which are nobody's business."""
        if call.first not in self._descriptors:
            raise OSError(EBADF, "not an open file of the program")
        return call.first

    def _open(self, call: HostCall, data: bytes) -> Answer:
        flags = sum(value for bit, value in FLAGS.items() if call.first & bit == bit and bit != 0o4000000)
        if call.first & 3 == 3 or call.second >> 12:
            raise ValueError("no such way to open a file")
        descriptor = os.open(self._path(data), flags | os.O_CLOEXEC | os.O_NOCTTY, call.second)
        self._descriptors.add(descriptor)
        return descriptor, _status(os.fstat(descriptor))

    def _close(self, call: HostCall, _data: bytes) -> Answer:
        descriptor = self._descriptor(call)
        self._descriptors.discard(descriptor)
        self._lists.pop(descriptor, None)
        os.close(descriptor)
        return 0, b""

    def _read(self, call: HostCall, _data: bytes) -> Answer:
        data = os.read(self._descriptor(call), min(call.second, LARGEST_DATA))
        return len(data), data

    def _read_at(self, call: HostCall, _data: bytes) -> Answer:
        data = os.pread(self._descriptor(call), min(call.second, LARGEST_DATA), call.third)
        return len(data), data

    def _write(self, call: HostCall, data: bytes) -> Answer:
        return os.write(self._descriptor(call), data), b""

    def _write_at(self, call: HostCall, data: bytes) -> Answer:
        return os.pwrite(self._descriptor(call), data, call.second), b""

    def _path_status(self, call: HostCall, data: bytes) -> Answer:
        return 0, _status(os.stat(self._path(data), follow_symlinks=bool(call.first)))

    def _handle_status(self, call: HostCall, _data: bytes) -> Answer:
        return 0, _status(os.fstat(self._descriptor(call)))

    def _list(self, call: HostCall, _data: bytes) -> Answer:
        """Entries from a position on; reading starts afresh at position 0."""
        descriptor = self._descriptor(call)
        if call.second == 0:
            self._lists[descriptor] = self._snapshot(descriptor)
        found: list[bytes] = []
        room = LARGEST_DATA
        for entry in self._lists.get(descriptor, [])[call.second :]:
            room -= len(entry)
            if room < 0:
                break
            found.append(entry)
        return len(found), b"".join(found)

    @staticmethod
    def _snapshot(descriptor: int) -> list[bytes]:
        with os.scandir(descriptor) as entries:
            listed = [(one.inode(), 10 if one.is_symlink() else 4 if one.is_dir() else 8, one.name) for one in entries]
        own = os.fstat(descriptor).st_ino
        listed = [(own, 4, "."), (own, 4, ".."), *listed]
        names = ((inode, kind, os.fsencode(name)) for inode, kind, name in listed)
        return [ENTRY.pack(inode, kind, len(name)) + name for inode, kind, name in names]

    def _access(self, call: HostCall, data: bytes) -> Answer:
        path = self._path(data)
        os.stat(path)
        if not os.access(path, call.first & 7):
            raise PermissionError(EACCES, "no access")
        return 0, b""

    def _read_link(self, _call: HostCall, data: bytes) -> Answer:
        return 0, os.readlink(self._path(data))

    def _remove(self, call: HostCall, data: bytes) -> Answer:
        (os.rmdir if call.first else os.unlink)(self._path(data))
        return 0, b""

    def _rename(self, _call: HostCall, data: bytes) -> Answer:
        old, _, new = data.partition(b"\0")
        os.rename(self._path(old), self._path(new))
        return 0, b""

    def _make_directory(self, call: HostCall, data: bytes) -> Answer:
        os.mkdir(self._path(data), call.first & 0o7777)
        return 0, b""

    def _truncate(self, call: HostCall, _data: bytes) -> Answer:
        os.ftruncate(self._descriptor(call), call.second)
        return 0, b""

    def _synchronize(self, call: HostCall, _data: bytes) -> Answer:
        os.fsync(self._descriptor(call))
        return 0, b""

    def _lock(self, call: HostCall, data: bytes) -> Answer:
        """Advisory locks of this host's process: kinds are those of struct flock on Linux."""
        command = fcntl.F_GETLK if call.second & ASK else fcntl.F_SETLKW if call.second & MAY_WAIT else fcntl.F_SETLK
        length = int.from_bytes(data, "little")
        lock = FLOCK.pack(call.second & 3, os.SEEK_SET, call.third, length, 0)
        answer = FLOCK.unpack(fcntl.fcntl(self._descriptor(call), command, lock))
        return (answer[4] if command == fcntl.F_GETLK and answer[0] != fcntl.F_UNLCK else 0), b""

    def _change_mode(self, call: HostCall, data: bytes) -> Answer:
        os.chmod(self._path(data), call.first & 0o7777)
        return 0, b""

    def _change_times(self, call: HostCall, data: bytes) -> Answer:
        path = self._path(data)
        found, now = os.stat(path), os.stat(path).st_mtime_ns
        if NOW in {call.first, call.second}:
            os.utime(path)
            now = os.stat(path).st_mtime_ns
        marks = {NOW: (now, now), UNCHANGED: (found.st_atime_ns, found.st_mtime_ns)}
        times = tuple(marks[one][at] if one in marks else one for at, one in enumerate((call.first, call.second)))
        os.utime(path, ns=(times[0], times[1]))
        return 0, b""
