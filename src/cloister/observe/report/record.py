"""What the lab saw, as data: the only input of the report, and what `cloister lab --json` prints.

Everything is a frozen dataclass of plain values, so `dataclasses.asdict` gives the JSON document. Addresses
and sizes are in bytes, times in UTC (RFC 3339), memory contents in hexadecimal.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

__all__ = [
    "Access",
    "ArmRecord",
    "Attempt",
    "AudienceRow",
    "Basis",
    "CallRecord",
    "Cell",
    "Command",
    "CostRecord",
    "CostRow",
    "HitRecord",
    "LabRecord",
    "MachineRecord",
    "MemberRecord",
    "Outcome",
    "Region",
    "TraceRecord",
    "Verdict",
    "as_json",
]


class Verdict(StrEnum):
    """What the lab concludes; the exit code of `cloister lab` follows from it."""

    PROTECTED = "protected"
    LEAKED = "leaked"
    INCONCLUSIVE = "inconclusive"


class Access(StrEnum):
    """What reading a mapping through /proc/PID/mem gave, and whether its contents can be changed."""

    READABLE = "readable"
    SEALED = "sealed"
    UNREADABLE = "unreadable"
    SPECIAL = "special"


class Basis(StrEnum):
    """Where a cell's answer comes from: tried on this host just now, stated by the design, or neither."""

    OBSERVED = "observed"
    DECLARED = "declared"
    NOT_TRIED = "not tried"


class Outcome(StrEnum):
    """How one attempt to read the secret ended."""

    READ = "read"
    ATTACHED = "attached"
    REFUSED = "refused"
    NOTHING_FOUND = "nothing found"
    NOT_TRIED = "not tried"


@dataclass(frozen=True, kw_only=True)
class Region:
    """One mapping of /proc/PID/maps: [start, end), and how many of its bytes could be read."""

    start: int
    end: int
    permissions: str
    name: str
    access: Access
    read_bytes: int

    @property
    def size(self) -> int:
        """Bytes of address space."""
        return self.end - self.start


@dataclass(frozen=True, kw_only=True)
class HitRecord:
    """The secret, found: its address, the mapping's name, and the bytes around it (hex, from `context_start`)."""

    pid: int
    where: str
    address: int
    length: int
    encoding: str
    context_start: int
    context_hex: str


@dataclass(frozen=True, kw_only=True)
class MemberRecord:
    """A process that was looked at: the program, a descendant or a guard; `tracer` is its TracerPid, 0 for none."""

    pid: int
    comm: str
    role: str
    tracer: int


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try at the secret: by whom (a key of `cloister.adversaries`), with what, how it ended, in whose words.

    `command` is what to type to try it again, empty where there is no tool for it.
    """

    adversary: str
    tool: str
    command: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True, kw_only=True)
class CallRecord:
    """One system call as the tracer printed it; `secret` is true if its buffers, as traced, held the secret."""

    name: str
    text: str
    secret: bool


@dataclass(frozen=True, kw_only=True)
class TraceRecord:
    """A run of the program under a system-call tracer; `absent` says why there are no calls, else is empty."""

    engine: str
    command: str
    calls: tuple[CallRecord, ...]
    notes: tuple[str, ...]
    absent: str


@dataclass(frozen=True, kw_only=True)
class ArmRecord:
    """One arm of the experiment: the same program run natively or in the software enclave.

    `hits` and `read_bytes` are of the program, its descendants and its guards; `regions` and `unreadable_bytes`
    (those that refused the read) of the program alone. `hash_shown` is the number that the program printed, "" if
    none. `buffer_address` is where the kernel says the program was reading its input to (/proc/PID/syscall), 0 if
    it does not say. `absent` says why this arm did not run, and is empty if it did.
    """

    name: str
    command: str
    terminal: str
    hash_shown: str
    members: tuple[MemberRecord, ...]
    regions: tuple[Region, ...]
    hits: tuple[HitRecord, ...]
    read_bytes: int
    unreadable_bytes: int
    buffer_address: int
    attempts: tuple[Attempt, ...]
    trace: TraceRecord
    absent: str


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of "who can still read this": the answer, where it comes from, and the evidence in words."""

    answer: str
    basis: Basis
    note: str


@dataclass(frozen=True, kw_only=True)
class AudienceRow:
    """One adversary of DESIGN.md's table, and the answer per kind of protection."""

    adversary: str
    native: Cell
    software_enclave: Cell
    emulated_tee: Cell
    hardware_tee: Cell


@dataclass(frozen=True, kw_only=True)
class Command:
    """A step to repeat by hand: in which terminal, what to type, what to look for."""

    terminal: int
    text: str
    expect: str


@dataclass(frozen=True, kw_only=True)
class MachineRecord:
    """The machine that the lab ran on."""

    kernel: str
    architecture: str
    processor: str
    distribution: str
    compiler: str
    user: str
    cloister: str


@dataclass(frozen=True, kw_only=True)
class CostRow:
    """One thing that was measured natively and enclaved, in `unit`.

    `speed` is the enclaved speed as a fraction of the native one, a median; half of the measurements lie between
    `lower` and `upper`. `goal` is the goal and how it ended, in words, empty without one; `least_speed` is that goal
    where it is a speed, else 0.
    """

    group: str
    what: str
    unit: str
    native: float
    enclaved: float
    speed: float
    lower: float
    upper: float
    goal: str
    reached: bool
    least_speed: float


@dataclass(frozen=True, kw_only=True)
class CostRecord:
    """What protection costs, as measured once, elsewhere: on which machine, when, and the rows."""

    machine: str
    measured: str
    rows: tuple[CostRow, ...]


@dataclass(frozen=True, kw_only=True)
class LabRecord:
    """One run of the lab. `reason` explains the verdict in a sentence or two, with the fix if there is one."""

    mode: str
    started: str
    verdict: Verdict
    reason: str
    secret: str
    expected_hash: str
    source: str
    native: ArmRecord
    enclaved: ArmRecord
    audience: tuple[AudienceRow, ...]
    commands: tuple[Command, ...]
    machine: MachineRecord
    costs: CostRecord


def as_json(record: LabRecord) -> dict[str, Any]:
    """The record as the JSON document of `cloister lab --json` (tuples become lists, enums their words)."""
    return asdict(record)
