"""What all formats' readers and writers do alike: settings that stand alone, by the table; and what is left over."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cloister._toml import Path
from cloister.frameworks.model import SINGLE, Configuration, Item, Kept, MeasuredFile
from cloister.frameworks.table import Key, Kind, Sheet

__all__ = ["Draft", "Values", "single"]


def single(table: Iterable[Key]) -> list[Key]:
    """The keys that are one setting each, which the table alone is enough to read and write."""
    return [
        key for key in table if key.concept in SINGLE and not {"*", "[]"} & set(key.parts) and key.kind is not Kind.ANY
    ]


class Draft:
    """A configuration that is being read."""

    def __init__(self, name: str, sheet: Sheet) -> None:
        self.name, self.sheet = name, sheet
        self._fields: dict[str, Any] = {}
        self._places: dict[Item, str] = {}
        self._orders: dict[Path, list[int]] = {}

    def set(self, field: str, value: object, *path: str | int) -> None:
        """A field that has one value; None is none."""
        if value is not None:
            self._fields[field] = value
            self._places[field, ""] = self.sheet.place(*path)

    def add(self, field: str, key: str, value: object, *path: str | int) -> None:
        """One entry of a field that has several. PolicyError if it stands twice."""
        found = self._fields.setdefault(field, {})
        if key in found:
            raise self.sheet.error(path, f"says once more what stands at {self._places[field, key]}; keep one of them")
        found[key] = value
        self._places[field, key] = self.sheet.place(*path)

    def add_file(self, path: str, file: MeasuredFile, *at: str | int) -> None:
        """A measured file; one that stands twice is seen in two places. PolicyError if its digests differ."""
        known: MeasuredFile | None = self.get("measured_files").get(path)
        if known is None:
            self.add("measured_files", path, file, *at)
            return
        if None not in {known.sha256, file.sha256} and known.sha256 != file.sha256:
            raise self.sheet.error(at, "is listed twice with different digests")
        targets = tuple(sorted({*known.targets, *file.targets}))
        merged = MeasuredFile(targets, known.sha256 or file.sha256, known.options or file.options)
        self.get("measured_files")[path] = merged

    def drop(self, field: str, key: str) -> None:
        """Take an entry back: another one says the same."""
        del self._fields[field][key]
        del self._places[field, key]

    def get(self, field: str) -> dict[str, Any]:
        """What was added to a field."""
        found: dict[str, Any] = self._fields.get(field, {})
        return found

    def element(self, *path: str | int) -> None:
        """Say that an item of a list was read: what is left of it belongs to it when it is written again."""
        number = path[-1]
        if isinstance(number, int):
            self._orders.setdefault(path[:-1], []).append(number)

    def read_single(self, table: Iterable[Key]) -> None:
        """All settings that stand alone."""
        for key in single(table):
            path = key.parts
            value = self._value(key)
            if value is not None:
                self.set(key.concept, value, *path)

    def _value(self, key: Key) -> object:
        taken = {Kind.TEXT: self.sheet.text, Kind.WHOLE: self.sheet.whole, Kind.TRUTH: self.sheet.truth}
        raw = taken[key.kind](*key.parts)
        if raw is None:
            return None
        try:
            value = key.form.read(raw)
        except ValueError as error:
            raise self.sheet.error(key.parts, str(error)) from None
        if value is None:  # the model has no word for it: it stays this format's own
            self.sheet.release(*key.parts)
        return value

    def finish(self) -> Configuration:
        """The configuration; what was not taken is kept."""
        kept = tuple(Kept(self.name, path, value, path not in self.sheet.unknown) for path, value in self.sheet.left())
        places: dict[Item, str] = {
            ("kept", str(number)): self.sheet.place(*one.path) for number, one in enumerate(kept)
        }
        orders = {path: tuple(numbers) for path, numbers in self._orders.items()}
        return Configuration(
            format=self.name, **self._fields, kept=kept, places={**self._places, **places}, orders=orders
        )


class Values:
    """Nested values that are being made, and comments for some of them."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.comments: dict[Path, str] = {}

    def put(self, path: Sequence[str | int], value: object, comment: str | None = None) -> None:
        """Set what stands at `path`; tables on the way are made. A number one beyond a list's end appends."""
        if value is None:
            return
        found: object = self.values
        for part, following in itertools.pairwise(path):
            empty: object = [] if isinstance(following, int) else {}
            found = _enter(found, part, empty)
        _enter(found, path[-1], value, replace=True)
        if comment:
            self.comments[tuple(path)] = " ".join(comment.split())

    def append(self, path: Sequence[str | int], value: object, comment: str | None = None) -> None:
        """Add an item to the list at `path`."""
        self.put([*path, self.count(path)], value, comment)

    def at(self, path: Sequence[str | int]) -> object:
        """What stands there, or None."""
        found: object = self.values
        for part in path:
            if isinstance(found, list):
                found = found[part] if isinstance(part, int) and part < len(found) else None
            else:
                found = found.get(part) if isinstance(found, dict) else None
        return found

    def items(self, path: Sequence[str | int]) -> list[object]:
        """The items of the list there; none if there is no list."""
        found = self.at(path)
        return found if isinstance(found, list) else []

    def count(self, path: Sequence[str | int]) -> int:
        """How many items the list there has."""
        return len(self.items(path))

    def put_single(self, table: Iterable[Key], configuration: Configuration) -> None:
        """All settings that stand alone."""
        for key in single(table):
            value = getattr(configuration, key.concept)
            if value is None or self.at(key.parts) is not None:
                continue
            written = key.form.write(value)
            if not key.choices or written in key.choices:
                self.put(key.parts, written, configuration.notes.get((key.concept, "")))

    def put_needed(self, needed: Mapping[str, object]) -> None:
        """What the format demands and the configuration does not say, by dotted path."""
        for path, value in needed.items():
            parts = path.split(".")
            if self.at(parts) is None:
                self.put(parts, value)

    def put_kept(self, configuration: Configuration, name: str) -> None:
        """What only this format has, as far as the configuration came from it, where it stood."""
        inserted: dict[Path, list[int]] = {}
        for kept in (one for one in configuration.kept if one.format == name):
            path: list[str | int] = []
            for depth, part in enumerate(kept.path):
                if not isinstance(part, int):
                    path.append(part)
                    continue
                before = kept.path[:depth]
                others = inserted.setdefault(before, [])
                understood = configuration.orders.get(before, ())
                number = sum(one < part for one in (*understood, *others))
                if part not in (*understood, *others):
                    following = kept.path[depth + 1 : depth + 2]
                    self._insert(path, number, [] if following and isinstance(following[0], int) else {})
                    others.append(part)
                path.append(min(number, self.count(path)))
            self.put(path, kept.value)

    def _insert(self, path: list[str | int], number: int, value: object) -> None:
        """Make room for an item of a list, which may be new."""
        found = self.at(path)
        if isinstance(found, list):
            found.insert(number, value)
        else:
            self.put(path, [value])


def _enter(found: object, part: str | int, value: object, *, replace: bool = False) -> object:
    """The value at `part`, made if it is not there."""
    if isinstance(found, list):
        number = int(part)
        if number >= len(found):
            found.append(value)
            return value
        if replace:
            found[number] = value
        return found[number]
    if not isinstance(found, dict):
        raise TypeError(f"nothing can stand inside {type(found).__name__}")
    if replace:
        found[part] = value
    return found.setdefault(part, value)
