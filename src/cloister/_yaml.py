"""YAML, read strictly: the part of it that every reader understands alike, with the place of every value.

Refused: anchors and aliases (a few lines become gigabytes), tags, directives, several documents, merge keys, keys
that stand twice or are no text, plain scalars that YAML 1.1 and 1.2 read differently, and characters that make a
reviewer see another text than the program. The only caller of PyYAML; nothing but its events is used.

No error quotes a value: in a session it may be a secret.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import yaml

from cloister.errors import PolicyError

__all__ = ["LONGEST", "Items", "Node", "Place", "Scalar", "Table", "read_yaml", "wrong"]

LONGEST: Final = 128 << 10
"""Bytes of a file, where its reader says nothing else."""
DEEPEST: Final = 12
"""Lists and mappings inside each other. A session needs 7."""
MOST_NODES: Final = 10_000
"""Scalars, lists and mappings in a file."""

UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|\r(?!\n)"
)
"""Control characters, line breaks that only some readers know, and what changes the direction of text."""

AMBIGUOUS: Final = re.compile(
    r"""
      y|n|yes|no|on|off|true|false|null|nan|~|<<|=|          # YAML 1.1 type repository; 1.2 core schema
      [-+]?(?:\.inf|\.nan
        |0b[01_]+|0o?[0-7_]+|0x[0-9a-f_]+                    # 010 is 8 or 10
        |[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?         # 1:20 is 80 or text
        |[0-9][0-9_]*(?:\.[0-9_]*)?(?:e[-+]?[0-9]+)?
        |\.[0-9_]+(?:e[-+]?[0-9]+)?)
      |[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt\ \t].*)?         # a date or text
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Plain scalars that some reader of YAML takes for something else than text."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: lines and columns count from 1."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


def wrong(place: Place, message: str) -> PolicyError:
    """What to raise about the input at that place: what is wrong, and what to do."""
    return PolicyError(f"{place}: {message}")


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value. `plain`: it stands without quotes, and is no block."""

    place: Place
    text: str = field(repr=False)
    plain: bool

    def as_text(self) -> str:
        """The text that every reader of YAML reads here, or PolicyError."""
        if self.plain and (not self.text or AMBIGUOUS.fullmatch(self.text)):
            raise wrong(
                self.place, "this is text for some readers of YAML and a number, date, switch or nothing for others; "
                "write it in double quotes"
            )  # fmt: skip
        return self.text


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    place: Place
    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping, in the order of the file. No key stands twice."""

    place: Place
    entries: tuple[tuple[Scalar, "Node"], ...]


Node = Scalar | Items | Table


@dataclass(slots=True)
class _Open:
    """A list or mapping that is being read."""

    place: Place
    mapping: bool
    nodes: list[Node] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)

    def add(self, node: Node) -> None:
        """Take in the next node; in a mapping, keys and values take turns."""
        if self.mapping and len(self.nodes) % 2 == 0:
            if not isinstance(node, Scalar):
                raise wrong(node.place, "a key is text, not a list or mapping")
            if node.as_text() in self.keys:
                raise wrong(node.place, "this key stands twice in one mapping; keep one of them")
            self.keys.add(node.text)
        self.nodes.append(node)

    def close(self) -> Node:
        """What was read."""
        if not self.mapping:
            return Items(self.place, tuple(self.nodes))
        pairs = zip(self.nodes[::2], self.nodes[1::2], strict=True)
        return Table(self.place, tuple((key, value) for key, value in pairs if isinstance(key, Scalar)))


def read_yaml(data: bytes, name: str, longest: int = LONGEST) -> Node:
    """The one document in a file called `name`; PolicyError with file, line and column if it is not readable."""
    text = _text(data, name, longest)
    try:
        return _read(yaml.parse(text, Loader=yaml.SafeLoader), name)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(name) if mark is None else Place(name, mark.line + 1, mark.column + 1)
        raise wrong(place, f"this is not YAML: {_without_values(error)}") from None
    except (yaml.YAMLError, ValueError, OverflowError):  # the last two: an escape like "\UFFFFFFFF" is no character
        raise wrong(Place(name), "this is not YAML: it has an escape or character that YAML does not allow") from None


def _without_values(error: yaml.MarkedYAMLError) -> str:
    """PyYAML's words, without what it quotes from the file."""
    return re.sub(r"'(?!<)[^']*\w[^']*'", "'...'", " ".join(str(error.problem or error.context).split()))


def _text(data: bytes, name: str, longest: int) -> str:
    if len(data) > longest:
        raise wrong(Place(name), f"{len(data):,} bytes; at most {longest:,} are read")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start)
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise wrong(Place(name, line + 1, column), "a byte that is not UTF-8; save the file as UTF-8") from None
    unseen = UNSEEN.search(text)
    if unseen:
        line = text.count("\n", 0, unseen.start())
        place = Place(name, line + 1, unseen.start() - text.rfind("\n", 0, unseen.start()))
        raise wrong(
            place, f"the character U+{ord(unseen[0]):04X}, which a reader cannot see; remove it, or write it as an "
            'escape in double quotes ("\\u....")'
        )  # fmt: skip
    return text


def _read(events: Iterator[yaml.Event], name: str) -> Node:
    whole = _Open(Place(name), mapping=False)
    stack = [whole]
    for count, event in enumerate(events):
        if isinstance(event, yaml.StreamStartEvent | yaml.StreamEndEvent | yaml.DocumentEndEvent):
            continue
        mark = event.start_mark
        place = Place(name) if mark is None else Place(name, mark.line + 1, mark.column + 1)
        if count > MOST_NODES or len(stack) > DEEPEST:
            raise wrong(place, f"more than {MOST_NODES:,} values, or more than {DEEPEST} lists inside each other")
        if isinstance(event, yaml.CollectionEndEvent):
            closed = stack.pop().close()
            stack[-1].add(closed)
        elif isinstance(event, yaml.DocumentStartEvent):
            _start_document(event, place, whole)
        else:
            _refuse_references(event, place)
            if isinstance(event, yaml.ScalarEvent):
                stack[-1].add(_scalar(event, place))
            else:
                stack.append(_Open(place, mapping=isinstance(event, yaml.MappingStartEvent)))
    if not whole.nodes:
        raise wrong(Place(name), "the file is empty")
    return whole.nodes[0]


def _start_document(event: yaml.DocumentStartEvent, place: Place, whole: _Open) -> None:
    if event.version or event.tags:
        raise wrong(place, "a directive (%YAML or %TAG); remove it")
    if whole.nodes:
        raise wrong(place, "a second document in one file; one document is read, so remove the --- line")


def _refuse_references(event: yaml.Event, place: Place) -> None:
    if isinstance(event, yaml.AliasEvent):
        raise wrong(place, "an alias (*name); write the value again: a reviewer shall see it where it counts")
    if getattr(event, "anchor", None) is not None:
        raise wrong(place, "an anchor (&name); remove it, and write the value again where an alias (*name) stood")
    if getattr(event, "tag", None) is not None:
        raise wrong(place, "a tag (!name); remove it: each value has the type that its key demands")


def _scalar(event: yaml.ScalarEvent, place: Place) -> Scalar:
    try:
        event.value.encode()
    except UnicodeEncodeError:
        raise wrong(place, "half a character (a surrogate alone), which UTF-8 cannot write; remove it") from None
    return Scalar(place, event.value, plain=event.style is None)
