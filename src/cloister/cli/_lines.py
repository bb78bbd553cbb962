"""Labelled values in lines that fit a terminal: long byte strings in rows of 32 bytes, runs of zeros counted."""

import os
import re
import sys
import textwrap
from collections.abc import Iterator

from cloister.cli._terminal import clean

__all__ = ["labelled", "prose", "width_of_terminal"]

WIDEST = 100
NARROWEST = 60
ROW = 64
"""Hexadecimal digits in a row: 32 bytes. With an indent of 15 and a comma that is 80 columns."""

ZEROS = 32
"""Hexadecimal digits: shorter runs of zeros at the end of a value are shown."""

LONGEST = 4_000
"""Characters of one value; `--json` has all of it."""

BYTES = re.compile(rf"(?<![^\s,])[0-9a-f]{{{ROW},}}(?![^\s,])")


def width_of_terminal() -> int:
    """Columns to fill: those of the terminal on standard error, 60 to 100; 100 if it is none."""
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError, AttributeError):
        return WIDEST
    return max(NARROWEST, min(columns, WIDEST))


def prose(text: str, *, width: int, first: str = "", later: str = "") -> Iterator[str]:
    """A sentence, wrapped; words are never broken, so that addresses and commands can be copied."""
    yield from textwrap.wrap(
        _shortened(text), width, initial_indent=first, subsequent_indent=later, break_long_words=False,
        break_on_hyphens=False,
    ) or [first.rstrip()]  # fmt: skip


def labelled(label: str, value: str, *, width: int, indent: int = 2, column: int = 16) -> Iterator[str]:
    """A value behind its label, its further lines below it."""
    first = f"{' ' * indent}{label}".ljust(column - 1) + " "
    yield from prose(value, width=width, first=first, later=" " * column)


def _shortened(text: str) -> str:
    """The text, safe for a terminal, with its byte strings in rows."""
    shown = clean(text)
    if len(shown) > LONGEST:
        shown = f"{shown[:LONGEST]}... ({len(shown):,} characters; --json shows all)"
    return BYTES.sub(_rows, shown)


def _rows(match: re.Match[str]) -> str:
    digits = match[0]
    kept = -(-len(digits.rstrip("0")) // ZEROS) * ZEROS
    zeros = len(digits) - kept
    if len(digits) % 2 or zeros < ZEROS:
        return " ".join(digits[at : at + ROW] for at in range(0, len(digits), ROW))
    rows = " ".join(digits[at : min(at + ROW, kept)] for at in range(0, kept, ROW))
    return f"{rows} and {zeros // 2} zero bytes" if rows else f"{zeros // 2} zero bytes"
