"""read, write and what else works on an open file."""

import struct
from collections.abc import Callable
from typing import Final

from .descriptors import Descriptors
from .messages import Operation
from .open_files import OpenFile
from .outcome import Failed
from .process import Process
from .stat_forms import stat_of
from .words import signed

__all__ = ["FileCalls"]

EINVAL: Final = 22
ENTRY: Final = struct.Struct("<QqHB")
"""struct linux_dirent64 up to the name: inode, offset of the next, length of this, type."""


class FileCalls:
    """System calls on descriptors. Long transfers go through the bounce buffer in parts; partial results are legal."""

    def __init__(self, process: Process, descriptors: Descriptors) -> None:
        self._space, self._link, self._vectors = process.space, process.link, process.vectors
        self._files = descriptors

    def read(self, descriptor: int, address: int, size: int) -> int:
        """The system call read."""
        file = self._files.file(descriptor)
        return self._fill([(address, size)], file, file.read)

    def readv(self, descriptor: int, vector: int, count: int) -> int:
        """The system call readv."""
        file = self._files.file(descriptor)
        return self._fill(self._vectors(vector, count), file, file.read)

    def pread64(self, descriptor: int, address: int, size: int, offset: int) -> int:
        """The system call pread."""
        return self._fill_at(descriptor, [(address, size)], offset)

    def preadv(self, descriptor: int, vector: int, count: int, offset: int) -> int:
        """The system call preadv."""
        return self._fill_at(descriptor, self._vectors(vector, count), offset)

    def write(self, descriptor: int, address: int, size: int) -> int:
        """The system call write."""
        file = self._files.file(descriptor)
        return self._drain([(address, size)], file, file.write)

    def writev(self, descriptor: int, vector: int, count: int) -> int:
        """The system call writev."""
        file = self._files.file(descriptor)
        return self._drain(self._vectors(vector, count), file, file.write)

    def pwrite64(self, descriptor: int, address: int, size: int, offset: int) -> int:
        """The system call pwrite."""
        return self._drain_at(descriptor, [(address, size)], offset)

    def pwritev(self, descriptor: int, vector: int, count: int, offset: int) -> int:
        """The system call pwritev."""
        return self._drain_at(descriptor, self._vectors(vector, count), offset)

    def lseek(self, descriptor: int, offset: int, whence: int) -> int:
        """The system call lseek."""
        return self._files.file(descriptor).seek(signed(offset), whence)

    def close(self, descriptor: int) -> int:
        """The system call close."""
        self._files.close(descriptor)
        return 0

    def fstat(self, descriptor: int, address: int) -> int:
        """The system call fstat."""
        status = self._files.file(descriptor).status()
        self._space.write(address, stat_of(status, self._space.architecture))
        return 0

    def getdents64(self, descriptor: int, address: int, size: int) -> int:
        """As many entries as fit. Failed with EINVAL if not even one does."""
        entries = self._files.file(descriptor).entries()
        done = b""
        while entries:
            inode, kind, name = entries[0]
            length = -(-(ENTRY.size + len(name) + 1) // 8) * 8
            if len(done) + length > size:
                break
            entries.popleft()
            done += (ENTRY.pack(inode, len(done) + length, length, kind) + name).ljust(length, b"\0")
        if entries and not done:
            raise Failed(EINVAL)
        self._space.write(address, done)
        return len(done)

    def fsync(self, descriptor: int) -> int:
        """Asks the host to put a file on its disk; whether it did cannot be checked."""
        self._link.ask(Operation.SYNCHRONIZE, self._files.file(descriptor).handle())
        return 0

    def ftruncate(self, descriptor: int, size: int) -> int:
        """The system call ftruncate."""
        if signed(size) < 0:
            raise Failed(EINVAL)
        self._link.ask(Operation.TRUNCATE, self._files.file(descriptor).handle(), size)
        return 0

    def fadvise64(self, descriptor: int) -> int:
        """Advice is taken and changes nothing."""
        self._files.file(descriptor)
        return 0

    def _fill_at(self, descriptor: int, parts: list[tuple[int, int]], offset: int) -> int:
        file, position = self._files.file(descriptor), signed(offset)

        def source(size: int) -> bytes:
            nonlocal position
            data = file.read_at(size, position)
            position += len(data)
            return data

        return self._fill(parts, file, source)

    def _drain_at(self, descriptor: int, parts: list[tuple[int, int]], offset: int) -> int:
        file, position = self._files.file(descriptor), signed(offset)

        def sink(data: bytes) -> int:
            nonlocal position
            count = file.write_at(data, position)
            position += count
            return count

        return self._drain(parts, file, sink)

    def _fill(self, parts: list[tuple[int, int]], file: OpenFile, source: Callable[[int], bytes]) -> int:
        """Read into the parts in turn, until one read gives less than asked or the file is one that may block."""
        done = 0
        try:
            for address, size in _wanted(parts):
                filled = 0
                while filled < size or size == 0:
                    asked = min(size - filled, file.largest)
                    data = source(asked)
                    self._space.write(address + filled, data)
                    filled, done = filled + len(data), done + len(data)
                    if len(data) < asked or not file.regular:
                        return done
                    if size == 0:
                        break
        except Failed:
            if not done:
                raise
        return done

    def _drain(self, parts: list[tuple[int, int]], file: OpenFile, sink: Callable[[bytes], int]) -> int:
        """Write the parts in turn; what was taken before an error counts."""
        done = 0
        try:
            for address, size in _wanted(parts):
                for start in range(0, size or 1, file.largest):
                    data = self._space.read(address + start, min(file.largest, size - start)) if size else b""
                    count = sink(data)
                    done += count
                    if count < len(data):
                        return done
        except Failed:
            if not done:
                raise
        return done


def _wanted(parts: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The parts that are not empty: an empty one may have any address, as musl's standard output does it.

    If all are empty, one is left: the call still fails where the file cannot be read or written.
    """
    return [one for one in parts if one[1]] or parts[:1]
