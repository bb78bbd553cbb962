"""Values as text: TOML, YAML, JSON, with a comment before a line where the format has comments."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final

from cloister._toml import Path

__all__ = ["write_json", "write_toml", "write_yaml"]

BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
SWITCHES: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
"""Words that some readers of YAML take for something else than text."""
WIDE: Final = 100
"""Columns of a list on one line."""


def write_json(values: Mapping[str, object], indent: int = 4) -> str:
    """A JSON document, which has no comments; what cannot be seen is escaped."""
    text = json.dumps(values, indent=indent, ensure_ascii=False)
    return "".join(one if one.isprintable() or one == "\n" else json.dumps(one)[1:-1] for one in text) + "\n"


def write_toml(values: Mapping[str, object], comments: Mapping[Path, str]) -> str:
    """TOML as manifests are written: dotted keys, a blank line between sections, a list's items each on a line."""
    return "\n\n".join("\n".join(_toml(values[name], (name,), comments)) for name in values) + "\n"


def _toml(value: object, path: Path, comments: Mapping[Path, str]) -> Iterator[str]:
    if path in comments:
        yield f"# {comments[path]}"
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _toml(inner, (*path, name), comments)
        return
    key = ".".join(_toml_key(str(part)) for part in path)
    line = f"{key} = {_inline(value)}"
    if not isinstance(value, list) or (len(line) <= WIDE and not _inside(path, comments)):
        yield line
        return
    yield f"{key} = ["
    said = None
    for number, one in enumerate(value):
        comment = comments.get((*path, number))
        if comment != said and comment is not None:
            yield f"  # {comment}"
        said = comment
        yield f"  {_inline(one)},"
    yield "]"


def _inside(path: Path, comments: Mapping[Path, str]) -> bool:
    return any(one[: len(path)] == path and len(one) > len(path) for one in comments)


def _toml_key(name: str) -> str:
    return name if BARE.fullmatch(name) else _quoted(name)


def _inline(value: object) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{_toml_key(name)} = {_inline(one)}" for name, one in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _quoted(value) if isinstance(value, str) else str(value)


def _quoted(text: str) -> str:
    """Text in double quotes, as TOML and YAML read it alike; what cannot be seen is escaped."""
    quoted = json.dumps(text, ensure_ascii=False)
    if quoted.isprintable():
        return quoted
    return "".join(one if one.isprintable() else _escaped(ord(one)) for one in quoted)


def _escaped(code: int) -> str:
    return f"\\u{code:04X}" if code < 1 << 16 else f"\\U{code:08X}"


def write_yaml(values: Mapping[str, object], comments: Mapping[Path, str]) -> str:
    """YAML with every text in double quotes: no reader takes one for a number or a switch."""
    return "\n".join(_yaml(values, (), comments, "")) + "\n"


def _yaml(value: object, path: Path, comments: Mapping[Path, str], indent: str) -> Iterator[str]:
    entries: Iterator[tuple[str | int, object]] = iter(())
    if isinstance(value, dict):
        entries = iter(value.items())
    elif isinstance(value, list):
        entries = iter(enumerate(value))
    for key, inner in entries:
        here = (*path, key)
        if here in comments:
            yield f"{indent}# {comments[here]}"
        start = "-" if isinstance(key, int) else f"{_yaml_key(key)}:"
        if not isinstance(inner, dict | list) or not inner:
            yield f"{indent}{start} {_yaml_scalar(inner)}"
        elif isinstance(key, int):
            lines = list(_yaml(inner, here, comments, f"{indent}  "))
            first = next((number for number, line in enumerate(lines) if not line.lstrip().startswith("#")), 0)
            lines[first] = f"{indent}- {lines[first][len(indent) + 2 :]}"
            yield from lines
        else:
            yield f"{indent}{start}"
            yield from _yaml(inner, here, comments, f"{indent}  ")


def _yaml_key(key: str) -> str:
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", key)
    return (
        key
        if plain and key.lower() not in {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
        else _quoted(key)
    )


def _yaml_scalar(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return "{}" if isinstance(value, dict) else "[]"
    return _quoted(value) if isinstance(value, str) else str(value)
