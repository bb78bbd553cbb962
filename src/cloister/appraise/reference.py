"""Reference values: what good measurements look like, from whoever built what is measured.

A file is JSON, a list under `reference_values` or the list itself:

    {"reference_values": [
        {"tee": "sgx", "name": "mrenclave", "digest": "sha256:...", "label": "app 1.2", "provenance": "CI run 17"},
        {"tee": "sgx", "name": "isvsvn", "minimum": 3}]}

`name` is a claim's name. A value is a `digest` (with or without its algorithm in front), any other `value`, or a
`minimum`. CoRIMs are read by `cloister.appraise.corim`.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cloister import _json
from cloister.appraise.rules import Comparison, Known, Operator, Truth, compare, equal, is_hex
from cloister.errors import ParseError, PolicyError
from cloister.model import Tee

__all__ = ["ReferenceValue", "ReferenceValues", "read_reference_values"]

KEYS: Final = frozenset({"tee", "name", "digest", "value", "minimum", "label", "provenance"})

DEEPEST: Final = 8
"""Lists inside each other. Claims have lists of lists at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceValue:
    """One known-good value of one claim: equal to `operand`, at least it, or its bits under a mask.

    `tee` is empty if the file does not say. It counts only where every one of `given` is as it says: other claims of
    the same evidence, such as the chip that a firmware is for. `label` and `provenance` are for people and for rules
    that ask for one label.
    """

    name: str
    operand: object
    operator: Operator = Operator.EQUAL
    tee: Tee | str = ""
    given: tuple[tuple[str, object], ...] = ()
    label: str = ""
    provenance: str = ""

    def matches(self, value: object) -> bool:
        """Whether a claim's value is the one that is meant."""
        return (
            compare(Comparison(claim=self.name, operator=self.operator, operand=self.operand), value, {}) is Truth.HOLDS
        )


class ReferenceValues:
    """A set of reference values. Join two with `|`."""

    __slots__ = ("_by_name", "values")

    def __init__(self, values: Iterable[ReferenceValue] = ()) -> None:
        self.values = tuple(dict.fromkeys(values))
        self._by_name: dict[str, list[ReferenceValue]] = {}
        for one in self.values:
            self._by_name.setdefault(one.name, []).append(one)

    def __or__(self, other: "ReferenceValues") -> "ReferenceValues":
        return ReferenceValues([*self.values, *other.values])

    def __len__(self) -> int:
        return len(self.values)

    def candidates(self, tee: Tee, name: str, label: str = "") -> list[ReferenceValue]:
        """The reference values for a claim of that TEE; all labels, or one."""
        return [one for one in self._by_name.get(name, ()) if one.tee in {"", tee} and label in {"", one.label}]

    def found(
        self, tee: Tee, claims: Mapping[str, object], name: str, value: object, label: str = ""
    ) -> ReferenceValue | None:
        """The first reference value that this value of a claim is, in evidence with these claims."""
        for one in self.candidates(tee, name, label):
            if one.matches(value) and all(same(claims.get(claim), wanted) for claim, wanted in one.given):
                return one
        return None

    def known(self, tee: Tee, claims: Mapping[str, object]) -> Known:
        """For rules: whether a claim's value is among the reference values."""

        def known(claim: str, label: str, named: str, value: object) -> bool:
            return self.found(tee, claims, named or claim, value, label) is not None

        return known


def same(value: object, wanted: object) -> bool:
    """Whether a claim is there and has this value."""
    return equal(value, wanted) is Truth.HOLDS


def read_reference_values(data: bytes | str, *, name: str) -> ReferenceValues:
    """Read a JSON file of reference values; `name` is the file in messages. PolicyError if anything in it is wrong."""
    try:
        document = _json.loads(data, name)
    except ParseError as error:
        line = data[: error.offset].count("\n" if isinstance(data, str) else b"\n") + 1  # type: ignore[arg-type]
        raise PolicyError(f"{name}:{line}: {error.field}: {error.reason}") from error
    if isinstance(document, dict) and set(document) <= {"reference_values", "comment"}:
        document = document.get("reference_values")
    if not isinstance(document, list):
        raise PolicyError(f"{name}: reference values are a list, or an object with the list under reference_values")
    return ReferenceValues(_entry(one, f"{name}: entry {number}") for number, one in enumerate(document, 1))


def _entry(entry: object, where: str) -> ReferenceValue:
    if not isinstance(entry, dict):
        raise PolicyError(f"{where}: is no object with tee, name and digest, value or minimum")
    unknown = sorted(entry.keys() - KEYS)
    if unknown:
        raise PolicyError(f"{where}: unknown key {unknown[0]!r}; an entry has {', '.join(sorted(KEYS))}")
    texts = {key: _text(entry, key, where) for key in ("tee", "name", "label", "provenance")}
    if texts["tee"] not in tuple(Tee) or not texts["name"]:
        raise PolicyError(f"{where}: needs name, a claim's name, and tee, one of {', '.join(Tee)}")
    given = [key for key in READERS if key in entry]
    if len(given) != 1:
        raise PolicyError(f"{where}: needs exactly one of digest, value and minimum")
    operator, read = READERS[given[0]]
    return ReferenceValue(
        tee=Tee(texts["tee"]), name=texts["name"], operator=operator, operand=read(entry[given[0]], where),
        label=texts["label"], provenance=texts["provenance"],
    )  # fmt: skip


def _text(entry: Mapping[str, object], key: str, where: str) -> str:
    value = entry.get(key, "")
    if not isinstance(value, str):
        raise PolicyError(f"{where}: {key} is text")
    return value


def _digest(value: object, where: str) -> str:
    """Hexadecimal digits, of the length that the algorithm in front has, if one is there."""
    algorithm, colon, digits = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not is_hex(digits):
        raise PolicyError(f"{where}: digest is hexadecimal digits, like sha256:00ff...")
    if colon:
        if algorithm not in hashlib.algorithms_guaranteed or algorithm.startswith("shake"):
            raise PolicyError(
                f"{where}: {algorithm!r} is no hash algorithm that is known here (sha256, sha384, sha512)"
            )
        if hashlib.new(algorithm, usedforsecurity=False).digest_size * 2 != len(digits):
            raise PolicyError(f"{where}: a {algorithm} digest does not have {len(digits)} digits")
    return digits.lower()


def _value(value: object, where: str, depth: int = 0) -> object:
    if isinstance(value, list) and depth < DEEPEST:
        return tuple(_value(one, where, depth + 1) for one in value)
    if not isinstance(value, str | int):
        raise PolicyError(f"{where}: value is text, a whole number, true or false, or a list of such ({DEEPEST} deep)")
    return value


def _minimum(value: object, where: str) -> object:
    numbers: Sequence[object] = value if isinstance(value, list) else [value]
    if not numbers or not all(type(one) is int for one in numbers):
        raise PolicyError(f"{where}: minimum is a whole number, or a list of them")
    return tuple(numbers) if isinstance(value, list) else value


READERS: Final[Mapping[str, tuple[Operator, Callable[[object, str], object]]]] = {
    "digest": (Operator.EQUAL, _digest),
    "value": (Operator.EQUAL, _value),
    "minimum": (Operator.MINIMUM, _minimum),
}
