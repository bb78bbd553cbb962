"""Opening a log for writing: begin a new one, or look at how the last writer left it and go on from there.

A log that does not verify is not continued: entries after a forged one would make it look accepted.
"""

import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from cloister.broker.audit.active import MODE, ActiveSegment, LogUnusable, sync_directory
from cloister.broker.audit.chain import Chain
from cloister.broker.audit.entry import LONGEST_LINE, Entry, parse_entry
from cloister.broker.audit.events import TornTail
from cloister.broker.audit.segments import closed_segments, last_line
from cloister.errors import ParseError, VerificationError

__all__ = ["Opened", "create_log", "reopen_log", "torn_path"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A log that can be continued: after `head`, in the segment that begins with entry `first`.

    `torn` is to be appended first, if there is one.
    """

    segment: ActiveSegment
    head: Entry
    first: int
    torn: TornTail | None = None


def torn_path(path: Path, sequence: int) -> Path:
    """Where the unfinished line is kept that entry `sequence`, a `TornTail`, tells of."""
    return path.with_name(f"{path.name}.torn.{sequence}")


def create_log(path: Path, first: Entry) -> Opened:
    """A new log with its first entry, all at once: no crash leaves one without."""
    new = path.with_name(f"{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()  # of a start that did not get further
    segment = ActiveSegment.create(new)
    segment.append(first.line() + b"\n")
    segment.close()
    new.rename(path)
    sync_directory(path)
    return Opened(segment=ActiveSegment(path), head=first, first=1)


def reopen_log(path: Path, key: bytes) -> Opened:
    """The log as it was left. LogUnusable if its active segment, or the end of the one before, does not verify."""
    try:
        return _reopen(path, key)
    except (ParseError, VerificationError) as error:
        raise LogUnusable(
            f"{path}: {error}; such a log is not continued. Run `cloister log verify` on it with your last checkpoint, "
            "keep the files as evidence, and start a new log at another path"
        ) from error


def _reopen(path: Path, key: bytes) -> Opened:
    before = _head_of_closed(path, key)
    if before is not None and not path.exists():  # stopped between closing a segment and beginning the next
        ActiveSegment.create(path).close()
    head, size = _follow(path, Chain(key, before))
    if head is None:
        raise LogUnusable(
            f"{path} has no complete entry. A log is never left like this: it was emptied. Look for the rest, and move "
            "the file away to begin a new log"
        )
    segment = ActiveSegment(path)
    if segment.size > size:
        _keep_torn(segment, size, head.sequence + 1)
    first = before.sequence + 1 if before else 1
    return Opened(segment=segment, head=head, first=first, torn=_due(path, head.sequence + 1))


def _follow(path: Path, chain: Chain) -> tuple[Entry | None, int]:
    """The last entry, and where its line ends, of an active segment that continues `chain` with every complete line."""
    size = 0
    with path.open("rb") as file:
        for number, content in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), 1):
            where = f"{path.name} line {number}"
            if content.endswith(b"\n"):
                chain.accept(parse_entry(content[:-1], where))
                size += len(content)
            elif len(content) == LONGEST_LINE:
                raise ParseError(where, "length", size, "longer than any entry")
    return chain.head, size


def _head_of_closed(path: Path, key: bytes) -> Entry | None:
    """The last entry before the active segment; None if no segment was closed."""
    closed = closed_segments(path)
    if not closed:
        return None
    with closed[-1][1].open("rb") as file:
        entry = last_line(file, closed[-1][1].name).entry()
    entry.seal.verify(key)
    return entry


def _keep_torn(segment: ActiveSegment, size: int, sequence: int) -> None:
    """Move what stands behind the last complete line to a file of its own. Repeated after a crash, it does the same."""
    with segment.path.open("rb") as file:
        file.seek(size)
        tail = file.read()
    kept = torn_path(segment.path, sequence)
    descriptor = os.open(kept, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, MODE)
    with os.fdopen(descriptor, "r+b") as file:
        if not file.read().endswith(tail):
            file.write(tail)
        file.flush()
        os.fsync(file.fileno())
    sync_directory(kept)
    segment.cut(size)


def _due(path: Path, sequence: int) -> TornTail | None:
    """The `TornTail` that entry `sequence` must be: its file is there, and nothing tells of it yet."""
    kept = torn_path(path, sequence)
    content = kept.read_bytes() if kept.exists() else b""
    return TornTail(size=len(content), sha256=hashlib.sha256(content).digest()) if content else None
