"""Each constraint, by what holds, what fails, and what cannot be said."""

import pytest

from cloister.appraise.parse_policy import parse_policy
from cloister.appraise.rules import Truth, described, evaluate
from cloister.model import Tee

CLAIMS: dict[str, object] = {
    "svn": 3, "zero": 0, "flags": 6, "hex": "0aff", "text": "UpToDate", "yes": True, "no": False,
    "svns": [3, 2, 1], "words": ["a", "b"], "empty": [], "other": 5, "bytes": "060304",
}  # fmt: skip
HOLDS, FAILS, UNKNOWN = Truth.HOLDS, Truth.FAILS, Truth.UNKNOWN
TABLE = [
    ("svn = 3", HOLDS),
    ("svn = 4", FAILS),
    ('svn = "3"', UNKNOWN),
    ("yes = true", HOLDS),
    ("yes = 1", UNKNOWN),
    ("zero = false", UNKNOWN),
    ('hex = "0AFF"', HOLDS),
    ('text = "uptodate"', FAILS),
    ('absent = "x"', UNKNOWN),
    ("absent = { not = { equal = 1 } }", UNKNOWN),
    ("svn = { not = { equal = 4 } }", HOLDS),
    ("svn = { not = { equal = true } }", UNKNOWN),
    ("svn = { in = [1, 3] }", HOLDS),
    ("svn = { in = [] }", FAILS),
    ("svn = { minimum = 3 }", HOLDS),
    ("svn = { minimum = 4 }", FAILS),
    ("svn = { minimum = 2, maximum = 3 }", HOLDS),
    ("yes = { minimum = 0 }", UNKNOWN),
    ("svns = { minimum = [3, 2, 1] }", HOLDS),
    ("svns = { minimum = [3, 3, 0] }", FAILS),
    ("svns = { minimum = [3, 2] }", UNKNOWN),
    ("svns = { minimum = 1 }", UNKNOWN),
    ('bytes = { minimum = "060204" }', HOLDS),
    ('bytes = { minimum = "050404" }', FAILS),
    ('bytes = { minimum = "06" }', UNKNOWN),
    ("svns = { maximum = [9, 9, 9] }", HOLDS),
    ("flags = { masked_equal = { mask = 2, value = 2 } }", HOLDS),
    ("flags = { masked_equal = { mask = 1, value = 1 } }", FAILS),
    ('hex = { masked_equal = { mask = "0f00", value = "0a00" } }', HOLDS),
    ('hex = { masked_equal = { mask = "0f", value = "0a" } }', UNKNOWN),
    ("text = { masked_equal = { mask = 0, value = 0 } }", UNKNOWN),
    ('words = { contains = "a" }', HOLDS),
    ('words = { contains = "c" }', FAILS),
    ('text = { contains = "U" }', UNKNOWN),
    ('words = { each_in = ["a", "b", "c"] }', HOLDS),
    ('words = { each_in = ["a"] }', FAILS),
    ("empty = { each_in = [] }", HOLDS),
    ('words = ["a", "b"]', HOLDS),
    ('words = ["a"]', FAILS),
    ("svn = { present = true }", HOLDS),
    ("svn = { present = false }", FAILS),
    ("absent = { present = true }", FAILS),
    ("absent = { present = false }", HOLDS),
    ('svn = { maximum_claim = "other" }', HOLDS),
    ('svn = { minimum_claim = "other" }', FAILS),
    ('svn = { equal_claim = "other" }', FAILS),
    ('svn = { maximum_claim = "absent" }', UNKNOWN),
    ("svn = { any_of = [] }", FAILS),
    ("svn = { any_of = [{ equal = 1 }, 3] }", HOLDS),
    ("svn = { any_of = [true, 3] }", HOLDS),
    ("svn = { any_of = [true, 4] }", UNKNOWN),
    ("svn = { all_of = [{ minimum = 1 }, { maximum = 3 }] }", HOLDS),
    ("svn = { all_of = [true, 4] }", FAILS),
    ("svn = { none_of = [1, 2] }", HOLDS),
    ("svn = { none_of = [1, 3] }", FAILS),
    ("svn = { none_of = [true] }", UNKNOWN),
    ("any_of = [{ svn = 1 }, { svn = 3, other = 5 }]", HOLDS),
    ("any_of = [{ svn = 1 }, { svn = 3, other = 6 }]", FAILS),
    ("any_of = []", FAILS),
    ("none_of = [{ svn = 3, other = 6 }]", HOLDS),
    ("none_of = [{ svn = 3, absent = 6 }]", UNKNOWN),
]


@pytest.mark.parametrize(("rule", "truth"), TABLE, ids=[rule for rule, _ in TABLE])
def test_constraints(rule: str, truth: Truth) -> None:
    (made,) = parse_policy(f"[sgx]\n{rule}\n").sections[Tee.SGX].rules
    assert evaluate(made.constraint, CLAIMS, lambda *_: False) is truth
    assert described(made.constraint, subject=made.subject)


def test_words() -> None:
    def words(rule: str) -> str:
        (made,) = parse_policy(f"[sgx]\n{rule}\n").sections[Tee.SGX].rules
        return described(made.constraint, subject=made.subject)

    assert words("svn = { minimum = 2, maximum = 3 }") == "at least 2 and at most 3"
    assert words('x = { in = "reference_values", label = "app" }') == "one of the reference values labelled 'app'"
    assert words("any_of = []") == "nothing (any of no alternatives)"
    assert words("x = { masked_equal = { mask = 2, value = 0 } }") == "0x0 in the bits 0x2"
