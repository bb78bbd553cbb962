"""JSON, read strictly: bounded, UTF-8 and nothing else (RFC 8259, section 8.1), no key twice, no NaN.

Two parsers that disagree about a document are an attack surface.
"""

import json
import re
from collections.abc import Mapping
from typing import Final, NoReturn

from cloister.errors import ParseError

__all__ = ["loads", "member", "members", "text", "whole"]

HALF: Final = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
"""Where a document may have a surrogate: as an escape, or in text that was never bytes."""

LONGEST: Final = 16 << 20
"""Bytes. TCB info has 30 to 100 kB; a batch is read line by line."""


def loads(data: bytes | str, record: str) -> object:
    """The value of a JSON document; `record` names it in errors."""
    if len(data) > LONGEST:
        raise ParseError(record, "length", 0, f"{len(data)} bytes; at most {LONGEST}")

    def no_key_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
        made: dict[str, object] = {}
        for key, value in pairs:
            if key in made:
                shown = key.encode("utf-8", "backslashreplace").decode()  # half a surrogate pair cannot be printed
                raise ParseError(record, shown, 0, "stands twice in one object")
            made[key] = value
        return made

    def no_constant(name: str) -> NoReturn:
        raise ParseError(record, "value", 0, f"{name} is not JSON")

    try:
        document = data if isinstance(data, str) else data.decode()  # `json` would guess UTF-16 and UTF-32
        value: object = json.loads(document, object_pairs_hook=no_key_twice, parse_constant=no_constant)
    except json.JSONDecodeError as error:
        raise ParseError(record, "json", error.pos, error.msg) from error
    except UnicodeDecodeError as error:
        raise ParseError(record, "json", error.start, "is not UTF-8") from error
    except (RecursionError, ValueError) as error:  # ValueError: a number of more than 4,300 digits
        raise ParseError(record, "json", 0, "is nested too deeply or has a number too long") from error
    if ("\\u" in document or not document.isascii()) and HALF.search(document):  # the first two cost nothing
        _refuse_half_characters(value, record)
    return value


def _refuse_half_characters(value: object, record: str) -> None:
    """A surrogate alone is JSON but no text: whoever writes it on, to a token or a file, would fail."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ParseError(
            record, "text", 0, "is not text: half a character (a surrogate alone), which UTF-8 cannot write"
        ) from error


def member(value: object, key: str, record: str) -> object:
    """What stands under `key` in an object that must have it."""
    if not isinstance(value, Mapping) or key not in value:
        raise ParseError(record, key, 0, "is missing")
    found: object = value[key]
    return found


def text(value: object, key: str, record: str) -> str:
    """The string under `key`."""
    found = member(value, key, record)
    if not isinstance(found, str):
        raise ParseError(record, key, 0, "is not a string")
    return found


def whole(value: object, key: str, record: str) -> int:
    """The whole number under `key`, not negative."""
    found = member(value, key, record)
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise ParseError(record, key, 0, "is not a whole number")
    return found


def members(value: object, key: str, record: str) -> list[object]:
    """The list under `key`."""
    found = member(value, key, record)
    if not isinstance(found, list):
        raise ParseError(record, key, 0, "is not a list")
    return found
