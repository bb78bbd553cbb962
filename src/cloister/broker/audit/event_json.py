"""Events as JSON and back, driven by their types: a record is an object with exactly the record's fields.

| type | JSON |
|---|---|
| text, whole number | as such |
| bytes | lower-case hexadecimal |
| `Tee`, `Tier`, `Change`, `MeasurementKind` | the value |
| tuple | list |
| record | object, one member for each field |
| `Unchecked` | `{"unchecked": REASON}` |

An event is an object that has, beside its fields, `kind`. docs/formats/audit-log.md has the tables.
"""

import dataclasses
import functools
import re
import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, get_args

from cloister.broker.audit.events import Event
from cloister.errors import ParseError
from cloister.model import Unchecked

__all__ = ["event_of_json", "json_of_event"]

KINDS: Final[Mapping[str, type[Event]]] = {one.kind: one for one in get_args(Event)}
HEX: Final = re.compile(r"([0-9a-f]{2})*")


def json_of_event(event: Event) -> dict[str, object]:
    """The event as JSON has it."""
    return {"kind": event.kind, **_fields(event)}


def event_of_json(value: object) -> Event:
    """The event in a JSON value; ParseError if it is not exactly one."""
    if not isinstance(value, dict):
        raise ParseError("audit event", "event", 0, "is not an object")
    members = dict(value)
    kind = members.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise ParseError("audit event", "kind", 0, "is missing, or of an event that this version does not know")
    event: Event = _record(KINDS[kind], members)
    return event


def _fields(record: Any) -> dict[str, object]:  # noqa: ANN401 - any dataclass
    kind: type = type(record)
    return {name: _encode(getattr(record, name)) for name in _names(kind)}


@functools.cache
def _names(record: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(record))


def _encode(value: object) -> object:
    if type(value) is str:  # no member of an enumeration
        return value
    if isinstance(value, Unchecked):
        return {"unchecked": value.reason}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return [_encode(one) for one in value]
    return _fields(value) if dataclasses.is_dataclass(value) else value


@functools.cache
def _types(record: type) -> Mapping[str, object]:
    hints = typing.get_type_hints(record)
    return {field.name: hints[field.name] for field in dataclasses.fields(record)}


def _record(record: type, value: object) -> Any:  # noqa: ANN401 - the record asked for
    declared = _types(record)
    if not isinstance(value, dict) or value.keys() != declared.keys():
        names = ", ".join(declared)
        raise ParseError("audit event", record.__name__, 0, f"is not an object with exactly these members: {names}")
    made = {name: _decode(declared[name], value[name], name) for name in declared}
    try:
        return record(**made)
    except ValueError as error:
        raise ParseError("audit event", record.__name__, 0, str(error)) from error


def _decode(wanted: object, value: object, name: str) -> object:
    if isinstance(wanted, types.UnionType):
        return _one_of(wanted, value, name)
    if typing.get_origin(wanted) is tuple:
        if not isinstance(value, list):
            raise ParseError("audit event", name, 0, "is not a list")
        return tuple(_decode(get_args(wanted)[0], one, name) for one in value)
    if wanted is bytes:
        if not isinstance(value, str) or not HEX.fullmatch(value):
            raise ParseError("audit event", name, 0, "is not lower-case hexadecimal")
        return bytes.fromhex(value)
    if wanted is str or wanted is int:
        if type(value) is not wanted:  # exactly: True is an int
            raise ParseError("audit event", name, 0, "is not text" if wanted is str else "is not a whole number")
        return value
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        return _member(wanted, value, name)
    return _record(typing.cast("type", wanted), value)


def _one_of(wanted: types.UnionType, value: object, name: str) -> object:
    """Every union here is of something and `Unchecked`, which has one member that nothing else has."""
    something, _ = get_args(wanted)
    if isinstance(value, dict) and value.keys() == {"unchecked"}:
        return Unchecked(str(_decode(str, value["unchecked"], name)))
    return _decode(something, value, name)


def _member(wanted: type[Enum], value: object, name: str) -> Enum:
    try:
        return wanted(value)
    except ValueError as error:
        raise ParseError("audit event", name, 0, f"is not a {wanted.__name__} that this version knows") from error
