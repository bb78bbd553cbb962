"""The keys that a format documents, as data: what each holds, what it means here, and where that is written.

`Sheet` reads a file by such a table. A value of the wrong type is refused, with its line. A key that is in no table is
kept and named, never dropped: a newer version of the framework may know it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Final

from cloister._toml import Document, Path
from cloister.errors import PolicyError
from cloister.frameworks.forms import PLAIN, Form

__all__ = ["Key", "Kind", "Sheet", "dotted"]


class Kind(StrEnum):
    """What a key holds."""

    TEXT = "text"
    WHOLE = "whole number"
    TRUTH = "true or false"
    ANY = "anything"


@dataclass(frozen=True, slots=True)
class Key:
    """One documented key. In `path`, `*` is any name and `[]` any number of items.

    `concept` is what the model calls it (model.py); empty, if only this framework has such a thing. `source` is where
    it is documented. `choices` are the only values, where the documentation lists them.
    """

    path: str
    kind: Kind
    concept: str = ""
    source: str = ""
    choices: tuple[object, ...] = ()
    form: Form = PLAIN

    @property
    def parts(self) -> tuple[str, ...]:
        """The path, cut up."""
        return _parts(self.path)

    def fits(self, path: Path) -> bool:
        """Whether a value at `path` is this key's."""
        return len(path) == len(self.parts) and all(
            part == "[]" if isinstance(one, int) else part in {"*", one}
            for part, one in zip(self.parts, path, strict=True)
        )


@cache
def _parts(path: str) -> tuple[str, ...]:
    return tuple(path.replace("[]", ".[]").split("."))


TYPES: Final[Mapping[Kind, type]] = {Kind.TEXT: str, Kind.WHOLE: int, Kind.TRUTH: bool, Kind.ANY: object}


