"""The checkpoint of a log that another process writes: from its files, without its lock."""

import os
from pathlib import Path
from typing import Final

from cloister.broker.audit.checkpoint import Checkpoint
from cloister.broker.audit.entry import LONGEST_LINE, parse_entry
from cloister.broker.audit.segments import closed_segments
from cloister.errors import Undecided

__all__ = ["last_checkpoint"]

LOOKS: Final = 3
"""Between two looks a segment may be closed, hardly two."""


def last_checkpoint(path: Path, key: bytes) -> Checkpoint:
    """Of the last complete entry, once the disk has it; signed by `key`, or SignatureInvalid. Undecided if none is."""
    for _ in range(LOOKS):
        for one in (path, *(closed for _, closed in closed_segments(path)[-1:])):
            try:
                line = _last_line(one)
            except OSError:  # closed meanwhile, under another name
                continue
            if line:
                entry = parse_entry(line, one.name)
                entry.seal.verify(key)
                return Checkpoint.of(entry, key)
    raise Undecided(f"{path}: no entry can be read now")


def _last_line(path: Path) -> bytes:
    """Without its line feed; what is unfinished behind it is left. On the disk when this returns."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 2 * LONGEST_LINE))
        complete, _, _ = file.read(2 * LONGEST_LINE).rpartition(b"\n")
        os.fsync(file.fileno())
    return complete.rpartition(b"\n")[2]
