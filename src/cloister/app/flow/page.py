"""A flow as a page: one HTML document with the drawing as SVG, no scripts, nothing fetched."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from cloister.app.flow.meaning import Meaning, meaning_of
from cloister.app.flow.record import Message, parties
from cloister.app.flow.text import summary
from cloister.quantities import human_size

__all__ = ["draw_page"]

COLUMN: Final = 250
ROW: Final = 44
TOP: Final = 70
INSIDE: Final = frozenset({"runtime", "program"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrow:
    """One message as it is drawn; coordinates in pixels of the picture."""

    number: int
    message: Message
    meaning: Meaning
    since: str
    start: int
    end: int
    y: int

    @property
    def middle(self) -> int:
        """Where its words stand."""
        return (self.start + self.end) // 2

    @property
    def tip(self) -> int:
        """Where the line ends, before the arrow's head."""
        return self.end - 9 if self.end > self.start else self.end + 9


def draw_page(messages: Sequence[Message]) -> str:
    """The document. Every value is escaped by the template."""
    names = parties(messages)
    places = {name: COLUMN // 2 + index * COLUMN for index, name in enumerate(names)}
    arrows = [_arrow(number, one, messages[0], places) for number, one in enumerate(messages, 1)]
    return (
        _environment()
        .get_template("flow.html.j2")
        .render(
            arrows=arrows, places=places, inside=INSIDE, summary=summary(messages), started=messages[0].time,
            width=COLUMN * len(names), height=TOP + ROW * len(messages) + 20, top=TOP, column=COLUMN,
        )
    )  # fmt: skip


def _arrow(number: int, one: Message, first: Message, places: dict[str, int]) -> Arrow:
    since = f"{(one.time - first.time).total_seconds() * 1000:.1f} ms"
    return Arrow(
        number=number, message=one, meaning=meaning_of(one), since=since, start=places[one.source],
        end=places[one.target], y=TOP + ROW * number - 14,
    )  # fmt: skip


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("cloister.app.flow"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.filters.update(human_size=human_size)
    return made
