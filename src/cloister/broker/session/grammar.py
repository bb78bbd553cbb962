"""Shapes of values: each reads a YAML node strictly, and writes the JSON schema of what it reads.

A session's language (`language.py`) is declared once, in these shapes, so that the parser and the published schema
cannot disagree. What a shape cannot say, because it needs two values at once, is checked in `read.py`.

Errors name the place and the key, never the value, which may be a secret.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from cloister._yaml import Items, Node, Place, Scalar, Table, wrong

__all__ = ["Choice", "Either", "Field", "Flag", "Found", "Many", "Pairs", "Record", "Shape", "Text", "Whole", "Word"]

LONGEST_TEXT: Final = 4096
WHOLE: Final = re.compile(r"0|[1-9][0-9]{0,14}")
"""Up to 15 digits: larger numbers do not survive every JSON reader (RFC 8259, section 6)."""

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Word:
    """A text and where it stands."""

    text: str = field(repr=False)
    place: Place


class Shape(Protocol):
    """How a value looks."""

    def read(self, node: Node) -> object:
        """The value of a node, or PolicyError."""

    def schema(self) -> Json:
        """The JSON schema (2020-12) of what `read` accepts, or of more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A text that a pattern matches as a whole; `words` says what it is. Reads a Word."""

    words: str
    pattern: str = r"[\s\S]+"
    longest: int = LONGEST_TEXT

    def read(self, node: Node) -> Word:
        """The text, and its place."""
        if not isinstance(node, Scalar):
            raise wrong(node.place, f"write {self.words}, not a list or mapping")
        text = node.as_text()
        if len(text) > self.longest:
            raise wrong(node.place, f"{len(text):,} characters; at most {self.longest:,} are allowed here")
        if not re.fullmatch(self.pattern, text):
            raise wrong(node.place, f"this is not {self.words}")
        return Word(text, node.place)

    def schema(self) -> Json:
        """A string."""
        return {"type": "string", "pattern": f"^(?:{self.pattern})$", "maxLength": self.longest}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words. Reads a Word."""

    words: tuple[str, ...]
    hints: Mapping[str, str] = field(default_factory=dict)
    """Words of other tools, and what to write instead."""

    def read(self, node: Node) -> Word:
        """The word, and its place."""
        text = node.as_text() if isinstance(node, Scalar) else ""
        if text in self.hints:
            raise wrong(node.place, self.hints[text])
        if text not in self.words:
            raise wrong(node.place, f"write one of {', '.join(self.words)}")
        return Word(text, node.place)

    def schema(self) -> Json:
        """An enumeration."""
        return {"enum": list(self.words)}


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number in decimal digits. Reads an int."""

    low: int
    high: int

    def read(self, node: Node) -> int:
        """The number."""
        if not isinstance(node, Scalar) or not node.plain or not WHOLE.fullmatch(node.text):
            raise wrong(node.place, "write a whole number in decimal digits, without quotes, sign or leading zero")
        if not self.low <= int(node.text) <= self.high:
            raise wrong(node.place, f"write a number from {self.low:,} to {self.high:,}")
        return int(node.text)

    def schema(self) -> Json:
        """An integer."""
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false. Reads a bool."""

    def read(self, node: Node) -> bool:
        """The switch."""
        if not isinstance(node, Scalar) or not node.plain or node.text not in {"true", "false"}:
            raise wrong(
                node.place, "write true or false, without quotes; yes, no, on and off are text for some readers"
            )
        return node.text == "true"

    def schema(self) -> Json:
        """A boolean."""
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Many:
    """A list. Reads a tuple."""

    item: Shape
    most: int
    least: int = 1

    def read(self, node: Node) -> tuple[object, ...]:
        """The items."""
        if not isinstance(node, Items):
            raise wrong(node.place, "write a list here, even of one: a line beginning with `- `, or [ ]")
        if not self.least <= len(node.items) <= self.most:
            raise wrong(node.place, f"{len(node.items)} items; write {self.least} to {self.most}")
        return tuple(self.item.read(one) for one in node.items)

    def schema(self) -> Json:
        """An array."""
        return {"type": "array", "items": self.item.schema(), "minItems": self.least, "maxItems": self.most}


