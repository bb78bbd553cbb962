"""Constraints as data: what a policy may say about claims, and whether it holds.

Three answers, as in Kleene's logic: a claim that is not there, or is of another kind than the constraint, gives
UNKNOWN, and turning a constraint around does not make UNKNOWN true. Only HOLDS ever passes a rule.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final

__all__ = [
    "AllOf",
    "AnyOf",
    "Comparison",
    "Constraint",
    "Not",
    "Operator",
    "Reference",
    "Truth",
    "claims_in",
    "described",
    "evaluate",
]


class Truth(Enum):
    """Whether a constraint holds."""

    HOLDS = True
    FAILS = False
    UNKNOWN = "unknown"  # the claim is absent or of another kind: nothing can be said, so nothing passes


class Operator(StrEnum):
    """How a claim is compared; the values are the keys of the policy file."""

    EQUAL = "equal"
    IN = "in"
    MINIMUM = "minimum"
    MAXIMUM = "maximum"
    MASKED_EQUAL = "masked_equal"
    CONTAINS = "contains"
    EACH_IN = "each_in"
    PARTS = "parts"
    PRESENT = "present"
    EQUAL_CLAIM = "equal_claim"
    MINIMUM_CLAIM = "minimum_claim"
    MAXIMUM_CLAIM = "maximum_claim"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One comparison of one claim with `operand`: a value, a list of values, a mask and a value, or a claim's name."""

    claim: str
    operator: Operator
    operand: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The claim is one of the reference values for it; with a `label`, one of those with that label only."""

    claim: str
    label: str = ""
    named: str = ""
    """The reference values' own name for it, where that is not the claim's."""
    each: bool = False
    """The claim is a list, and every element is one; an empty list has nothing that could be known."""


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part holds. Of no parts: holds, as there is nothing that does not."""

    parts: tuple["Constraint", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part holds. Of no parts: fails, as there is nothing that does."""

    parts: tuple["Constraint", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part fails. What is unknown does not become known by turning it around."""

    part: "Constraint"


Constraint = Comparison | Reference | AllOf | AnyOf | Not
"""Any constraint on claims."""

Known = Callable[[str, str, str, object], bool]
"""Whether a value is among the reference values: (claim, label, named, value)."""


def evaluate(constraint: Constraint, claims: Mapping[str, object], known: Known) -> Truth:
    """Whether the constraint holds for these claims. Never raises."""
    if isinstance(constraint, Comparison):
        value = claims.get(constraint.claim, ABSENT)
        return _absent(constraint) if value is ABSENT else compare(constraint, value, claims)
    if isinstance(constraint, Reference):
        value = claims.get(constraint.claim, ABSENT)
        return Truth.UNKNOWN if value is ABSENT else _referred(constraint, value, known)
    if isinstance(constraint, Not):
        inner = evaluate(constraint.part, claims, known)
        return inner if inner is Truth.UNKNOWN else Truth(not inner.value)
    results = {evaluate(part, claims, known) for part in constraint.parts}
    decisive, otherwise = (Truth.FAILS, Truth.HOLDS) if isinstance(constraint, AllOf) else (Truth.HOLDS, Truth.FAILS)
    if decisive in results:
        return decisive
    return Truth.UNKNOWN if Truth.UNKNOWN in results else otherwise


ABSENT: Final = object()
"""Instead of the value of a claim that is not there."""


def _referred(wanted: Reference, value: object, known: Known) -> Truth:
    if not wanted.each:
        return Truth(known(wanted.claim, wanted.label, wanted.named, value))
    if not isinstance(value, list):
        return Truth.UNKNOWN
    return Truth(bool(value) and all(known(wanted.claim, wanted.label, wanted.named, one) for one in value))


def _absent(comparison: Comparison) -> Truth:
    """Only `present` has an answer where there is nothing."""
    return Truth(comparison.operand is False) if comparison.operator is Operator.PRESENT else Truth.UNKNOWN


def compare(comparison: Comparison, value: object, claims: Mapping[str, object]) -> Truth:
    """One comparison with a claim's value."""
    if comparison.operator is Operator.PRESENT:
        return Truth(comparison.operand is True)
    if comparison.operator in RELATIONS:
        other = claims.get(str(comparison.operand))
        return Truth.UNKNOWN if other is None else COMPARISONS[RELATIONS[comparison.operator]](value, other)
    return COMPARISONS[comparison.operator](value, comparison.operand)


def equal(value: object, wanted: object) -> Truth:
    """Same kind, same value; hexadecimal digits in either case. `true` is not 1, and "1" is not 1."""
    if isinstance(value, list) and isinstance(wanted, list | tuple):
        if len(value) != len(wanted):
            return Truth.FAILS
        results = {equal(one, other) for one, other in zip(value, wanted, strict=True)}
        return next((one for one in (Truth.UNKNOWN, Truth.FAILS) if one in results), Truth.HOLDS)
    if type(value) is not type(wanted):
        return Truth.UNKNOWN
    if isinstance(value, str) and isinstance(wanted, str):
        return Truth(value == wanted or (is_hex(wanted) and value.lower() == wanted.lower()))
    return Truth(value == wanted)


def one_of(value: object, wanted: object) -> Truth:
    """Equal to one of the values."""
    results = {equal(value, one) for one in wanted} if isinstance(wanted, Sequence) else {Truth.UNKNOWN}
    if Truth.HOLDS in results:
        return Truth.HOLDS
    return Truth.UNKNOWN if Truth.UNKNOWN in results else Truth.FAILS


def at_least(value: object, bound: object) -> Truth:
    """Numbers; lists of numbers and byte strings in hexadecimal component by component, of equal length only."""
    left, right = _components(value), _components(bound)
    if left is None or right is None or left[0] is not right[0] or len(left[1]) != len(right[1]):
        return Truth.UNKNOWN
    return Truth(all(one >= other for one, other in zip(left[1], right[1], strict=True)))


def at_most(value: object, bound: object) -> Truth:
    """As `at_least`, from the other side: every component is at most the bound's."""
    return at_least(bound, value)


def _components(value: object) -> tuple[type, tuple[int, ...]] | None:
    """The kind of a value and its numbers; None if it has none."""
    if type(value) is int:
        return int, (value,)
    if isinstance(value, list | tuple) and value and all(type(one) is int for one in value):
        return list, tuple(value)
    if isinstance(value, str) and is_hex(value):
        return str, tuple(bytes.fromhex(value))
    return None


def masked_equal(value: object, wanted: object) -> Truth:
    """The bits under the mask are those of the value: numbers, or byte strings in hexadecimal of equal length."""
    if not isinstance(wanted, tuple):
        return Truth.UNKNOWN
    mask, bits = wanted
    if isinstance(value, str) and isinstance(mask, str):
        if not is_hex(value) or len(value) != len(mask):
            return Truth.UNKNOWN
        value, mask, bits = int(value, 16), int(mask, 16), int(bits, 16)
    if type(value) is not int or type(mask) is not int:
        return Truth.UNKNOWN
    return Truth(value & mask == bits)


def contains(value: object, wanted: object) -> Truth:
    """A list claim has this element."""
    return one_of(wanted, value) if isinstance(value, list) else Truth.UNKNOWN


def parts_of(value: object, wanted: object) -> Truth:
    """A claim like `type=BL, version=3, signer_id=00ff` has these parts, whatever others it has."""
    if not isinstance(value, str) or not isinstance(wanted, Sequence):
        return Truth.UNKNOWN
    return Truth(set(wanted) <= set(value.split(", ")))


def each_in(value: object, wanted: object) -> Truth:
    """Every element of a list claim is among the values; an empty list has none that is not."""
    if not isinstance(value, list):
        return Truth.UNKNOWN
    return Truth(all(one_of(one, wanted) is Truth.HOLDS for one in value))


COMPARISONS: Final[dict[Operator, Callable[[object, object], Truth]]] = {
    Operator.EQUAL: equal,
    Operator.IN: one_of,
    Operator.MINIMUM: at_least,
    Operator.MAXIMUM: at_most,
    Operator.MASKED_EQUAL: masked_equal,
    Operator.CONTAINS: contains,
    Operator.EACH_IN: each_in,
    Operator.PARTS: parts_of,
}
RELATIONS: Final = {
    Operator.EQUAL_CLAIM: Operator.EQUAL,
    Operator.MINIMUM_CLAIM: Operator.MINIMUM,
    Operator.MAXIMUM_CLAIM: Operator.MAXIMUM,
}
"""Comparisons whose operand is the name of another claim."""

HEX: Final = frozenset("0123456789abcdefABCDEF")


def is_hex(text: str) -> bool:
    """Whether this is whole bytes in hexadecimal digits."""
    return bool(text) and len(text) % 2 == 0 and HEX.issuperset(text)


WORDS: Final = {
    Operator.EQUAL: "{}",
    Operator.IN: "one of {}",
    Operator.MINIMUM: "at least {}",
    Operator.MAXIMUM: "at most {}",
    Operator.CONTAINS: "a list with {}",
    Operator.EACH_IN: "nothing but {}",
    Operator.PARTS: "with {}",
    Operator.EQUAL_CLAIM: "the same as {}",
    Operator.MINIMUM_CLAIM: "at least {}",
    Operator.MAXIMUM_CLAIM: "at most {}",
}


def described(constraint: Constraint, *, subject: str = "") -> str:
    """The constraint in words. `subject` is the claim that needs no naming because the sentence is about it."""
    if isinstance(constraint, AllOf):
        return " and ".join(_inner(part, subject) for part in constraint.parts) or "anything"
    if isinstance(constraint, AnyOf):
        return " or ".join(_inner(part, subject) for part in constraint.parts) or "nothing (any of no alternatives)"
    if isinstance(constraint, Not):
        return f"not ({described(constraint.part, subject=subject)})"
    name = "" if constraint.claim == subject else f"{constraint.claim}: "
    if isinstance(constraint, Reference):
        what = "nothing but" if constraint.each else "one of the"
        return f"{name}{what} reference values" + (f" labelled {constraint.label!r}" if constraint.label else "")
    return name + _told(constraint)


def _inner(part: Constraint, subject: str) -> str:
    text = described(part, subject=subject)
    return f"({text})" if isinstance(part, AllOf | AnyOf) and len(part.parts) > 1 else text


def _told(comparison: Comparison) -> str:
    if comparison.operator is Operator.PRESENT:
        return "is there" if comparison.operand else "is not there"
    if comparison.operator is Operator.MASKED_EQUAL and isinstance(comparison.operand, tuple):
        mask, bits = (hex(one) if isinstance(one, int) else one for one in comparison.operand)
        return f"{bits} in the bits {mask}"
    return WORDS[comparison.operator].format(plain(comparison.operand) or "an empty list")


def plain(value: object) -> str:
    """A value as the policy file writes it."""
    if type(value) is str:
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(plain(one) for one in value)
    return str(value)


def claims_in(constraint: Constraint) -> set[str]:
    """The names of all claims that a constraint looks at, claims that it compares with among them."""
    if isinstance(constraint, AllOf | AnyOf):
        return {name for part in constraint.parts for name in claims_in(part)}
    if isinstance(constraint, Not):
        return claims_in(constraint.part)
    if isinstance(constraint, Comparison) and constraint.operator in RELATIONS:
        return {constraint.claim, str(constraint.operand)}
    return {constraint.claim}
