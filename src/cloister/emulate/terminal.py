"""The owner's terminal: both ends of the line between whoever types and the program in its TEE."""

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from cloister.emulate.linux.console import Console, PlainConsole, SealedConsole
from cloister.emulate.linux.process import ShimOptions

__all__ = ["Terminal", "sealed_terminal", "unsafe_plain_terminal"]


class Terminal(NamedTuple):
    """`console` is the owner's end, through which the host carries bytes; `options` tell the shim of the other end."""

    console: Console
    options: ShimOptions


Read = Callable[[int], bytes]
Write = Callable[[bytes], object]


def sealed_terminal(
    read: Read,
    write: Write,
    write_errors: Write | None = None,
    *,
    directory: Path = Path("/"),
    interactive: bool = False,
) -> Terminal:
    """A terminal whose line is encrypted under a fresh key: the host carries ciphertext.

    The key stands for what owner and program agree on once the program is attested. `directory` is the program's
    first working directory, `interactive` whether its standard streams look like a terminal.
    """
    key = secrets.token_bytes(32)
    options = ShimOptions(console_key=key, directory=str(directory), interactive=interactive)
    return Terminal(SealedConsole(key, read, write, write_errors), options)


def unsafe_plain_terminal(
    read: Read,
    write: Write,
    write_errors: Write | None = None,
    *,
    directory: Path = Path("/"),
    interactive: bool = False,
) -> Terminal:
    """A terminal that the host reads along, as an ordinary console is."""
    options = ShimOptions(unsafe_plain_console=True, directory=str(directory), interactive=interactive)
    return Terminal(PlainConsole(read, write, write_errors), options)
