"""What an engine is: something that observes until the program ends or it is told to stop."""

import enum
from dataclasses import dataclass, field
from typing import Protocol

from cloister.observe.trace.record import EngineName, Unfinished

__all__ = ["Engine", "Outcome", "Stop"]


class Stop(enum.Enum):
    """How a trace ends before the program does."""

    DETACH = "the program goes on, no longer traced"
    KILL = "the program is killed"


@dataclass(kw_only=True)
class Outcome:
    """What a finished engine can tell besides the records. `complete` is false when calls are missing among them."""

    status: int | Unfinished
    complete: bool = True
    notes: list[str] = field(default_factory=list)


class Engine(Protocol):
    """One way to observe system calls. `run` is called once, in a thread of its own; `stop` from any thread."""

    name: EngineName

    def run(self) -> Outcome:
        """Observe until there is nothing left to observe."""

    def stop(self, how: Stop) -> None:
        """Make `run` return soon."""

    @property
    def pid(self) -> int:
        """The main process; 0 before it was started."""
