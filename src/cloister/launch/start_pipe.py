"""A start block in a pipe: what is given to execve(2) instead stays in memory that is readable in /proc."""

import fcntl
import os

from cloister.errors import UsageError

__all__ = ["filled_pipe"]

F_SETPIPE_SZ = 1031  # fcntl(2); not in the fcntl module of Python 3.11 on every libc
LEAST = 65536
FIRST_INHERITED = 100  # far from the numbers that the program opens itself


def filled_pipe(data: bytes) -> int:
    """The reading end of a pipe that holds `data`, with a high number. UsageError if they do not fit into one."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            room = fcntl.fcntl(writer, F_SETPIPE_SZ, max(len(data), LEAST))
        except OSError:  # beyond /proc/sys/fs/pipe-max-size only root may go
            room = 0
        if len(data) > room:
            raise UsageError("arguments and environment are too large for a pipe: unset large variables")
        os.write(writer, data)
        return fcntl.fcntl(reader, fcntl.F_DUPFD_CLOEXEC, FIRST_INHERITED)
    finally:
        os.close(reader)
        os.close(writer)
