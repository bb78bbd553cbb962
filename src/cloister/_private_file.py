"""Files that hold a key: read only if nobody else may use them."""

import os
import stat
from pathlib import Path
from typing import Final

from cloister.errors import UsageError

__all__ = ["read_private"]

OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def read_private(path: Path, into: bytearray, *, what: str, harm: str) -> int:
    """Fill `into` from the start of the file; how many bytes came. UsageError.

    `what` is what messages call the file's content ("the platform key"), `harm` what follows if others know it.
    Refused: links, what is no regular file, what others may use, and what belongs to another user (but root).
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise UsageError(f"cannot read {what} {path}: {error.strerror}") from error
    try:
        _check_access(path, os.fstat(descriptor), harm)
        return os.readv(descriptor, [into])
    finally:
        os.close(descriptor)


def _check_access(path: Path, status: os.stat_result, harm: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{path} is no file")
    if status.st_mode & OTHERS:
        raise UsageError(
            f"{path} may be used by others (mode {stat.S_IMODE(status.st_mode):o}): {harm}. "
            f"`chmod 600` it, and make another if somebody may have read it"
        )
    if status.st_uid not in {os.geteuid(), 0}:
        raise UsageError(f"{path} belongs to user {status.st_uid}, who knows this key; use one of your own")
