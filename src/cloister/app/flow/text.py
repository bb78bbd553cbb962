"""A flow on a terminal: one line down for each party, one arrow across for each message, doubled where it is sealed."""

from collections.abc import Sequence
from typing import Final

from cloister.app.flow.meaning import meaning_of
from cloister.app.flow.record import Message, parties
from cloister.quantities import counted, human_size

__all__ = ["draw_text"]

WIDTH: Final = 30
"""Columns from one party's line to the next."""


def draw_text(messages: Sequence[Message], *, explain: bool = False) -> str:
    """The drawing, with a last line that sums it up."""
    names = parties(messages)
    lines = ["".join(name.center(WIDTH) for name in names).rstrip(), _bars(names)]
    for one in messages:
        lines.append(_arrow(one, names, _since(messages[0], one)))
        if explain:
            lines.append(f"{_bars(names)}  {meaning_of(one).text}")
    return "\n".join([*lines, _bars(names), "", summary(messages), ""])


def summary(messages: Sequence[Message]) -> str:
    """How many messages, how long, how it ended."""
    span = _since(messages[0], messages[-1])
    last = meaning_of(messages[-1])
    return f"{counted(len(messages), 'message')} in {span}; the last: {last.title or messages[-1].kind}"


def _since(first: Message, one: Message) -> str:
    return f"{(one.time - first.time).total_seconds() * 1000:.1f} ms"


def _bars(names: Sequence[str]) -> str:
    return "".join("│".center(WIDTH) for _ in names).rstrip()


def _arrow(one: Message, names: Sequence[str], time: str) -> str:
    """The arrow lies between the two parties' lines; the others' lines go on."""
    places = [index * WIDTH + (WIDTH - 1) // 2 for index in range(len(names))]
    row = list(" " * (len(names) * WIDTH))
    for place in places:
        row[place] = "│"
    start, end = sorted((places[names.index(one.source)], places[names.index(one.target)]))
    inner = end - start - 1
    label = f" {_label(one)} "[: max(inner - 4, 0)]
    right = one.source == names[places.index(start)]
    stroke = "═" if meaning_of(one).sealed else "─"
    rest = stroke * (inner - 3 - len(label))
    drawn = f"{stroke * 2}{label}{rest}▶" if right else f"◀{rest}{label}{stroke * 2}"
    row[start + 1 : end] = drawn
    return f"{''.join(row)}  {time}, {human_size(one.size)}"


def _label(one: Message) -> str:
    known = meaning_of(one)
    return f"{known.title or one.kind}{f' {one.status}' if one.status >= 400 else ''}"
