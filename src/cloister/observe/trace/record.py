"""What a trace is made of. Every engine writes these records; the text, the JSON and the summary only read them.

    Trace ── calls ──▶ Call ── arguments ──▶ Argument ── contents ──▶ Scalar | Seen | Unreadable
          ── events ─▶ Signal | Ended

Every text in these records is already redacted: a secret stands there as its label and length.
"""

import enum
from dataclasses import dataclass, field

__all__ = [
    "Argument",
    "Call",
    "Carried",
    "Contents",
    "Direction",
    "Ended",
    "EngineName",
    "Event",
    "Name",
    "NameKind",
    "Scalar",
    "Seen",
    "Signal",
    "Transfer",
    "Unfinished",
    "Unreadable",
    "Unsearched",
    "UnsearchedKind",
]


class EngineName(enum.Enum):
    """How the system calls were observed."""

    PTRACE = "ptrace"
    TRACEPOINTS = "tracepoints"


class Direction(enum.Enum):
    """Which way bytes went, seen from the program."""

    IN = "in"
    OUT = "out"


class NameKind(enum.Enum):
    """What a visible name names."""

    FILE = "file"
    DESTINATION = "destination"
    PROGRAM = "program"


class UnsearchedKind(enum.Enum):
    """Data that a call moved without any engine seeing its contents; the value is what `Unsearched.amount` counts."""

    IN_KERNEL = "bytes moved inside the kernel"
    LONG_BUFFER = "bytes at the end of very long buffers"
    REFLINK = "files copied by sharing their blocks"
    QUEUED = "operations queued for the kernel"
    QUEUES = "io_uring queues opened, which the kernel may serve without calls"
    UNDECODED = "calls that Cloister does not decode"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """The argument is a plain value: there is no memory behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The memory behind the argument was read: `size` bytes were looked at."""

    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """The memory behind the argument could not be read, and why (for instance "secret memory")."""

    reason: str


Contents = Scalar | Seen | Unreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One argument: its register value, how it reads to a person, and what became of the memory behind it."""

    name: str
    raw: int
    text: str
    contents: Contents


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """A secret seen in an argument: in which encoding, and how far into the buffer (bytes).

    `pieces` is true when the secret began in an earlier call on the same channel; `offset` then counts from
    the start of this call's buffer and is negative.
    """

    label: str
    encoding: str
    argument: str
    offset: int
    length: int
    pieces: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Bytes that a call moved: to or from which channel (a path, `pipe:[N]`, `TCP a->b`, or `fd N`)."""

    direction: Direction
    channel: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsearched:
    """What a call moved that was not looked at: a secret in it would not show in `carried`."""

    kind: UnsearchedKind
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """A name that the call gave away: a file, a network destination, a program."""

    kind: NameKind
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """The call had not returned, and why there is no value (it never returns, or the trace ended first)."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One system call.

    `number` counts the calls of this trace from 1; `time` is seconds since the epoch at entry, `duration` seconds.
    `result` is the value returned, -errno included; `result_text` is that value as strace would write it.
    """

    number: int
    pid: int
    tid: int
    time: float
    duration: float
    name: str
    arguments: tuple[Argument, ...]
    result: int | Unfinished
    result_text: str
    carried: tuple[Carried, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    names: tuple[Name, ...] = ()
    unsearched: tuple[Unsearched, ...] = ()

    @property
    def failed(self) -> bool:
        """True when the kernel returned an error."""
        return isinstance(self.result, int) and -4096 < self.result < 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A signal was delivered; `detail` is its siginfo as text, empty when the engine cannot know."""

    pid: int
    tid: int
    time: float
    signal: int
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A thread or process ended.

    `status` is the exit code, 128+N after signal N, or `Unfinished` when the engine cannot know.
    """

    pid: int
    tid: int
    time: float
    status: int | Unfinished


Event = Signal | Ended


@dataclass(kw_only=True)
class Clues:
    """What the decoders of one call noticed, gathered while the call is in progress."""

    carried: list[Carried] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    names: list[Name] = field(default_factory=list)
    unsearched: list[Unsearched] = field(default_factory=list)