def dotted(path: Path) -> str:
    """A path for people: `fs.mounts[2].uri`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


class Sheet:
    """A file that is read by a table: values are taken out one by one, and what nobody took is left over."""

    def __init__(self, document: Document, table: Sequence[Key]) -> None:
        self.document, self._table = document, tuple(table)
        self._taken: set[Path] = set()
        self._keys: dict[Path, list[Key]] = {}
        self._above: dict[Path, bool] = {}
        self.unknown = frozenset(path for path, value in self._leaves() if not self._known(path, value))
        """Keys that are in no table."""

    def _leaves(self, at: Path = ()) -> Iterator[tuple[Path, object]]:
        """Every value that is no table or list, or that the table takes as a whole."""
        found = self._at(at)
        if at and self._is_whole(at, found):
            yield at, found
        elif isinstance(found, dict) and (found or not at):
            for name in found:
                yield from self._leaves((*at, name))
        elif isinstance(found, list) and found:
            for number in range(len(found)):
                yield from self._leaves((*at, number))
        else:
            yield at, found

    def _fitting(self, path: Path) -> list[Key]:
        """The documented keys of a value there; the items of a list are alike, so they are looked up once."""
        shape = _shape(path)
        if shape not in self._keys:
            self._keys[shape] = [key for key in self._table if key.fits(path)]
        return self._keys[shape]

    def _is_whole(self, path: Path, value: object) -> bool:
        """Whether a documented key takes what stands there as one value."""
        keys = self._fitting(path)
        inside = isinstance(value, dict | list) and bool(value) and self._is_above(path)
        return any(key.kind is Kind.ANY for key in keys) or (bool(keys) and not inside)

    def _known(self, path: Path, value: object) -> bool:
        """Whether a key is documented; PolicyError if it is, and its value is of another type."""
        keys = self._fitting(path)
        if not keys:
            self._refuse_other_shape(path)
            return isinstance(value, list | dict) and not value and self._is_above(path)
        if not any(_holds(key, value) for key in keys):
            wanted = " or ".join(dict.fromkeys(_wanted(key) for key in keys))
            raise self.document.error(path, f"{dotted(path)} is {wanted}, not {_called(value)}")
        return True

    def _refuse_other_shape(self, path: Path) -> None:
        """PolicyError for a list where a table is documented, or a table where a list is."""
        for length, part in enumerate(path):
            inside = {
                key.parts[length] for key in self._table if _begins(key, path[:length]) and len(key.parts) > length
            }
            if inside and (inside == {"[]"}) is not isinstance(part, int) and not {"*"} & inside:
                wanted = "a list" if inside == {"[]"} else "a table"
                raise self.document.error(path[:length], f"{dotted(path[:length]) or 'the file'} is {wanted}")

    def _is_above(self, path: Path) -> bool:
        """Whether documented keys stand below `path`: an empty list or table there says nothing, and is known."""
        shape = _shape(path)
        if shape not in self._above:
            self._above[shape] = any(len(key.parts) > len(path) and _begins(key, path) for key in self._table)
        return self._above[shape]

    def _at(self, path: Path) -> object:
        found: object = self.document.values
        for part in path:
            if isinstance(found, list):
                found = found[part] if isinstance(part, int) and part < len(found) else None
            else:
                found = found.get(part) if isinstance(found, dict) else None
        return found

    def text(self, *path: str | int) -> str | None:
        """The text there, if there is one."""
        found = self._at(path)
        if not isinstance(found, str):
            return None
        self._taken.add(path)
        return found

    def whole(self, *path: str | int) -> int | None:
        """The whole number there, if there is one; PolicyError if it is negative."""
        found = self._at(path)
        if not isinstance(found, int) or isinstance(found, bool):
            return None
        if found < 0:
            raise self.document.error(path, f"{dotted(path)} is negative; it counts something")
        self._taken.add(path)
        return found

    def truth(self, *path: str | int) -> bool | None:
        """The switch there, if there is one."""
        found = self._at(path)
        if not isinstance(found, bool):
            return None
        self._taken.add(path)
        return found

    def names(self, *path: str | int) -> list[str]:
        """The keys of the table there; none if there is no table."""
        found = self._at(path)
        return list(found) if isinstance(found, dict) else []

    def count(self, *path: str | int) -> int:
        """How many items the list there has."""
        found = self._at(path)
        return len(found) if isinstance(found, list) else 0

    def texts(self, *path: str | int) -> tuple[str, ...]:
        """The list of texts there."""
        return tuple(found for number in range(self.count(*path)) if (found := self.text(*path, number)) is not None)

    def take(self, *path: str | int) -> object:
        """Whatever stands there, with everything inside it."""
        self._taken.add(path)
        return self._at(path)

    def release(self, *path: str | int) -> None:
        """Put a value back: it is left over after all."""
        self._taken.discard(path)

    def error(self, path: Path, reason: str) -> PolicyError:
        """What to raise about the value at `path`."""
        return self.document.error(path, f"{dotted(path)} {reason}")

    def place(self, *path: str | int) -> str:
        """File and line of a value."""
        return self.document.place(path)

    def others(self, path: Path, known: Sequence[str]) -> tuple[tuple[str, object], ...]:
        """The members of a table that are not among `known`, taken."""
        return tuple((name, self.take(*path, name)) for name in self.names(*path) if name not in known)

    def left(self) -> Iterator[tuple[Path, object]]:
        """What nobody took, by its path."""
        for path, value in self._leaves():
            if path and not any(path[:length] in self._taken for length in range(1, len(path) + 1)):
                empty = isinstance(value, list | dict) and not value and path not in self.unknown
                if not empty:
                    yield path, value


def _shape(path: Path) -> Path:
    return tuple(0 if isinstance(part, int) else part for part in path)


def _begins(key: Key, path: Path) -> bool:
    """Whether the key stands at `path` or below."""
    return len(key.parts) >= len(path) and all(
        part == "[]" if isinstance(one, int) else part in {"*", one} for part, one in zip(key.parts, path, strict=False)
    )


def _holds(key: Key, value: object) -> bool:
    if key.kind is Kind.ANY:
        return True
    if isinstance(value, bool) is not (key.kind is Kind.TRUTH) or not isinstance(value, TYPES[key.kind]):
        return False
    return not key.choices or value in key.choices


def _wanted(key: Key) -> str:
    return f"one of {', '.join(map(str, key.choices))}" if key.choices else key.kind.value


def _called(value: object) -> str:
    """What a value is, without saying it: it may be secret."""
    names = {bool: "true or false", int: "a whole number", str: "this text", list: "a list", dict: "a table"}
    return names.get(type(value), type(value).__name__)
