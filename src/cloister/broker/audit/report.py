"""What verifying a log came to: a grade, worse to better, with the exit code that SCONE's users know."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import NoReturn

from cloister.broker.audit.entry import Entry

__all__ = ["Grade", "LogReport"]


class Grade(Enum):
    """How far a log can be relied on. `code` is the exit code of `cloister log verify`.

    The codes from 10 are those of SCONE's `cas verify-audit-log`; its 10 is a transaction that was logged and did not
    happen, which is what an unfinished last line is here.
    """

    MALFORMED = (2, "malformed", "not an audit log, or a line that is no entry")
    FORGED = (20, "forged", "an entry was changed, taken out, put in, moved, or is not signed by the broker")
    OTHER_BROKER = (19, "another broker's", "the log is signed throughout, by another key than the broker's")
    ROLLED_BACK = (18, "rolled back", "the log is another history than the one the checkpoint was taken of")
    GAP = (17, "segment missing", "a closed segment is missing between others")
    RECENT_MISSING = (14, "truncated", "recent entries are missing: the log ends before the checkpoint")
    OLDER_MISSING = (15, "older missing", "what is here is authentic, but does not begin with the first entry")
    UNDECIDED = (16, "cannot be ruled out", "what is here is consistent; whether something is missing is not known")
    TORN = (10, "intact, last line unfinished", "nothing is missing; one append was interrupted and never confirmed")
    INTACT = (0, "intact", "nothing was changed, and nothing is missing up to the checkpoint")

    def __init__(self, code: int, title: str, meaning: str) -> None:
        self.code, self.title, self.meaning = code, title, meaning

    def __bool__(self) -> NoReturn:
        """Refuse: which grades are good enough is the caller's decision."""
        raise TypeError("a grade is neither true nor false: compare it with Grade.INTACT")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReport:
    """The grade of a log, and what it rests on."""

    grade: Grade
    reason: str
    """What was found, and where."""
    entries: int
    """How many were verified, up to where it went wrong."""
    first: Entry | None
    last: Entry | None
    key: bytes
    """DER SubjectPublicKeyInfo that the entries were verified with; empty if there was none."""
    torn: int = 0
    """Bytes behind the last complete line."""
    clock_went_back: tuple[tuple[int, datetime], ...] = ()
    """Entries with an earlier time than the one before: at most the first ten. A remark; order is by number."""
    unchecked: tuple[str, ...] = ()
    """What could not be checked, and why."""

    def __bool__(self) -> NoReturn:
        """Refuse: `if verify_log(...)` would take a forged log for a good one."""
        raise TypeError("a report is neither true nor false: look at its grade")
