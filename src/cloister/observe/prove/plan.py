"""What an experiment is going to do, as data: how the secret is fed, what readiness is, how the program ends."""

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from cloister.observe.prove.secret import Secret

__all__ = [
    "AfterDelay",
    "Arm",
    "ArmName",
    "Comparison",
    "Console",
    "Ending",
    "Feed",
    "FeedArgument",
    "FeedEnvironment",
    "FeedFile",
    "FeedSend",
    "FeedStdin",
    "FeedTerminal",
    "FinishInput",
    "GroundName",
    "OnOutput",
    "OnPort",
    "Person",
    "Plan",
    "Readiness",
    "StopSignal",
    "Tls",
]


class ArmName(StrEnum):
    """The two arms that run the program; the canary is searched in both."""

    NATIVE = "native"
    ENCLAVED = "enclaved"


class GroundName(StrEnum):
    """Where a secret is looked for beside the program's processes. Files always are, the others if asked."""

    FILES = "files"
    BLOCKS = "disk blocks"
    PACKETS = "packets"
    TRACES = "traces"


class Comparison(StrEnum):
    """How the standard output of the two arms is compared (`cloister.observe.prove.compare`)."""

    SHAPE = "shape"
    EXACT = "exact"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class FeedStdin:
    """The secret is written to standard input; `close` gives end of file right after it."""

    template: bytes = b"{secret}\n"
    close: bool = False


@dataclass(frozen=True, kw_only=True)
class FeedTerminal:
    """The secret is typed at a terminal that is the program's standard input, and does not echo."""

    template: bytes = b"{secret}\n"


@dataclass(frozen=True, kw_only=True)
class FeedEnvironment:
    """The secret is the value of one environment variable."""

    name: str
    template: bytes = b"{secret}"


@dataclass(frozen=True, kw_only=True)
class FeedArgument:
    """The secret replaces `{secret}` in the program's arguments."""


@dataclass(frozen=True, kw_only=True)
class FeedFile:
    """The secret stands in a file (mode 0600) whose path replaces `{file}` in the arguments.

    `unlink` removes it once the program is ready. The file is the feed: reported, and not a leak of the program.
    """

    path: Path
    template: bytes = b"{secret}\n"
    unlink: bool = False


@dataclass(frozen=True, kw_only=True)
class Tls:
    """How a port is spoken to that speaks TLS. `pins`: SHA-256 of the SubjectPublicKeyInfo that the server may have."""

    pins: tuple[bytes, ...]
    natively: bool
    """The program itself speaks TLS. Else it is the shield of the enclaved arm that does."""
    client: tuple[Path, Path] | None = None
    """Certificate and private key of the prover, for a server that asks for them."""


@dataclass(frozen=True, kw_only=True)
class FeedSend:
    """The secret is sent to a TCP port; the reply must match `expect` (a pattern over bytes; any byte by default)."""

    host: str
    port: int
    template: bytes
    expect: re.Pattern[bytes] = field(default_factory=lambda: re.compile(rb"(?s)."))
    tls: Tls | None = None

    def tls_in(self, arm: ArmName) -> Tls | None:
        """What is spoken in this arm."""
        return None if self.tls is None or (arm is ArmName.NATIVE and not self.tls.natively) else self.tls


Feed = FeedStdin | FeedTerminal | FeedEnvironment | FeedArgument | FeedFile | FeedSend


@dataclass(frozen=True, kw_only=True)
class AfterDelay:
    """Ready when this many seconds after the feed the program is alive, or has ended by itself with status 0."""

    seconds: float = 0.5


@dataclass(frozen=True, kw_only=True)
class OnOutput:
    """Ready when standard output or standard error matches."""

    pattern: re.Pattern[bytes]


@dataclass(frozen=True, kw_only=True)
class OnPort:
    """Ready when a TCP connection is accepted there."""

    host: str
    port: int


Readiness = AfterDelay | OnOutput | OnPort


@dataclass(frozen=True, kw_only=True)
class StopSignal:
    """End the program with a signal to its pid; SIGKILL follows if it is still there after the grace time."""

    number: signal.Signals = signal.SIGTERM


@dataclass(frozen=True, kw_only=True)
class FinishInput:
    """Write this to standard input and close it: the program is expected to exit by itself."""

    data: bytes = b"\n"


Ending = StopSignal | FinishInput


@dataclass(frozen=True, kw_only=True)
class Console:
    """The enclaved program's console is shielded, and what is fed is typed there by a person who has attached.

    `manifest`: of files that may become code; `shield`: a policy for what else is shielded.
    """

    manifest: Path | None = None
    shield: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Person:
    """Who attaches to the console of an arm's program: `command`, and then the address that the program waits at.

    The person sits elsewhere: what they type and read is theirs, and is not searched.
    """

    command: tuple[str, ...] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    waiting: re.Pattern[bytes]
    """What the program's side prints when it waits, with the address as its first group."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One experiment. Times are seconds; `words` is the program and its arguments with placeholders in place."""

    words: tuple[str, ...]
    feed: Feed
    readiness: Readiness
    ending: Ending = field(default_factory=StopSignal)
    cwd: Path
    environment: Mapping[str, str] = field(repr=False)
    hold: float = 2.0
    ready_timeout: float = 30.0
    grace: float = 10.0
    comparison: Comparison = Comparison.SHAPE
    unsafe_ignore_output: bool = False
    """The secret in the program's own output is not counted as a leak (a program whose job is to print it)."""
    grounds: frozenset[GroundName] = frozenset()
    shield: bytes = field(default=b"", repr=False)
    """What the enclaved arm is told of its shields (docs/formats/shield.md); nothing: it has none."""
    console: Console | None = None
    prompt: re.Pattern[bytes] | None = None
    """Feed standard input when the program's output matches."""
    pcap: Path | None = None
    """Keep the packets in PATH-native.pcap and PATH-enclaved.pcap."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One run of the program: the exact command, and through what it may be told its secret.

    With `checkpoints`, the program is expected to connect to `checkpoint` when it starts, and samples taken before that
    do not count. `inherit` are descriptors the child gets under the same numbers, closed in the prover when the arm is
    over; `start_pipe` is the one among them that carries argv and environment (-1: none).
    """

    name: ArmName
    command: tuple[str, ...] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    secret: Secret
    checkpoint: Path
    checkpoints: bool
    inherit: tuple[int, ...] = ()
    start_pipe: int = -1
    person: Person | None = None
