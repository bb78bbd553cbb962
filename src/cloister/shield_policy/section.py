"""One table of a document, read strictly: known keys of the right type, and an error that names file, line and key."""

import difflib
from collections.abc import Iterator, Mapping
from typing import TypeVar

from cloister._toml import Document, Path
from cloister.errors import PolicyError

__all__ = ["Section"]

Value = TypeVar("Value")


class Section:
    """The table at a path of a document, of which these keys are known. PolicyError for any other key."""

    def __init__(self, document: Document, at: Path, known: tuple[str, ...]) -> None:
        value: object = document.values
        for part in at:
            value = value[part]  # type: ignore[index] # whoever calls has found it there
        self._document, self._at = document, at
        if not isinstance(value, dict):
            raise document.error(at, f"{_dotted(at)}: a table is wanted here, with the keys {', '.join(known)}")
        self._values: Mapping[str, object] = value
        for key in value:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(known)}"
                raise document.error((*at, key), f"{_dotted((*at, key))}: unknown key; {hint}")

    def __contains__(self, key: str) -> bool:
        return key in self._values

    @property
    def place(self) -> str:
        """File and line."""
        return self._document.place(self._at)

    def place_of(self, key: str) -> str:
        """File and line of a key."""
        return self._document.place((*self._at, key))

    def error(self, key: str, reason: str) -> PolicyError:
        """What to raise about a key; about the whole table, if it is empty."""
        path = (*self._at, key) if key else self._at
        return self._document.error(path, f"{_dotted(path)}: {reason}")

    def text(self, key: str) -> str:
        """A text; empty if the key is not there."""
        if key not in self:
            return ""
        value = self._values[key]
        if not isinstance(value, str) or not value or "\0" in value:
            raise self.error(key, "write a text in quotes, without NUL")
        return value

    def flag(self, key: str, *, default: bool = False) -> bool:
        """True or false."""
        value = self._values.get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, "write true or false, without quotes")
        return value

    def whole(self, key: str, low: int, high: int) -> int:
        """A whole number; 0 if the key is not there."""
        if key not in self:
            return 0
        value = self._values[key]
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.error(key, f"write a whole number from {low:,} to {high:,}, without quotes")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts, which is not empty if it is there."""
        value = self._values.get(key, [])
        good = isinstance(value, list) and all(isinstance(one, str) and one for one in value)
        if not good or (key in self and not value):
            raise self.error(key, 'write a list of texts: ["...", "..."]')
        return tuple(str(one) for one in value) if isinstance(value, list) else ()

    def choice(self, key: str, words: Mapping[str, Value]) -> Value:
        """What one of a few words stands for."""
        value = self._values.get(key)
        if not isinstance(value, str) or value not in words:
            raise self.error(key if key in self else "", f"{key}: write one of {', '.join(words)}")
        return words[value]

    def any(self, key: str) -> object:
        """Whatever stands there; None if nothing does."""
        return self._values.get(key)

    def section(self, key: str, known: tuple[str, ...]) -> "Section | None":
        """The table under a key, if there is one."""
        return Section(self._document, (*self._at, key), known) if key in self else None

    def sections(self, key: str, known: tuple[str, ...]) -> Iterator["Section"]:
        """The tables in the list under a key."""
        value = self._values.get(key, [])
        if not isinstance(value, list):
            raise self.error(key, f"write a list of tables: [[{_dotted((*self._at, key))}]] before each")
        for number in range(len(value)):
            yield Section(self._document, (*self._at, key, number), known)


def _dotted(path: Path) -> str:
    return ".".join(part for part in path if isinstance(part, str))
