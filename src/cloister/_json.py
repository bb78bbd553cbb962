"""JSON, read strictly: bounded, no key twice, no NaN.

Two parsers that disagree about a document are an attack surface.
"""

import json
from collections.abc import Mapping
from typing import Final, NoReturn

from cloister.errors import ParseError

__all__ = ["loads", "member", "members", "text", "whole"]

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
                raise ParseError(record, key, 0, "stands twice in one object")
            made[key] = value
        return made

    def no_constant(name: str) -> NoReturn:
        raise ParseError(record, "value", 0, f"{name} is not JSON")

    try:
        value: object = json.loads(data, object_pairs_hook=no_key_twice, parse_constant=no_constant)
    except json.JSONDecodeError as error:
        raise ParseError(record, "json", error.pos, error.msg) from error
    except UnicodeDecodeError as error:
        raise ParseError(record, "json", error.start, "is not UTF-8") from error
    except (RecursionError, ValueError) as error:  # ValueError: a number of more than 4,300 digits
        raise ParseError(record, "json", 0, "is nested too deeply or has a number too long") from error
    return value


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
