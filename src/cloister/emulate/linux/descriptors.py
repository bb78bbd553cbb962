"""The descriptor table: small numbers for open files, several of which may be the same file."""

import posixpath
from typing import Final

from .console import Line, Stream
from .link import HostLink
from .open_files import ConsoleFile, Device, HostFile, OpenFile
from .outcome import Failed
from .provided import ProvidedFiles

__all__ = ["CLOSE_ON_EXEC", "MOST", "Descriptors"]

EBADF, EINVAL, EMFILE = 9, 22, 24
CLOSE_ON_EXEC: Final = 0o2000000
MOST: Final = 1024
"""Descriptors of one program: what getrlimit tells."""


class Descriptors:
    """All descriptors of one program. 0, 1 and 2 are the console."""

    def __init__(self, link: HostLink, line: Line, provided: ProvidedFiles, *, interactive: bool) -> None:
        self._link, self._provided = link, provided
        streams = (Stream.INPUT, Stream.OUTPUT, Stream.ERRORS)
        self._files: dict[int, OpenFile] = {
            int(stream): ConsoleFile(stream, line, link, interactive=interactive) for stream in streams
        }
        self._closing: set[int] = set()
        self._handles: set[int] = set()

    def file(self, descriptor: int) -> OpenFile:
        """What a descriptor stands for. Failed with EBADF."""
        file = self._files.get(descriptor & 0xFFFF_FFFF)
        if file is None:
            raise Failed(EBADF)
        return file

    def open(self, path: bytes, flags: int, mode: int) -> int:
        """Open a device or file of the TEE's own, or a file of the host's: the lowest free descriptor."""
        descriptor = self._lowest(0)
        kept = flags & ~CLOSE_ON_EXEC
        if path in Device.KINDS:
            file: OpenFile = Device(path, kept)
        elif self._provided.owns(path):
            file = self._provided.open(path, kept)
        else:
            file = HostFile.open(self._link, path, kept, mode, self._handles)
            file.mounted = self._provided.mounted_in(posixpath.normpath(b"/" + path.lstrip(b"/")))
        self._take(descriptor, file, closing=bool(flags & CLOSE_ON_EXEC))
        return descriptor

    def add(self, file: OpenFile, *, closing: bool) -> int:
        """A descriptor for a file that is not opened by its path: the lowest free one."""
        descriptor = self._lowest(0)
        self._take(descriptor, file, closing=closing)
        return descriptor

    def close(self, descriptor: int) -> None:
        """Give a descriptor back; the host hears of it when it was the file's last."""
        file = self.file(descriptor)
        descriptor &= 0xFFFF_FFFF
        del self._files[descriptor]
        self._closing.discard(descriptor)
        if any(other is file for other in self._files.values()):
            return
        if isinstance(file, HostFile):
            self._handles.discard(file.handle())
        file.close()

    def duplicate(self, descriptor: int, lowest: int, *, closing: bool = False) -> int:
        """Another descriptor for the same file: the lowest free one from `lowest` on."""
        file = self.file(descriptor)
        if not 0 <= lowest < MOST:
            raise Failed(EINVAL)
        new = self._lowest(lowest)
        self._take(new, file, closing=closing)
        return new

    def replace(self, descriptor: int, new: int, *, closing: bool = False) -> int:
        """dup2: make `new` stand for the same file, closing what it stood for."""
        file = self.file(descriptor)
        if not 0 <= new < MOST:
            raise Failed(EBADF)
        if new != descriptor & 0xFFFF_FFFF:
            if new in self._files:
                self.close(new)
            self._take(new, file, closing=closing)
        return new

    def closes_on_exec(self, descriptor: int) -> bool:
        """The descriptor's only flag."""
        self.file(descriptor)
        return descriptor & 0xFFFF_FFFF in self._closing

    def set_closing(self, descriptor: int, *, closing: bool) -> None:
        """Set the descriptor's only flag."""
        self.file(descriptor)
        (self._closing.add if closing else self._closing.discard)(descriptor & 0xFFFF_FFFF)

    def _take(self, descriptor: int, file: OpenFile, *, closing: bool) -> None:
        self._files[descriptor] = file
        self.set_closing(descriptor, closing=closing)

    def _lowest(self, start: int) -> int:
        for descriptor in range(start, MOST):
            if descriptor not in self._files:
                return descriptor
        raise Failed(EMFILE)
