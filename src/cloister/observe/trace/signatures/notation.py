"""What each system call's arguments mean, as a declarative table.

One line per call, in the words of its manual page:

    read(fd:fd, buf:out[=], count:size) -> in

`name:kind`; in brackets what the kind needs: the argument that holds a length, `=` for the value returned, `*arg` for
a length behind a pointer, or the table of names (`cloister.observe.trace.flags`). The word after `->` says what
the value returned is: `in`/`out` bytes moved through the first descriptor, `fd`, `pid`, `hex`, `int` (the default).
"""

import re
from dataclasses import dataclass

from cloister.observe.trace.signatures import files, memory, network, processes

__all__ = ["SIGNATURES", "Param", "Signature", "parse"]


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter: its name, how to decode it, and what the decoder needs (see the module's text)."""

    name: str
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Signature:
    """One system call: its parameters in register order, and what its value returned is."""

    name: str
    params: tuple[Param, ...]
    returns: str


LINE = re.compile(r"(\w+)\((.*)\)(?: -> (\w+))?")
PARAM = re.compile(r"(\w+):(\w+)(?:\[([^\]]*)\])?")


def parse(text: str) -> dict[str, Signature]:
    """Read a table; raises `ValueError` on a line that is not a signature."""
    signatures = (signature(line.strip()) for line in text.splitlines() if line.strip())
    return {item.name: item for item in signatures}


def signature(line: str) -> Signature:
    """Read one line of a table."""
    match = LINE.fullmatch(line)
    if match is None:
        raise ValueError(f"not a system-call signature: {line!r}")
    name, inside, returns = match.groups()
    return Signature(name, tuple(param(word.strip()) for word in inside.split(",") if word.strip()), returns or "int")


def param(word: str) -> Param:
    """Read one `name:kind[detail]`."""
    match = PARAM.fullmatch(word)
    if match is None:
        raise ValueError(f"not a parameter: {word!r}")
    return Param(match[1], match[2], match[3] or "")


SIGNATURES: dict[str, Signature] = parse(files.TABLE + memory.TABLE + network.TABLE + processes.TABLE)
