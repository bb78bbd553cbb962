"""The rules inside a TEE's section of a policy file: from what TOML gives to constraints."""

from collections.abc import Callable, Mapping
from typing import Final

from cloister._toml import Document, Path
from cloister.appraise.known_claims import EXECUTABLES, IDENTITY, decides_by_default, names_program
from cloister.appraise.policy import Rule, pins, worse
from cloister.appraise.rules import AllOf, AnyOf, Comparison, Constraint, Not, Operator, Reference, is_hex
from cloister.appraise.vector import (
    EXECUTABLES_UNRECOGNIZED,
    INSTANCE_UNRECOGNIZED,
    Tier,
    TrustVector,
    tier_of,
)
from cloister.errors import PolicyError
from cloister.model import Tee

__all__ = ["ruled"]

TRUST_CLAIMS: Final = tuple(TrustVector().values())
GROUPS: Final = ("any_of", "all_of", "none_of")
ABOUT: Final = ("decides", "on_failure", "because", "label", "named")
"""Keys of a rule that constrain nothing."""
REFERENCES: Final = "reference_values"
"""In the place of a list: what the reference values have for the claim."""
KEYS: Final = (*Operator, *GROUPS, "not", *ABOUT)
FAILURES: Final[Mapping[str, Mapping[str, int]]] = {
    "contraindicated": {IDENTITY: INSTANCE_UNRECOGNIZED},
    "warning": {EXECUTABLES: EXECUTABLES_UNRECOGNIZED},
}
"""AR4SI values of a failed rule, where they are not 96 and 32."""
USUAL: Final = {"contraindicated": 96, "warning": 32}
DEEPEST: Final = 16
"""Constraints inside each other; a person who reads the file gives up long before."""

Scalar = str | int | bool


def ruled(document: Document, tee: Tee, path: Path, value: object) -> tuple[Rule, ...]:
    """The rules that one key of a section makes: one for a claim, one for each group."""
    key = str(path[-1])
    if key in GROUPS:
        return (_group(document, tee, path, value),)
    reading = Reading(document, key)
    constraint = reading.claim_constraint(path, value)
    about = value if isinstance(value, dict) else {}
    decides = _decides(document, tee, path, about)
    return (
        Rule(
            title=f"{tee}.{key}",
            constraint=constraint,
            place=document.place(path),
            failure={decides: _failure(document, path, about, decides)},
            names_program=pins(constraint, frozenset({key} if names_program(tee, key, decides) else ())),
            subject=key,
            because=_text(document, path, about, "because"),
        ),
    )


def _group(document: Document, tee: Tee, path: Path, value: object) -> Rule:
    """`any_of`, `all_of` or `none_of`: a list of tables, each of which holds if all its claims do."""
    key = str(path[-1])
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise document.error(path, f"{key} is a list of tables: [[{'.'.join(map(str, path))}]] and claims below")
    if not value and key != "any_of":
        raise document.error(path, f"{key} of nothing demands nothing")
    parts: list[Constraint] = []
    failure: dict[str, int] = {}
    mentions: list[tuple[str, str]] = []
    for index, alternative in enumerate(value):
        tests = []
        for claim, wanted in alternative.items():
            here = (*path, index, claim)
            tests.append(Reading(document, claim).claim_constraint(here, wanted))
            about = wanted if isinstance(wanted, dict) else {}
            decides = _decides(document, tee, here, about)
            mentions.append((claim, decides))
            failure[decides] = worse(failure.get(decides, 0), _failure(document, here, about, decides))
        if not tests:
            raise document.error((*path, index), f"this part of {key} demands nothing, so it would always hold")
        parts.append(AllOf(tuple(tests)))
    constraint = AllOf(tuple(parts)) if key == "all_of" else AnyOf(tuple(parts))
    naming = frozenset(claim for claim, decides in mentions if names_program(tee, claim, decides))
    naming -= {claim for claim, decides in mentions if decides != EXECUTABLES}
    return Rule(
        title=f"{tee}.{key}",
        constraint=Not(constraint) if key == "none_of" else constraint,
        place=document.place(path),
        failure=failure or {EXECUTABLES: USUAL["contraindicated"]},
        names_program=key != "none_of" and pins(constraint, naming),
    )


def _decides(document: Document, tee: Tee, path: Path, about: Mapping[str, object]) -> str:
    value = about.get("decides", decides_by_default(tee, str(path[-1])))
    if value not in TRUST_CLAIMS or not isinstance(value, str):
        raise document.error((*path, "decides"), f"decides is one of {', '.join(TRUST_CLAIMS)}")
    return value


def _failure(document: Document, path: Path, about: Mapping[str, object], decides: str) -> int:
    value = about.get("on_failure", "contraindicated")
    if isinstance(value, str) and value in USUAL:
        return FAILURES[value].get(decides, USUAL[value])
    if type(value) is int and -128 <= value <= 127 and tier_of(value) >= Tier.WARNING:
        return value
    raise document.error(
        (*path, "on_failure"),
        'on_failure is "warning", "contraindicated", or an AR4SI value of one of these tiers (32 to 127, -33 to -128)',
    )


def _text(document: Document, path: Path, about: Mapping[str, object], key: str) -> str:
    value = about.get(key, "")
    if not isinstance(value, str):
        raise document.error((*path, key), f"{key} is text in quotes")
    return value


