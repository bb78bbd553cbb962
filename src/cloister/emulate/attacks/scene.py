"""One run of the victim, with an adversary who acts while it waits for its next line."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from cloister.emulate.attacks.victims import Victim
from cloister.emulate.machine import Ending, Machine
from cloister.emulate.paging import IntegrityFault, Refused
from cloister.emulate.terminal import Terminal, sealed_terminal
from cloister.measure.image import PAGE

__all__ = ["SECRET", "Act", "Played", "Scene", "attempt", "find"]

SECRET: Final = b"k7#Vq9!tXw2@"
"""What the victim keeps. Its first 32 bits are no run of equal bits, and it stands nowhere else in a machine."""

Action = Callable[[], object]


class Act(NamedTuple):
    """What is typed next; before that, while the program waits, the adversary does `action`."""

    typed: bytes
    action: Action | None = None


@dataclass(frozen=True, slots=True)
class Played:
    """What the program printed, one line each, and how it ended."""

    lines: tuple[str, ...]
    ending: Ending

    @property
    def stopped(self) -> bool:
        """Whether it was ended before it asked to be."""
        return bool(self.ending.stopped) or self.ending.status != 0


class Scene:
    """A machine with the victim launched in it. `make` builds the machine around the owner's terminal."""

    def __init__(self, make: Callable[[Terminal], Machine], victim: Callable[[Machine], Victim]) -> None:
        self._make, self._choose = make, victim
        self._typed, self._output = bytearray(), bytearray()
        self._acts: list[Act] = []
        self.machine = make(sealed_terminal(self._read, self._output.extend))
        self.victim = victim(self.machine)

    def again(self) -> "Scene":
        """The same scene with a fresh machine."""
        return Scene(self._make, self._choose)

    def launch(self) -> None:
        """Load the victim as it is."""
        self.machine.launch(self.victim.image)

    def play(self, acts: Sequence[Act], *, steps: int = 0) -> Played:
        """Run to the end of the acts. `steps`: the host interrupts after so many instructions (0: never)."""
        self._acts = list(acts)
        self.machine.start(["victim"], {})
        ending = self.machine.run(steps)
        return Played(tuple(self._output.decode("latin-1").splitlines()), ending)

    def _read(self, size: int) -> bytes:
        if not self._typed:
            if not self._acts:
                return b""
            typed, action = self._acts.pop(0)
            if action is not None:
                action()
            self._typed += typed
        given = bytes(self._typed[:size])
        del self._typed[:size]
        return given

    # ---- what the adversary knows: the program's binary, and where the host put it

    def address(self, symbol: str) -> int:
        """Where a symbol of the victim is, as the host calls it."""
        return self.machine.host_address(self.victim.symbols[symbol])

    def page(self, symbol: str) -> int:
        """The physical page of a symbol."""
        return self.machine.physical_page(self.address(symbol))

    def close(self) -> None:
        """Give the machine back."""
        self.machine.close()


def find(machine: Machine, pattern: bytes) -> int | None:
    """Where a pattern stands in DRAM, in bytes, or None. Patterns that cross a page's end are not found."""
    dram = machine.dram
    for page in range(dram.pages):
        place = bytes(dram.page(page)).find(pattern)
        if place >= 0:
            return page * PAGE + place
    return None


def attempt(action: Callable[[], bytes | None]) -> bytes | str:
    """What an access gave, or the words with which the machine refused it."""
    try:
        return action() or b""
    except (Refused, IntegrityFault) as refused:
        return str(refused)
