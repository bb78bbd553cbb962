"""The person's own terminal: it does the line editing, the echo and the keys that signal, in the modes the program set.

So a program's tcsetattr(3) takes effect here, on a machine that the person trusts, and the host's kernel, which would
do it natively, never sees a line.
"""

import os
import struct
import termios
from collections.abc import Sequence
from typing import Any, Final

from cloister.shield.console.records import ConsoleBroken

__all__ = ["LocalTerminal"]

MODE: Final = struct.Struct("<IIIIIB19s")
"""When (0 now, 1 after what was printed, 2 and what was typed is thrown away), then struct termios."""
EXTPROC: Final = 0o200000
WHEN: Final = {0: termios.TCSANOW, 1: termios.TCSADRAIN, 2: termios.TCSAFLUSH}


class LocalTerminal:
    """The terminal at a descriptor; `restore` leaves it as it was found."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._found: list[Any] = termios.tcgetattr(descriptor)

    @property
    def canonical(self) -> bool:
        """Whether it gives whole lines."""
        return bool(termios.tcgetattr(self._descriptor)[3] & termios.ICANON)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        found: os.terminal_size = os.get_terminal_size(self._descriptor)
        return found.lines, found.columns

    def apply(self, mode: bytes) -> None:
        """Take over the modes that the program set. ConsoleBroken."""
        if len(mode) != MODE.size:
            raise ConsoleBroken(f"terminal modes of {len(mode)} bytes came")
        when, given_input, output, _, local, _, characters = MODE.unpack(mode)
        wanted = list(self._found)
        wanted[0], wanted[1], wanted[3] = given_input, output, local & ~EXTPROC
        wanted[6] = _characters(wanted[6], characters, canonical=bool(local & termios.ICANON))
        termios.tcsetattr(self._descriptor, WHEN.get(when, termios.TCSANOW), wanted)

    def restore(self) -> None:
        """As it was found."""
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._found)


def _characters(found: Sequence[Any], given: bytes, *, canonical: bool) -> list[Any]:
    """The control characters. Where whole lines are not wanted, a read here waits for one byte, whatever theirs do."""
    characters: list[Any] = [bytes([byte]) for byte in given] + list(found[len(given) :])
    if not canonical:
        characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    return characters
