"""What the checks of files share. Each check gets an empty directory of its own, and is in it."""

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator

CHECKS: list[Callable[[], None]] = []
PAGE = 4096


def check(function: Callable[[], None]) -> Callable[[], None]:
    """Enter a check."""
    CHECKS.append(function)
    return function


@contextlib.contextmanager
def fails(*numbers: int) -> Iterator[None]:
    """What is done inside has to fail with one of these."""
    try:
        yield
    except OSError as error:
        assert error.errno in numbers, f"{errno.errorcode.get(error.errno or 0)} instead"
        return
    raise AssertionError(f"no {errno.errorcode[numbers[0]]}")


def put(path: str, data: bytes = b"data", mode: int = 0o644) -> str:
    """Make a file."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    assert os.write(fd, data) == len(data)
    os.close(fd)
    return path


def get(path: str) -> bytes:
    """Read a file whole."""
    fd = os.open(path, os.O_RDONLY)
    try:
        parts = []
        while part := os.read(fd, 65536):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def in_child(act: Callable[[], None]) -> None:
    """Do something in another process; it has to go well there."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001
            sys.stderr.write(f"in the child: {error!r}\n")
            sys.stderr.flush()
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0, "it failed in the child"
