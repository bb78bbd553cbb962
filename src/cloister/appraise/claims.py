"""How values of evidence become claims: JSON-able, bytes as lowercase hexadecimal."""

import functools
from collections.abc import Mapping
from datetime import datetime

from cloister._wire import Record
from cloister.appraise.appraisal import Claim

__all__ = ["as_claim", "claims_of_record"]


def as_claim(value: object) -> Claim:
    """A value as a claim. Times are ISO 8601 in UTC; mappings become lists of `name=value`."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%SZ}"
    if isinstance(value, Mapping):
        return [f"{name}={as_claim(one)}" for name, one in value.items()]
    if isinstance(value, list | tuple):
        return [as_claim(one) for one in value]
    raise TypeError(f"a {type(value).__name__} is no claim")


def claims_of_record(record: Record) -> dict[str, Claim]:
    """All fields of a parsed record as claims, reserved ones left out."""
    names = stated(type(record))  # type: ignore[arg-type] # a class is hashable, whatever its instances say
    return dict(zip(names, map(as_claim, map(vars(record).__getitem__, names)), strict=True))


@functools.cache
def stated(kind: type[Record]) -> tuple[str, ...]:
    """The names of a record's fields that say something."""
    return tuple(name for name in kind.OFFSETS if not name.startswith("reserved_"))
