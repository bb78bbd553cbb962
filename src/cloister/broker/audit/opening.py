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
from cloister.broker.audit.entry import LONGEST_LINE, Entry
from cloister.broker.audit.events import TornTail
from cloister.broker.audit.segments import Line, closed_segments, last_line
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
    os.link(new, path)  # unlike a rename, never replaces anything
    new.unlink()
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
    head = _head_of_closed(path, key)
    if not path.exists():  # stopped between closing a segment and beginning the next
        return (
            _checked(Opened(segment=ActiveSegment.create(path), head=head, first=head.sequence + 1))
            if head
            else _no(path)
        )
    chain, first, size = Chain(key, head), head.sequence + 1 if head else 1, 0
    with path.open("rb") as file:
        for number, content in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), 1):
            where = f"{path.name} line {number}"
            if not content.endswith(b"\n"):
                if len(content) == LONGEST_LINE:
                    raise ParseError(where, "length", size, "longer than any entry")
                break
            chain.accept(Line(content=content[:-1], where=where, named=None, opens_file=False).entry())
            size += len(content)
    if chain.head is None:
        _no(path)
    segment = ActiveSegment(path)
    _keep_torn(segment, size, chain.head.sequence + 1)
    return _checked(Opened(segment=segment, head=chain.head, first=first))


def _no(path: Path) -> "Opened":
    raise LogUnusable(
        f"{path} has no complete entry. A log is never left like this: it was emptied. Look for the rest, and move the "
        "file away to begin a new log"
    )


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
    if segment.size == size:
        return
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


def _checked(opened: Opened) -> Opened:
    """With the `TornTail` that is due: its file is there, and the entry that tells of it is not."""
    kept = torn_path(opened.segment.path, opened.head.sequence + 1)
    if not kept.exists():
        return opened
    content = kept.read_bytes()
    torn = TornTail(size=len(content), sha256=hashlib.sha256(content).digest())
    return Opened(segment=opened.segment, head=opened.head, first=opened.first, torn=torn)