class Reading:
    """Reads the constraints on one claim."""

    def __init__(self, document: Document, claim: str) -> None:
        self.document, self.claim = document, claim

    def claim_constraint(self, path: Path, value: object, depth: int = 0) -> Constraint:
        """`claim = value` is short for `{ equal = value }`; in a table every constraint must hold."""
        if not isinstance(value, dict):
            return self.comparison(path, Operator.EQUAL, value)
        if depth > DEEPEST:
            raise self.error(path, f"constraints are nested more than {DEEPEST} deep")
        parts = [
            self.constraint((*path, key), key, one, value, depth) for key, one in value.items() if key not in ABOUT
        ]
        if not parts:
            raise self.error(
                path, f"demands nothing of {self.claim!r}; give one of {', '.join((*Operator, *GROUPS, 'not'))}"
            )
        if value.keys() & {"label", "named"} and REFERENCES not in (value.get("in"), value.get("each_in")):
            raise self.error(path, 'label and named go with in = "reference_values"')
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def constraint(self, path: Path, key: str, value: object, around: Mapping[str, object], depth: int) -> Constraint:
        """One key of a constraint's table."""
        if key in GROUPS:
            if not isinstance(value, list):
                raise self.error(path, f"{key} is a list of constraints: {key} = [{{ equal = 1 }}, {{ equal = 2 }}]")
            if not value and key != "any_of":
                raise self.error(path, f"{key} of nothing demands nothing")
            parts = tuple(self.claim_constraint((*path, i), one, depth + 1) for i, one in enumerate(value))
            return Not(AnyOf(parts)) if key == "none_of" else AllOf(parts) if key == "all_of" else AnyOf(parts)
        if key == "not":
            return Not(self.claim_constraint(path, value, depth + 1))
        if key not in tuple(Operator):
            raise self.error(path, f"unknown key {key!r}; a rule has {', '.join(KEYS)}")
        if key in {Operator.IN, Operator.EACH_IN} and value == REFERENCES:
            label, named = (_text(self.document, path[:-1], around, one) for one in ("label", "named"))
            return Reference(claim=self.claim, label=label, named=named, each=key == Operator.EACH_IN)
        return self.comparison(path, Operator(key), value)

    def comparison(self, path: Path, operator: Operator, value: object) -> Comparison:
        """One comparison, its operand checked."""
        return Comparison(claim=self.claim, operator=operator, operand=OPERANDS[operator](self, path, value))

    def error(self, path: Path, reason: str) -> PolicyError:
        """A PolicyError about the value at `path`, to be raised."""
        return self.document.error(path, reason)

    def value(self, path: Path, value: object) -> object:
        """Text, a whole number, true or false, or a list of such."""
        if isinstance(value, list):
            return tuple(self.value((*path, index), one) for index, one in enumerate(value))
        if not isinstance(value, str | int):
            raise self.error(
                path, f"{value!r} is compared with no claim; use text in quotes, a whole number, true or false"
            )
        return value

    def values(self, path: Path, value: object) -> object:
        """A list of values."""
        if not isinstance(value, list):
            raise self.error(path, f'{path[-1]} is a list, or "reference_values"')
        return self.value(path, value)

    def words(self, path: Path, value: object) -> object:
        """A list of texts that is not empty."""
        if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
            raise self.error(path, f'{path[-1]} is a list of texts, such as ["type=BL", "version=3"]')
        return tuple(value)

    def bound(self, path: Path, value: object) -> object:
        """A number, a list of numbers, or bytes in hexadecimal: what can be more or less."""
        numbers = value if isinstance(value, list) else [value]
        if isinstance(value, str) and is_hex(value):
            return value
        if not numbers or not all(type(one) is int for one in numbers):
            raise self.error(path, f"{path[-1]} is a whole number, a list of them, or bytes in hexadecimal digits")
        return list(numbers) if isinstance(value, list) else value

    def switch(self, path: Path, value: object) -> bool:
        """True or false."""
        if not isinstance(value, bool):
            raise self.error(path, f"{path[-1]} is true or false")
        return value

    def other(self, path: Path, value: object) -> str:
        """The name of another claim."""
        if not isinstance(value, str) or not value or value == self.claim:
            raise self.error(path, f"{path[-1]} is the name of another claim")
        return value

    def mask(self, path: Path, value: object) -> tuple[Scalar, Scalar]:
        """`{ mask, value }`, both numbers or both bytes of equal length; no bit of the value outside the mask."""
        if not isinstance(value, dict) or set(value) != {"mask", "value"}:
            raise self.error(path, "masked_equal is { mask = 0x2, value = 0x0 }, or both in hexadecimal digits")
        mask, bits = value["mask"], value["value"]
        if type(mask) is int and type(bits) is int:
            numbers = (mask, bits)
        elif (
            isinstance(mask, str) and isinstance(bits, str) and is_hex(mask) and is_hex(bits) and len(mask) == len(bits)
        ):
            numbers = (int(mask, 16), int(bits, 16))
        else:
            raise self.error(
                path, "mask and value are both numbers, or both the same number of bytes in hexadecimal digits"
            )
        if numbers[1] & ~numbers[0]:
            raise self.error(path, "the value has bits that the mask leaves out: this could never hold")
        return mask, bits


OPERANDS: Final[Mapping[Operator, Callable[[Reading, Path, object], object]]] = {
    Operator.EQUAL: Reading.value,
    Operator.IN: Reading.values,
    Operator.MINIMUM: Reading.bound,
    Operator.MAXIMUM: Reading.bound,
    Operator.MASKED_EQUAL: Reading.mask,
    Operator.CONTAINS: Reading.value,
    Operator.EACH_IN: Reading.values,
    Operator.PARTS: Reading.words,
    Operator.PRESENT: Reading.switch,
    Operator.EQUAL_CLAIM: Reading.other,
    Operator.MINIMUM_CLAIM: Reading.other,
    Operator.MAXIMUM_CLAIM: Reading.other,
}
