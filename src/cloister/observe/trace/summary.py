"""What a whole trace gave away: counts, flows, secrets carried, and the metadata that stays visible."""

from dataclasses import dataclass, field

from cloister.observe.trace.memory_unsafe import NOT_AN_ADDRESS, NOT_MAPPED, SECRET_MEMORY
from cloister.observe.trace.record import Call, Carried, Direction, NameKind, Unreadable, UnsearchedKind

__all__ = ["CallCount", "CarriedBy", "Flow", "Summarizer", "Summary", "Unseen", "VisibleName"]

CLOSED = {SECRET_MEMORY, NOT_AN_ADDRESS, NOT_MAPPED}
"""Reasons for unread memory that hold for every reader, so that nothing was missed there."""


@dataclass(slots=True, kw_only=True)
class CallCount:
    """How often a call was made and failed, and the seconds spent in it, waiting included."""

    calls: int = 0
    errors: int = 0
    seconds: float = 0.0


@dataclass(slots=True, kw_only=True)
class Flow:
    """Bytes that went through one channel, by direction, and the number of calls that moved them."""

    bytes_in: int = 0
    bytes_out: int = 0
    calls: int = 0


@dataclass(slots=True, kw_only=True)
class VisibleName:
    """A file, destination or program that a name gave away; `succeeded` if any call on it did."""

    kind: NameKind
    text: str
    calls: int = 0
    succeeded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedBy:
    """A call that carried a secret."""

    call: int
    name: str
    pid: int
    channel: str
    carried: Carried


@dataclass(slots=True, kw_only=True)
class Unseen:
    """How much of one kind was not searched, the number of calls that moved it, and their names."""

    amount: int = 0
    calls: int = 0
    names: set[str] = field(default_factory=set)


@dataclass(kw_only=True)
class Summary:
    """The summary of a trace; `seconds` from the first call's entry to the last one's return.

    `sought` are the labels of the secrets looked for. `unreadable` counts arguments by why their memory was not read,
    `unsearched` what was moved out of sight.
    """

    sought: tuple[str, ...] = ()

    counts: dict[str, CallCount] = field(default_factory=dict)
    flows: dict[str, Flow] = field(default_factory=dict)
    names: list[VisibleName] = field(default_factory=list)
    carried: list[CarriedBy] = field(default_factory=list)
    unreadable: dict[str, int] = field(default_factory=dict)
    unsearched: dict[UnsearchedKind, Unseen] = field(default_factory=dict)
    processes: int = 0
    seconds: float = 0.0

    @property
    def calls(self) -> int:
        """All calls."""
        return sum(count.calls for count in self.counts.values())

    @property
    def leaves_doubt(self) -> bool:
        """Whether a secret may have gone by unseen, so that an empty `carried` is no answer."""
        return not self.sought or bool(self.unsearched) or not self.unreadable.keys() <= CLOSED

    def of_kind(self, kind: NameKind) -> list[VisibleName]:
        """The visible names of one kind, in the order they first appeared."""
        return [name for name in self.names if name.kind is kind]


class Summarizer:
    """Adds up calls as they come, so that a long trace needs no memory for them."""

    def __init__(self, sought: tuple[str, ...] = ()) -> None:
        self.summary = Summary(sought=sought)
        self._names: dict[tuple[NameKind, str], VisibleName] = {}
        self._processes: set[int] = set()
        self._first = 0.0

    def add(self, call: Call) -> None:
        """Take one call into account."""
        summary = self.summary
        self._first = self._first or call.time
        summary.seconds = max(summary.seconds, call.time + call.duration - self._first)
        self._processes.add(call.pid)
        summary.processes = len(self._processes)
        count = summary.counts.setdefault(call.name, CallCount())
        count.calls += 1
        count.errors += call.failed
        count.seconds += call.duration
        self.add_flows(call)
        self.add_names(call)
        self.add_unseen(call)
        channel = call.transfers[0].channel if call.transfers else ""
        summary.carried += [
            CarriedBy(call=call.number, name=call.name, pid=call.pid, channel=channel, carried=item)
            for item in call.carried
        ]

    def add_unseen(self, call: Call) -> None:
        """What was not looked at, and why."""
        for argument in call.arguments:
            if isinstance(argument.contents, Unreadable):
                reason = argument.contents.reason
                self.summary.unreadable[reason] = self.summary.unreadable.get(reason, 0) + 1
        for item in call.unsearched:
            unseen = self.summary.unsearched.setdefault(item.kind, Unseen())
            unseen.amount += item.amount
            unseen.calls += 1
            unseen.names.add(call.name)

    def add_flows(self, call: Call) -> None:
        """Bytes by channel."""
        for transfer in call.transfers:
            flow = self.summary.flows.setdefault(transfer.channel, Flow())
            flow.calls += 1
            if transfer.direction is Direction.IN:
                flow.bytes_in += transfer.size
            else:
                flow.bytes_out += transfer.size

    def add_names(self, call: Call) -> None:
        """Names by kind."""
        for name in call.names:
            key = (name.kind, name.text)
            if key not in self._names:
                self._names[key] = VisibleName(kind=name.kind, text=name.text)
                self.summary.names.append(self._names[key])
            known = self._names[key]
            known.calls += 1
            known.succeeded = known.succeeded or not call.failed
