"""What an observer found, what it could not read and why, and how much it looked at. Pure data.

A place that could not be read is an `Absent` with a `Reason`, never an empty result: "not found" is only
worth something beside the bytes that were searched.
"""

import enum
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from cloister.observe.maps import Mapping

__all__ = ["Absent", "Coverage", "Finding", "FoundKey", "Reason", "Scan"]


class Reason(enum.StrEnum):
    """Why bytes could not be looked at."""

    SECRET = "secret memory refused the read (EIO)"  # noqa: S105  a reason, not a password
    KERNEL_PAGES = "kernel pages, no data of the program (EIO)"
    REFUSED = "mapped but refused the read (EIO)"
    CHANGED = "unmapped or changed while it was read"
    REPLACED = "replaced by execve while it was read"
    LATE = "appeared after the last pass"
    DENIED = "permission denied"
    TRACED = "another tracer (a guard) is attached"
    GONE = "the process has ended"
    ENDED = "a descendant that ended meanwhile, and its memory with it"
    NO_MEMORY = "it has no memory: ended and not yet collected, or a kernel thread"
    SCANNER = "the observer itself, which holds what it looks for"
    TOO_LARGE = "larger than the limit"
    NOT_REGULAR = "not a regular file: reading it would take data from the program"
    NOT_DUMPED = "not stored in the dump"
    RESERVED = "not stored in the dump, and not accessible to the program either"
    NOT_ASKED = "not asked for"
    FAILED = "the read failed"

    @property
    def leaves_doubt(self) -> bool:
        """Whether data an administrator could read may lie there unseen, so that "not found" is no answer."""
        return self in {Reason.DENIED, Reason.GONE, Reason.TOO_LARGE, Reason.FAILED}


@dataclass(frozen=True, kw_only=True)
class Absent:
    """`size` bytes at `where` that were not looked at. `detail` adds what the kernel said, if anything."""

    where: str
    reason: Reason
    size: int = 0
    detail: str = ""

    @property
    def why(self) -> str:
        """The reason, with what the kernel said where that adds to it."""
        said = self.detail and self.detail.lower() not in self.reason.value
        return f"{self.reason.value} ({self.detail})" if said else self.reason.value


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One place where a secret was seen. The secret appears as its label only.

    `address` is virtual when `mapping` is set, else an offset into `where`. `matched` of `length` bytes of the
    encoded secret were there: fewer when the rest would lie in memory that could not be read.
    `crosses` tells that it starts in one mapping and ends in the next.
    """

    label: str
    encoding: str
    pid: int | None
    where: str
    address: int
    mapping: Mapping | None
    owner: str
    matched: int
    length: int
    crosses: bool = False

    @property
    def partial(self) -> bool:
        """Whether only a beginning or end of the secret was readable."""
        return self.matched < self.length


@dataclass(frozen=True, kw_only=True)
class FoundKey:
    """An expanded AES key at `address`; `key_bits` is 128, 192 or 256. The key itself is not kept."""

    key_bits: int
    layout: str
    pid: int | None
    where: str
    address: int
    mapping: Mapping | None
    owner: str


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Bytes looked at. `untouched_bytes` were never written by the process: the kernel holds no page for them.

    `reserved_bytes` are address space that the process itself may not access, and nothing stands behind.
    """

    read_bytes: int = 0
    unreadable_bytes: int = 0
    untouched_bytes: int = 0
    reserved_bytes: int = 0
    expected_chance_hits: float = 0.0

    def __add__(self, other: "Coverage") -> "Coverage":
        """Both together."""
        return Coverage(
            read_bytes=self.read_bytes + other.read_bytes,
            unreadable_bytes=self.unreadable_bytes + other.unreadable_bytes,
            untouched_bytes=self.untouched_bytes + other.untouched_bytes,
            reserved_bytes=self.reserved_bytes + other.reserved_bytes,
            expected_chance_hits=self.expected_chance_hits + other.expected_chance_hits,
        )


@dataclass(frozen=True, kw_only=True)
class Scan:
    """The outcome of looking at one or more places. `unlisted` counts findings beyond the limit per place."""

    findings: tuple[Finding, ...] = ()
    absences: tuple[Absent, ...] = ()
    coverage: Coverage = field(default_factory=Coverage)
    keys: tuple[FoundKey, ...] = ()
    unlisted: int = 0

    def merge(self, *others: "Scan") -> "Scan":
        """This scan and `others` as one."""
        return Scan.total((self, *others))

    @staticmethod
    def total(scans: Iterable["Scan"]) -> "Scan":
        """All `scans` as one; none gives an empty scan."""
        parts = list(scans)
        return Scan(
            findings=tuple(finding for scan in parts for finding in scan.findings),
            absences=tuple(absent for scan in parts for absent in scan.absences),
            coverage=sum((scan.coverage for scan in parts), Coverage()),
            keys=tuple(key for scan in parts for key in scan.keys),
            unlisted=sum(scan.unlisted for scan in parts),
        )

    @property
    def found(self) -> bool:
        """Whether a secret was seen anywhere, whole or in part."""
        return bool(self.findings)

    @property
    def doubts(self) -> tuple[Absent, ...]:
        """The absences that make "not found" no answer; nothing read at all is the caller's to judge."""
        return tuple(absent for absent in self.absences if absent.reason.leaves_doubt)

    def unreadable_by_reason(self) -> dict[Reason, int]:
        """Bytes not looked at, summed by reason."""
        totals: Counter[Reason] = Counter()
        for absent in self.absences:
            totals[absent.reason] += absent.size
        return dict(totals)
