"""The files of one log: closed segments, each named after its first entry, then the active one.

    audit.log.000000000001   entries 1 to 41,233, never written again
    audit.log.000000041234   entries 41,234 to ...
    audit.log                the rest; the broker appends here
    audit.log.lock           held by the broker that writes
    audit.log.torn.55120     what stood after the last complete entry when entry 55,120 was written

Readers take no lock. They see what is there when they start, and wait a moment for a line that is being written.
"""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from cloister.broker.audit.entry import LONGEST_LINE, Entry, parse_entry
from cloister.errors import ParseError, UsageError

__all__ = ["Line", "closed_segments", "last_line", "read_entries", "read_lines", "segment_path"]

WAIT = 0.01
"""Seconds between two looks."""
LOOKS_FOR_LINE: Final = 20
"""A write is a copy in memory: a line that is not finished by then was interrupted."""
LOOKS_FOR_FILE: Final = 100
"""Between closing a segment and beginning the next, the disk is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a log, without its line feed. `complete` is false for what stands behind the last line feed."""

    content: bytes
    where: str
    """File and number of the line, for errors."""
    named: int | None
    """The number after which the file of its first line is named; None inside a file and for the active segment."""
    opens_file: bool
    complete: bool = True

    def entry(self) -> Entry:
        """The entry in it; ParseError if there is none."""
        return parse_entry(self.content, self.where)


def segment_path(path: Path, first: int) -> Path:
    """Where the closed segment that begins with this entry stands."""
    return path.with_name(f"{path.name}.{first:012d}")


def closed_segments(path: Path) -> list[tuple[int, Path]]:
    """The closed segments of the log at `path`, in order, each with the number of its first entry."""
    form = re.compile(rf"{re.escape(path.name)}\.(\d{{12,18}})")
    found = [
        (int(match[1]), path.with_name(name)) for name in os.listdir(path.parent) if (match := form.fullmatch(name))
    ]
    return sorted((first, one) for first, one in found if one == segment_path(path, first))


def read_lines(path: Path) -> Iterator[Line]:
    """Every line of a log, closed segments first. UsageError if there is no such log or it cannot be read.

    ParseError if a line is too long, or if one is unfinished where nothing can be: in a closed segment.
    """
    try:
        with contextlib.ExitStack() as stack:
            closed, active = _snapshot(path, stack)
            for first, one in closed:
                with one.open("rb") as file:
                    yield from _lines(file, one.name, first)
            if active is not None:
                yield from _lines(active, path.name, None)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def read_entries(path: Path) -> Iterator[Entry]:
    """Every entry of a log, not verified. ParseError at the first line that is none; an unfinished last one is left."""
    for line in read_lines(path):
        if line.complete:
            yield line.entry()


def last_line(file: BinaryIO, name: str) -> Line:
    """The last line of a closed segment, which must be complete."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - LONGEST_LINE))
    tail = file.read(LONGEST_LINE)
    if not tail.endswith(b"\n"):
        raise ParseError(name, "end", size, "a closed segment ends with a complete line")
    content = tail[:-1].rsplit(b"\n", 1)[-1]
    return Line(content=content, where=f"{name}, last line", named=None, opens_file=False)


def _snapshot(path: Path, stack: contextlib.ExitStack) -> tuple[list[tuple[int, Path]], BinaryIO | None]:
    """The closed segments and the active one, as at one moment: while they were listed, none was closed or begun."""
    for look in range(LOOKS_FOR_FILE):
        try:
            active: BinaryIO | None = stack.enter_context(path.open("rb"))
        except FileNotFoundError:
            active = None
        closed = closed_segments(path) if path.parent.is_dir() else []
        if (active is not None and _is_still(path, active)) or (active is None and not closed):
            break
        if active is None and look == LOOKS_FOR_FILE - 1:
            break  # a log that was stopped between closing a segment and beginning the next
        time.sleep(WAIT)
    else:
        raise UsageError(f"cannot read {path}: it is replaced faster than it can be read")
    if active is None and not closed:
        raise UsageError(f"cannot read {path}: there is no such log")
    return closed, active


def _is_still(path: Path, file: BinaryIO) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    return False


def _lines(file: BinaryIO, name: str, first: int | None) -> Iterator[Line]:
    number, at = 1, 0
    while content := _line(file, at, last_file=first is None):
        where, complete = f"{name} line {number}", content.endswith(b"\n")
        if len(content) > LONGEST_LINE:
            raise ParseError(where, "length", at, f"a line of an audit log has at most {LONGEST_LINE} bytes")
        if not complete and first is not None:
            raise ParseError(where, "end", at, "a closed segment ends in the middle of a line")
        yield Line(
            content=content.removesuffix(b"\n"), where=where, complete=complete, opens_file=number == 1,
            named=first if number == 1 else None,
        )  # fmt: skip
        number, at = number + 1, at + len(content)
    if number == 1 and first is not None:
        raise ParseError(name, "length", 0, "a closed segment is never empty")


def _line(file: BinaryIO, at: int, *, last_file: bool) -> bytes:
    """The line at an offset. One that is unfinished may be finished a moment later, or be taken back and rewritten."""
    content = file.readline(LONGEST_LINE + 1)
    for _ in range(LOOKS_FOR_LINE if last_file else 0):
        if not content or content.endswith(b"\n") or len(content) > LONGEST_LINE:
            break
        time.sleep(WAIT)
        file.seek(at)
        content = file.readline(LONGEST_LINE + 1)
    return content
