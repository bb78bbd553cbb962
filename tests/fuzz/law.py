"""What every parser owes to any bytes, as a function that raises where it is not kept.

1. Only the refusals that the reader documents escape, and their messages can be printed.
2. What was read is written as the same bytes, or, where a form has white space, reads as the same value again.
3. Recognition never raises. Nothing that can be asked of a value that was read raises anything but a refusal.
4. It takes less than a second of processor time.
5. A refusal does not quote what its reader says is secret.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from cloister.errors import ParseError

__all__ = ["LONGEST", "SECONDS", "Broken", "Reader", "obey"]

LONGEST: Final = 65_536
"""Bytes of the longest input."""
SECONDS: Final = 1.0
"""Processor time for one input of at most `LONGEST` bytes."""
DEEPEST: Final = 4
"""How far into a value's own parts its properties are asked."""
WIDEST: Final = 8
"""How many members of a tuple are looked into."""
UNASKED: Final = frozenset({("EcKey", "point")})
"""Properties that a value only has under a condition which its docstring names (`usable`)."""


class Broken(AssertionError):
    """A parser did what it must not do."""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One parser. `covers` names what a target with it covers, as `module.function` below `cloister`."""

    covers: tuple[str, ...]
    read: Callable[[bytes], Any]
    refusals: tuple[type[Exception], ...] = (ParseError,)
    write: Callable[[Any], bytes] | None = None
    """What makes the bytes again, if the format has a way."""
    exact: bool = True
    """Whether these are the same bytes. If not, they must read as the same value."""
    recognise: Callable[[bytes], bool] | None = None
    never_quoted: bytes = b""
    """What stands for a secret in the seeds."""


def obey(reader: Reader, data: bytes) -> bool:
    """Try one input; whether it was read. Raises Broken, or whatever escaped."""
    start = time.thread_time()
    accepted = attempt(reader, data)
    taken = time.thread_time() - start
    if taken > SECONDS:
        raise Broken(f"{reader.covers[0]}: {len(data)} bytes took {taken:.2f} s of processor time")
    return accepted


def attempt(reader: Reader, data: bytes) -> bool:
    """The law without its time limit."""
    if reader.recognise is not None and type(reader.recognise(data)) is not bool:
        raise Broken(f"{reader.covers[0]}: recognition says neither yes nor no")
    try:
        value = reader.read(data)
    except reader.refusals as error:
        said = str(error).encode()
        if reader.never_quoted and reader.never_quoted in said:
            raise Broken(f"{reader.covers[0]}: the refusal quotes a secret: {said!r}") from error
        return False
    if reader.write is not None:
        written = reader.write(value)
        if reader.exact and written != data:
            raise Broken(f"{reader.covers[0]}: writes {len(written)} other bytes than were read")
        if not reader.exact and reader.read(written) != value:
            raise Broken(f"{reader.covers[0]}: what it writes reads as something else")
    ask(value, reader.refusals, DEEPEST)
    return True


def ask(value: object, refusals: tuple[type[Exception], ...], depth: int) -> None:
    """Look at every property of a value and of its parts."""
    if not type(value).__module__.startswith("cloister.") or isinstance(value, type | str | int):
        return
    repr(value)
    for name in properties_of(type(value)):  # type: ignore[arg-type] # every type can be hashed
        try:
            getattr(value, name)
        except refusals:
            continue
    if depth:
        for part in parts_of(value):
            ask(part, refusals, depth - 1)


@functools.cache
def properties_of(kind: type) -> tuple[str, ...]:
    """The public names of its properties."""
    return tuple(
        name
        for base in kind.__mro__
        for name, member in vars(base).items()
        if isinstance(member, property | functools.cached_property)
        and not name.startswith("_")
        and (base.__name__, name) not in UNASKED
    )


def parts_of(value: object) -> Iterator[object]:
    """Its fields, and the members of those that are tuples."""
    if dataclasses.is_dataclass(value):
        fields = [getattr(value, one.name) for one in dataclasses.fields(value)]
    else:
        fields = list(getattr(value, "__dict__", {}).values())
    for one in fields:
        yield from one[:WIDEST] if isinstance(one, tuple) else (one,)
