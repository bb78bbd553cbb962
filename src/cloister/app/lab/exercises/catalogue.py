"""The exercises: which machines each has, what is hidden in them, and where its text stands."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from cloister.app.lab.exercises.secret import Secret
from cloister.errors import UsageError

__all__ = ["EXERCISES", "Exercise", "exercise_of"]

HINTS: Final = "## Hints"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exercise:
    """One exercise. `machines` in the order of its phases: the first is attacked, the last defends itself."""

    number: int
    title: str
    machines: tuple[str, ...]
    secret: Secret = Secret.PIN

    @property
    def folder(self) -> str:
        """The working folder's name."""
        return f"cloister-lab-{self.number}"

    def text(self, folder: str) -> str:
        """Goal, what one may do, and what it stands for, as Markdown, with the folder's name filled in."""
        return self._whole(folder).partition(HINTS)[0].strip() + "\n"

    def hints(self, folder: str) -> list[str]:
        """What helps, a little more each time."""
        _, _, hints = self._whole(folder).partition(HINTS)
        return [" ".join(one.split()) for one in re.split(r"^\d+\. ", hints, flags=re.MULTILINE)[1:]]

    def _whole(self, folder: str) -> str:
        place = files("cloister.app.lab.exercises") / "texts" / f"{self.number}.md"
        return place.read_text(encoding="utf-8").replace("{folder}", folder)


EXERCISES: Final[Mapping[int, Exercise]] = {
    one.number: one
    for one in (
        Exercise(number=1, title="Cold boot", machines=("trustzone", "sev")),
        Exercise(number=2, title="Read as the hypervisor, and by DMA", machines=("native", "sgx")),
        Exercise(number=3, title="Replay: have your money back", machines=("sev", "sgx")),
        Exercise(number=4, title="Remap a page (SEVered)", machines=("sev", "sev-snp")),
        Exercise(number=5, title="The page-fault channel", machines=("sgx",), secret=Secret.BITS),
        Exercise(number=6, title="Look at the registers", machines=("sev", "sev-es"), secret=Secret.KEY),
        Exercise(number=7, title="A changed program, and a lying host", machines=("native", "sgx")),
    )
}


def exercise_of(word: str) -> Exercise:
    """The exercise of a number. UsageError with the numbers that there are."""
    found = EXERCISES.get(int(word)) if word.isascii() and word.isdecimal() and len(word) < 4 else None
    if found is None:
        raise UsageError(f"there is no exercise {word}; there are 1 to {max(EXERCISES)} (`cloister lab list`)")
    return found
