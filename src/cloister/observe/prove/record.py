"""What was observed of one arm: pure data, the only input of the verdict."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from cloister.observe.prove.plan import ArmName, GroundName

__all__ = [
    "ArmRecord",
    "Check",
    "Exclusion",
    "Ground",
    "Moment",
    "Output",
    "Place",
    "SampleCounts",
    "Surface",
    "Trigger",
]


class Trigger(StrEnum):
    """What caused a sample: the runtime's checkpoint of one process, or the sampler's own schedule."""

    LOOP = "loop"
    START = "start"
    EXIT = "exit"
    AFTER = "after the end"


class Surface(StrEnum):
    """The kind of place that an administrator can read."""

    MEMORY = "memory"
    ENVIRON = "environ"
    CMDLINE = "cmdline"
    COMM = "comm"
    DESCRIPTOR = "descriptor"
    PIPE = "pipe"
    FILE = "file"
    FILE_NAME = "file name"
    CORE = "core file"
    OUTPUT = "output"
    BLOCK = "disk block"
    PACKET = "packet"
    CALL = "system call"


@dataclass(frozen=True, kw_only=True, order=True)
class Moment:
    """When: the sample's number in its arm (1 is the first) and seconds since the arm's program was started."""

    sample: int
    seconds: float
    trigger: Trigger


@dataclass(frozen=True, kw_only=True)
class Place:
    """One place where a labelled secret was readable, with the first and last sample that found it there."""

    label: str
    encoding: str
    surface: Surface
    process: str
    """`PID (COMM, ROLE)`, or `-` for a place that outlives its process."""
    where: str
    first: Moment
    last: Moment
    samples: int

    def __str__(self) -> str:
        seen = f"sample {self.first.sample} ({self.first.trigger}, {self.first.seconds:.2f} s)"
        more = f" and {self.samples - 1} more" if self.samples > 1 else ""
        return f"{self.surface} of {self.process}: {self.where}: {self.label} as {self.encoding}, {seen}{more}"


@dataclass(frozen=True, kw_only=True)
class Exclusion:
    """Something that holds the secret and is not counted, and why it is not."""

    what: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Check:
    """Whether something the experiment needs happened; `detail` says how, or why not."""

    holds: bool
    detail: str


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A kind of place that was searched: how much of it, and whether that was all there was to look at.

    `seen` lists what was looked at by name, where that tells something: paths, flows, programs.
    """

    name: GroundName
    amount: str
    whole: Check
    seen: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SampleCounts:
    """How often the family was read. A sample is `fed` if the program had the secret and some member was readable.

    `hits` are the fed samples whose scan of process memory found the arm's own secret.
    """

    total: int = 0
    fed: int = 0
    hits: int = 0
    checkpoints: int = 0


@dataclass(frozen=True, kw_only=True)
class Output:
    """What the program printed, reduced to what may be compared and shown: never its bytes."""

    stdout_bytes: int = 0
    stderr_bytes: int = 0
    shape: tuple[str, ...] = field(default=(), repr=False)
    digest: str = ""


@dataclass(frozen=True, kw_only=True)
class ArmRecord:
    """Everything observed of one arm."""

    name: ArmName
    secret_label: str
    started: Check
    fed: Check
    ready: Check
    access: Check
    """Holds when nothing was refused for want of privilege: else absence of a finding would mean nothing."""
    harness: Check
    """Holds when the prover itself worked: every sample was completed, no output was lost."""
    status: str
    """How the program ended: `exited 0`, `killed by SIGTERM`, `did not run`."""
    samples: SampleCounts
    read_bytes: int
    unreadable: Mapping[str, int]
    """Bytes not readable, by reason."""
    places: tuple[Place, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    notes: tuple[str, ...] = ()
    grounds: tuple[Ground, ...] = ()
    """What was searched beside the processes; on a shared machine other programs' files and packets too."""
    output: Output = field(default_factory=Output)

    @property
    def obstacle(self) -> str:
        """Why the program never held its secret while it was looked at, in words; empty if it did."""
        return next((check.detail for check in (self.started, self.fed, self.ready) if not check.holds), "")

    def places_of(self, label: str) -> tuple[Place, ...]:
        """The places where the secret with this label was found."""
        return tuple(place for place in self.places if place.label == label)