@dataclass(frozen=True, slots=True)
class Pairs:
    """A mapping whose keys the owner chooses. Reads a dict of names to values."""

    name: Text
    value: Shape
    most: int

    def read(self, node: Node) -> dict[str, object]:
        """The values by name."""
        if not isinstance(node, Table):
            raise wrong(node.place, "write a mapping here: lines like `NAME: value`")
        if len(node.entries) > self.most:
            raise wrong(node.place, f"{len(node.entries)} entries; at most {self.most} are allowed here")
        return {self.name.read(key).text: self.value.read(value) for key, value in node.entries}

    def schema(self) -> Json:
        """An object with free names."""
        return {
            "type": "object", "propertyNames": self.name.schema(), "additionalProperties": self.value.schema(),
            "maxProperties": self.most,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Either:
    """One scalar shape, or one for lists and mappings."""

    scalar: Shape
    other: Shape

    def read(self, node: Node) -> object:
        """Whatever is there."""
        return (self.scalar if isinstance(node, Scalar) else self.other).read(node)

    def schema(self) -> Json:
        """Either."""
        return {"anyOf": [self.scalar.schema(), self.other.schema()]}


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a record, and what it means in a sentence for the schema and the manual."""

    shape: Shape
    means: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What was read of a record: values by key, and the place of each."""

    place: Place
    values: Mapping[str, object] = field(repr=False)
    places: Mapping[str, Place]

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def at(self, key: str) -> Place:
        """Where the key's value stands; the record's place if it is not there."""
        return self.places.get(key, self.place)

    def text(self, key: str, default: str = "") -> str:
        """The text under a key."""
        word = self.values.get(key)
        return word.text if isinstance(word, Word) else default

    def word(self, key: str) -> Word | None:
        """The text under a key with its place; None if it is not there."""
        word = self.values.get(key)
        return word if isinstance(word, Word) else None

    def whole(self, key: str) -> int | None:
        """The number under a key; None if it is not there."""
        number = self.values.get(key)
        return number if isinstance(number, int) else None

    def flag(self, key: str) -> bool:
        """The switch under a key; off if it is not there."""
        return self.values.get(key) is True

    def words(self, key: str) -> tuple[Word, ...]:
        """The texts under a key: of a list, or the only one."""
        value = self.values.get(key, ())
        return tuple(one for one in (value if isinstance(value, tuple) else (value,)) if isinstance(one, Word))

    def record(self, key: str) -> "Found | None":
        """The record under a key; None if it is not there."""
        value = self.values.get(key)
        return value if isinstance(value, Found) else None

    def records(self, key: str) -> tuple["Found", ...]:
        """The records in the list under a key."""
        value = self.values.get(key)
        return tuple(one for one in value if isinstance(one, Found)) if isinstance(value, tuple) else ()

    def pairs(self, key: str) -> dict[str, object]:
        """The mapping under a key."""
        value = self.values.get(key)
        return dict(value) if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True)
class Record:
    """A mapping with known keys. `hints` say what other tools' keys are called here. Reads a Found.

    `also` is for the schema: demands on several keys at once, which `read.py` and its neighbours check.
    """

    fields: Mapping[str, Field]
    hints: Mapping[str, str] = field(default_factory=dict)
    also: Mapping[str, object] = field(default_factory=dict)

    def read(self, node: Node) -> Found:
        """Every value, each checked; nothing unknown, nothing missing."""
        if not isinstance(node, Table):
            raise wrong(node.place, f"write a mapping here, with the keys {', '.join(self.fields)}")
        for key, _ in node.entries:
            if key.text not in self.fields:
                raise wrong(key.place, self._unknown(key.text))
        values = {key.text: self.fields[key.text].shape.read(value) for key, value in node.entries}
        for name, one in self.fields.items():
            if one.required and name not in values:
                raise wrong(node.place, f"the key `{name}` is missing: {one.means}")
        return Found(node.place, values, {key.text: value.place for key, value in node.entries})

    def _unknown(self, key: str) -> str:
        if key in self.hints:
            return f"unknown key `{key}`: {self.hints[key]}"
        near = difflib.get_close_matches(key, self.fields, 1)
        known = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(self.fields)}"
        return f"unknown key; {known}"

    def schema(self) -> Json:
        """An object with these keys and no others."""
        properties = {name: one.shape.schema() | {"description": one.means} for name, one in self.fields.items()}
        required = [name for name, one in self.fields.items() if one.required]
        shape = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
        return {**shape, **self.also}
