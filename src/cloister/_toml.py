"""In which line of a TOML file each key stands: tomllib reads values, messages to people need lines."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Final

from cloister.errors import PolicyError

__all__ = ["Document", "Path", "read_toml"]

Path = tuple[str | int, ...]
"""Where a value stands: `("sgx", "any_of", 0, "mrenclave")`."""

LONGEST: Final = 256 << 10
"""Characters, where the reader says nothing else. A policy is written by people; what is longer belongs into a file
of reference values."""

TOKEN: Final = re.compile(
    r"""\"""(?:\\.|[^\\])*?(?:"{3,5}|\\?\Z) | '''.*?(?:'{3,5}|\Z) | "(?:\\.|[^"\\\n])*"? | '[^'\n]*'?
    | \#[^\n]* | [\[\]{}] | \n""",
    re.DOTALL | re.VERBOSE,
)
"""What may span lines or hide brackets. A string that is not closed is a token too: looking for its end from every
quotation mark in it would take time that grows with the square of its length."""
ITEM: Final = re.compile(rf"{TOKEN.pattern} | , | [^\s\"'\#\[\]{{}},]+", re.DOTALL | re.VERBOSE)
"""The same, and what parts the items of a list."""
MOST_PARTS: Final = 16
"""Parts of a dotted key. Python's reader takes time that grows with the square of their number."""
DEEPEST: Final = 64
"""Tables and lists inside each other. Constraints, which are two each, may be nested 16 deep."""
NUMBERS: Final = range(-(1 << 63), 1 << 64)
"""Whole numbers that claims can have."""
LONG_KEY: Final = re.compile(rf"(?<![\w-])(?:[\w-]+[ \t]*\.[ \t]*){{{MOST_PARTS}}}")
AT_LINE: Final = re.compile(r" \(at line (\d+), column \d+\)$")


class Document:
    """A TOML file: its `values`, and where each of them stands."""

    def __init__(self, name: str, values: dict[str, object], lines: Mapping[Path, int]) -> None:
        self.name, self.values, self._lines = name, values, lines

    def line(self, path: Path) -> int:
        """The line of a value, or of the nearest thing around it."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    def place(self, path: Path) -> str:
        """`policy.toml:12`."""
        return f"{self.name}:{self.line(path)}"

    def error(self, path: Path, reason: str) -> PolicyError:
        """A PolicyError about the value at `path`, to be raised."""
        return PolicyError(f"{self.place(path)}: {reason}")


def read_toml(text: str, name: str, longest: int = LONGEST) -> Document:
    """Read a TOML document; `name` is the file in messages. PolicyError with file and line if it is not TOML."""
    if len(text) > longest:
        raise PolicyError(f"{name}:1: {len(text)} characters; at most {longest} are read")
    text = text.replace("\r\n", "\n")
    long = LONG_KEY.search(TOKEN.sub(_without_strings, text))
    if long is not None:
        raise PolicyError(
            f"{name}:{long.string[: long.start()].count(chr(10)) + 1}: a key has more than {MOST_PARTS} parts"
        )
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise _not_toml(text, name, error) from error
    return Document(name, values, _lines(text, name))


def _without_strings(token: re.Match[str]) -> str:
    """What stands for a token where only keys and lines matter: strings may be keys, dots in them part nothing."""
    if token[0][0] in "\"'":
        return "_" + "\n" * token[0].count("\n")
    return "" if token[0][0] == "#" else token[0]


def _not_toml(text: str, name: str, error: Exception) -> PolicyError:
    message = str(error)
    found = AT_LINE.search(message)
    if found is not None:
        return PolicyError(f"{name}:{found[1]}: {message[: found.start()]}")
    if message.endswith(" (at end of document)"):
        line = text.rstrip("\n").count("\n") + 1
        return PolicyError(f"{name}:{line}: {message.removesuffix(' (at end of document)')}, but the file ends")
    if isinstance(error, RecursionError):
        message = "is nested too deeply"
    return PolicyError(f"{name}:{next(_unreadable(text), 1)}: {message}")


def _unreadable(text: str) -> Iterator[int]:
    """The lines of statements that cannot be read even alone."""
    for line, statement in _statements(text):
        try:
            tomllib.loads(statement)
        except (ValueError, RecursionError):
            yield line


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Each `key = value` or `[table]` with the line on which it begins; brackets and strings may span lines."""
    start, line, begun, depth = 0, 1, 1, 0
    for token in TOKEN.finditer(f"{text}\n"):
        if token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth -= 1
        elif token[0] == "\n" and depth <= 0:
            statement = text[start : token.start()]
            if statement.strip() and not statement.lstrip().startswith("#"):
                yield begun, statement
            start, begun, depth = token.end(), line + 1, 0
        line += token[0].count("\n")


def _lines(text: str, name: str) -> dict[Path, int]:
    lines: dict[Path, int] = {}
    table: Path = ()
    counts: dict[Path, int] = {}
    for line, statement in _statements(text):
        content = tomllib.loads(statement)
        if statement.lstrip().startswith("["):
            table = _header(content, statement.lstrip().startswith("[["), counts)
            for end in range(1, len(table) + 1):
                lines.setdefault(table[:end], line)
        else:
            items = _item_lines(statement, line)
            for path, value in _paths(content, table):
                if len(path) > DEEPEST:
                    raise PolicyError(f"{name}:{line}: tables and lists are nested more than {DEEPEST} deep")
                if isinstance(value, int) and value not in NUMBERS:
                    raise PolicyError(f"{name}:{line}: a number that needs more than 64 bits")
                number = next((part for part in path[len(table) :] if isinstance(part, int)), None)
                lines.setdefault(path, line if number is None or number >= len(items) else items[number])
    return lines


def _item_lines(statement: str, line: int) -> list[int]:
    """The line of each item of the list that a statement gives, if it gives one."""
    found: list[int] = []
    depth, begun = 0, False
    for token in ITEM.finditer(statement):
        word = token[0]
        if depth == 1 and not begun and word[0] not in "]#\n":
            found.append(line)
            begun = True
        if word in "[{":
            depth += 1
        elif word in "]}":
            depth -= 1
        elif word == "," and depth == 1:
            begun = False
        line += word.count("\n")
    return found


def _header(content: object, repeated: bool, counts: dict[Path, int]) -> Path:  # noqa: FBT001 - `[[` or `[`
    """The path that `[a.b]` or `[[a.b]]` opens; arrays of tables are counted."""
    path: Path = ()
    while isinstance(content, dict) and content:
        key, content = next(iter(content.items()))
        path = (*path, key)
        content = content[0] if isinstance(content, list) else content
        if path in counts and (content or not repeated):
            path = (*path, counts[path])
    if repeated:
        counts[path] = counts.get(path, -1) + 1
        path = (*path, counts[path])
    return path


def _paths(value: object, at: Path) -> Iterator[tuple[Path, object]]:
    """Everything inside a value with its path, outermost first."""
    inner: Iterator[tuple[str | int, object]] = iter(())
    if isinstance(value, dict):
        inner = iter(value.items())
    elif isinstance(value, list):
        inner = iter(enumerate(value))
    for key, one in inner:
        yield (*at, key), one
        yield from _paths(one, (*at, key))
