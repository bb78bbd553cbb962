"""What one machine recorded, and what can be read from it: the only thing that grades are made of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Belief", "Record"]

AT_FIRST: Final = 1000
PRICE: Final = 900
"""The victim's balance at its start, and what `w` takes of it (victim.c)."""


@dataclass(frozen=True, slots=True)
class Belief:
    """A balance that the program printed, beside the one that its owner's words add up to."""

    printed: int
    true: int


@dataclass(frozen=True)
class Record:
    """The events of one machine, in order: what the administrator, the owner, the program and the host did."""

    machine: str
    events: Sequence[Mapping[str, Any]]

    @property
    def answered(self) -> bool:
        """Whether somebody gave the right answer for this machine's secret."""
        return any(event.get("right") for event in self.events)

    @property
    def stopped(self) -> str:
        """Why the machine stopped the program, or nothing."""
        return next((str(event["ended"]) for event in self.events if event.get("stopped")), "")

    @property
    def ended(self) -> str:
        """Why the program ended in any way, or nothing."""
        return next((str(event["ended"]) for event in self.events if "ended" in event), "")

    def did(self, command: str, *places: str, after: int = -1, refused: bool | None = None) -> int | None:
        """The number of the first such command of the administrator, at those places, behind another event."""
        for number, event in enumerate(self.events):
            words = event.get("words")
            if words is None or number <= after or words[0] != command:
                continue
            if list(places) == event["places"][: len(places)] and refused in (None, event["refused"]):
                return number
        return None

    def saw_secret(self, *commands: str) -> bool:
        """Whether one of these commands showed the administrator the secret."""
        return any(event.get("secret") and event["words"][0] in commands for event in self.events)

    def looked_in_vain(self, command: str, *places: str) -> bool:
        """Whether this command was tried there, and never showed the secret."""
        return self.did(command, *places) is not None and not self.saw_secret(command)

    def typed(self, letter: str, after: int = -1) -> int | None:
        """The number of the owner's first line with this letter, behind another event."""
        for number, event in enumerate(self.events):
            if number > after and event.get("who") == "owner" and event["text"][:1] == letter:
                return number
        return None

    def faults(self, place: int) -> list[str]:
        """The traced pages that the program asked for, between the owner's line at `place` and the next one."""
        found: list[str] = []
        for event in self.events[place + 1 :]:
            if event.get("who") == "owner":
                break
            found += event.get("faults", [])
        return found

    def replies(self) -> Iterator[tuple[str, str]]:
        """Each line of the owner that the program answered, and the answer."""
        lines: list[str] = ["(start)", "s"]
        for event in self.events:
            if event.get("who") == "owner":
                lines.append(event["text"])
            elif event.get("who") == "program" and lines:
                yield lines.pop(0), str(event["text"])

    def beliefs(self) -> list[Belief]:
        """What the program said that it has, each time it was asked."""
        true, found = AT_FIRST, []
        for line, answer in self.replies():
            if line == "w" and true >= PRICE:
                true -= PRICE
            elif line == "d":
                true += PRICE
            elif line == "b" and answer.lstrip("-").isdecimal():
                found.append(Belief(int(answer), true))
        return found
