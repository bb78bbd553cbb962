"""How a system call can end otherwise than with a value."""

import errno
import os
from typing import NamedTuple

__all__ = ["Ended", "Failed"]


class Ended(NamedTuple):
    """The program is over: `status` as a shell shows it (0 to 255), `signal` the number of the signal that ended it."""

    status: int
    signal: int = 0


class Failed(Exception):
    """A system call fails with an errno: an answer to the program, not an error of the machine."""

    def __init__(self, number: int) -> None:
        super().__init__(f"{errno.errorcode.get(number, number)}: {os.strerror(number)}")
        self.number = number
