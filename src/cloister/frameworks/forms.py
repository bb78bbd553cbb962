"""How a format writes what others write differently: sizes, switches, levels. Each form is read and written."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

__all__ = [
    "HEXADECIMAL",
    "INVERTED",
    "LETTERS",
    "MEGABYTES",
    "NUMBER",
    "PLAIN",
    "POWER_OF_TWO",
    "SWITCH",
    "UNITS",
    "Form",
    "mapped",
]

MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Form:
    """`read` makes the model's value of the file's, or raises ValueError saying what is wanted; `write` the reverse."""

    read: Callable[[object], object]
    write: Callable[[object], object]


def _same(value: object) -> object:
    return value


def _size(text: object, pattern: re.Pattern[str], units: Mapping[str, int], example: str) -> int:
    found = pattern.fullmatch(str(text).strip())
    if found is None:
        raise ValueError(f"is a size such as {example}")
    return int(found[1]) * units[found[2].upper()]


def _written(size: object, units: Mapping[str, int]) -> str:
    """With the largest unit that divides the size."""
    number = int(str(size))
    for name, factor in sorted(units.items(), key=lambda one: -one[1]):
        if number and number % factor == 0:
            return f"{number // factor}{name}"
    return f"{number}{next(name for name, factor in units.items() if factor == 1)}"


GRAMINE_UNITS: Final[Mapping[str, int]] = {"": 1, "K": 1 << 10, "M": MIB, "G": 1 << 30}
GRAMINE_SIZE: Final = re.compile(r"([0-9]{1,15})([KMG]?)", re.IGNORECASE)
OCCLUM_UNITS: Final[Mapping[str, int]] = {"B": 1, "KB": 1 << 10, "MB": MIB, "GB": 1 << 30, "TB": 1 << 40}
OCCLUM_SIZE: Final = re.compile(r"([0-9]{1,15})\s*([KMGT]?B)")


def _letters(value: object) -> int:
    return _size(value, GRAMINE_SIZE, GRAMINE_UNITS, '"256M"')


def _power(size: object) -> object:
    number = int(str(size))
    return _written(1 << max(0, number - 1).bit_length(), GRAMINE_UNITS)


def _number(value: object) -> int:
    try:
        return int(str(value), 0)
    except ValueError:
        raise ValueError("is a whole number, decimal or 0x and hexadecimal") from None


def _hexadecimal(value: object) -> int:
    return _number(value)


def _inverted(value: object) -> bool:
    return not _switch(value)


def _switch(value: object) -> bool:
    if value in {"0", "1"}:
        return value == "1"
    raise ValueError("is 0 or 1")


PLAIN: Final = Form(_same, _same)
LETTERS: Final = Form(_letters, lambda size: _written(size, GRAMINE_UNITS))
"""256M: Gramine's and SCONE's sizes, powers of 1024."""
POWER_OF_TWO: Final = Form(_letters, _power)
"""The same, rounded up: an enclave's size is a power of two (Intel SDM, volume 3D, "SECS")."""
UNITS: Final = Form(
    lambda value: _size(value, OCCLUM_SIZE, OCCLUM_UNITS, '"256MB"'), lambda size: _written(size, OCCLUM_UNITS)
)
"""256MB: Occlum's sizes, powers of 1024 too (tools/gen_internal_conf, parse_memory_size)."""
MEGABYTES: Final = Form(lambda value: int(str(value)) * MIB, lambda size: -(-int(str(size)) // MIB))
"""EGo's heapSize; rounded up."""
NUMBER: Final = Form(_number, str)
"""A number as text."""
HEXADECIMAL: Final = Form(_hexadecimal, lambda value: hex(int(str(value))))
SWITCH: Final = Form(_switch, lambda value: "1" if value else "0")
INVERTED: Final = Form(_inverted, lambda value: "0" if value else "1")
"""The SDK's DisableDebug."""


def mapped(words: Mapping[object, object]) -> Form:
    """A form of a few words: the file's to the model's. What is not among them cannot be said, and is left out."""
    backwards = {meant: said for said, meant in words.items()}
    return Form(words.get, backwards.get)
