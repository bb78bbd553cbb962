"""Verifying a log from the outside: its files, the broker's public key, and checkpoints that were kept elsewhere.

A log proves by itself that nothing in it was changed. Only a checkpoint proves that its end is where it should be.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from cloister.broker.audit.chain import Chain
from cloister.broker.audit.checkpoint import Checkpoint
from cloister.broker.audit.entry import Entry
from cloister.broker.audit.events import LogStarted
from cloister.broker.audit.report import Grade, LogReport
from cloister.broker.audit.segments import Line, read_lines
from cloister.errors import BindingInvalid, ParseError, SignatureInvalid, UsageError, VerificationError
from cloister.model import Unchecked
from cloister.result.algorithms import Algorithm, algorithm_of

__all__ = ["check_key", "verify_log"]

NO_KEY: Final = "no key was given: whoever could write the files may have made all of this log"
KEY_OF_CHECKPOINT: Final = "no key was given: the checkpoint's was used, which is as good as where it was kept"
NO_CHECKPOINT: Final = "no checkpoint was given: entries may be missing at the end, or all be of another history"
MOST_REMARKS: Final = 10


def verify_log(path: Path, *, key: bytes | Unchecked, checkpoints: Sequence[Checkpoint] = ()) -> LogReport:
    """Verify the log at `path` with its closed segments; `key` is the broker's, DER SubjectPublicKeyInfo, Ed25519.

    Never raises for what the log is: that is the report's grade. UsageError if it cannot be read, or the key is of
    another kind; SignatureInvalid if a checkpoint is not signed by the key.
    """
    trusted, notes = _trusted(key, checkpoints)
    for one in checkpoints:
        one.verify(trusted)
    walk = _Walk(trusted, checkpoints, notes)
    try:
        for line in read_lines(path):
            walk.take(line)
    except ParseError as error:
        return walk.report(Grade.MALFORMED, str(error))
    except VerificationError as error:
        return walk.report(Grade.FORGED, error.reason)
    return walk.conclude()


def check_key(spki: bytes) -> bytes:
    """The key itself; UsageError unless it is Ed25519, the only kind that signs audit logs."""
    if algorithm_of(spki) is not Algorithm.EDDSA:
        raise UsageError("audit logs are signed with Ed25519; this key is of another kind")
    return spki


def _trusted(key: bytes | Unchecked, checkpoints: Sequence[Checkpoint]) -> tuple[bytes, list[str]]:
    if not isinstance(key, Unchecked):
        return check_key(key), []
    if not checkpoints:
        return b"", [NO_KEY]
    if len({one.key for one in checkpoints}) > 1:
        raise UsageError("the checkpoints are of different brokers; give the key of the one that is meant")
    return check_key(checkpoints[0].key), [KEY_OF_CHECKPOINT]


class _Walk:
    """One pass over a log, in bounded memory."""

    def __init__(self, trusted: bytes, checkpoints: Sequence[Checkpoint], notes: list[str]) -> None:
        self.chain = Chain(trusted)
        self.trusted, self.notes = trusted, notes
        self.wanted: Mapping[int, list[Checkpoint]] = {
            one.seal.sequence: [other for other in checkpoints if other.seal.sequence == one.seal.sequence]
            for one in checkpoints
        }
        self.first: Entry | None = None
        self.entries = self.torn = 0
        self.kept = 0
        """Checkpoints that the log contains."""
        self.went_back: list[Entry] = []
        self.gap = self.forked = ""

    def take(self, line: Line) -> None:
        """The next line of the log."""
        if not line.complete:
            self.torn = len(line.content)
            return
        entry, before = line.entry(), self.chain.head
        if line.named not in (None, entry.sequence):
            raise BindingInvalid(f"{line.where} holds entry {entry.sequence}: the file bears another entry's number")
        if before is None:
            self._begin(entry)
        else:
            self._continue(before, entry, line)
        self.entries += 1
        self._compare(entry.sequence, entry.hash)

    def _begin(self, entry: Entry) -> None:
        self.first = entry
        Chain.check_start(entry)
        own = entry.event.key if isinstance(entry.event, LogStarted) else b""
        if not self.chain.key and not own:
            raise UsageError(f"this log begins with entry {entry.sequence}: verifying it needs the broker's key")
        try:
            self.chain = Chain(self.chain.key or check_key(own))
            self.chain.accept(entry)
        except SignatureInvalid:
            if own in (b"", self.chain.key):
                raise
            self.chain = Chain(check_key(own))  # a log of another broker is not a forged one, if it is whole
            self.chain.accept(entry)
        self._compare(entry.sequence - 1, entry.seal.previous)

    def _continue(self, before: Entry, entry: Entry, line: Line) -> None:
        if line.opens_file and entry.sequence > before.sequence + 1:
            self.gap = self.gap or f"entries {before.sequence + 1} to {entry.sequence - 1} are missing"
            self.chain.resume(entry)
        else:
            self.chain.accept(entry)
        if entry.time < before.time and len(self.went_back) < MOST_REMARKS:
            self.went_back.append(entry)

    def _compare(self, sequence: int, found: bytes) -> None:
        for checkpoint in self.wanted.get(sequence, ()):
            if checkpoint.seal.hash == found:
                self.kept += 1
            elif not self.forked:
                self.forked = f"entry {sequence} is another one than in the checkpoint: a different history"

    def conclude(self) -> LogReport:
        """The grade of a log that was read to its end, and whose entries are all signed and in order."""
        first = self.first.sequence if self.first else 1
        last = self.chain.head.sequence if self.chain.head else 0
        newest = max(self.wanted, default=0)
        other = bool(self.trusted and self.first) and self.chain.key != self.trusted
        worst_first = (
            (other, Grade.OTHER_BROKER, "it is whole, but signed by the key that it names itself"),
            (self.forked, Grade.ROLLED_BACK, self.forked),
            (self.gap, Grade.GAP, self.gap),
            (newest > last, Grade.RECENT_MISSING, f"the checkpoint is of entry {newest}, the log ends with {last}"),
            (first > 1, Grade.OLDER_MISSING, f"the log begins with entry {first}"),
            (not self.trusted or not self.kept, Grade.UNDECIDED, "no sign of forgery in what is here"),
            (self.torn, Grade.TORN, f"{self.torn} bytes of an entry that was never confirmed stand at the end"),
            (True, Grade.INTACT, f"unbroken from entry 1, over the checkpoint at {newest}, to {last}"),
        )
        return next(self.report(grade, reason) for holds, grade, reason in worst_first if holds)

    def report(self, grade: Grade, reason: str) -> LogReport:
        """The report, as far as the log was read."""
        notes = list(self.notes)
        if not self.wanted:
            notes.append(NO_CHECKPOINT)
        if self.first and min(self.wanted, default=self.first.sequence) < self.first.sequence - 1:
            notes.append(f"a checkpoint is older than entry {self.first.sequence}, the first one here")
        return LogReport(
            grade=grade, reason=reason, entries=self.entries, first=self.first, last=self.chain.head,
            key=self.chain.key, torn=self.torn, unchecked=tuple(notes),
            clock_went_back=tuple((entry.sequence, entry.time) for entry in self.went_back),
        )  # fmt: skip
