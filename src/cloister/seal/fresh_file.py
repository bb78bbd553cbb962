"""Files that appear whole or not at all, for their owner only, and never replace another.

Until it is published a file has no name (O_TMPFILE): nobody finds it, and it vanishes with the process however that
ends. What was written of it goes back to the file system, which does not overwrite it.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cloister.errors import UsageError

__all__ = ["FreshFile", "fresh_file", "is_there", "make_once"]

MODE: Final = 0o600


class FreshFile:
    """A file without a name, to be written (`descriptor`, or as a sink) and then published as `path`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self.descriptor = path, descriptor

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Write some of `data`; how many bytes. UsageError."""
        try:
            return os.write(self.descriptor, data)
        except OSError as error:
            raise UsageError(f"cannot write {self.path}: {error.strerror}") from error

    def publish(self) -> None:
        """Give it its name, durably. UsageError if something has that name already: it is left as it is."""
        try:
            os.fsync(self.descriptor)
            directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                # Only with directories does Python call linkat(2), which follows this link to the file.
                os.link(f"/proc/self/fd/{self.descriptor}", self.path.name, src_dir_fd=directory, dst_dir_fd=directory)
                os.fsync(directory)
            finally:
                os.close(directory)
        except FileExistsError:
            raise _exists(self.path) from None
        except OSError as error:
            raise UsageError(f"cannot write {self.path}: {error.strerror}") from error


@contextlib.contextmanager
def fresh_file(path: Path) -> Iterator[FreshFile]:
    """A new file that gets its name only by `publish`. UsageError."""
    if is_there(path):
        raise _exists(path)
    try:
        descriptor = os.open(path.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, MODE)
    except OSError as error:
        reason = error.strerror
        if error.errno in {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}:
            reason = "its file system has no files without names (O_TMPFILE); choose ext4, xfs or tmpfs"
        raise UsageError(f"cannot make {path}: {reason}") from error
    try:
        yield FreshFile(path, descriptor)
    finally:
        os.close(descriptor)


def make_once(path: Path, content: bytes | bytearray) -> None:
    """A small file with this content, unless another process was faster and made one: that one stays. UsageError."""
    try:
        with fresh_file(path) as file:
            file.write(content)
            file.publish()
    except UsageError:
        if not is_there(path):
            raise


def is_there(path: Path) -> bool:
    """Whether something has that name, a dangling link included. UsageError if that cannot be seen."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise UsageError(f"cannot look at {path}: {error.strerror}") from error
    return True


def _exists(path: Path) -> UsageError:
    return UsageError(f"{path} exists already, and is not overwritten: remove it first, or choose another name")
