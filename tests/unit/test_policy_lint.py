"""What `cloister policy check` remarks, and that good policies get no remark."""

import pytest

from cloister.appraise.lint_policy import lint
from cloister.appraise.parse_policy import parse_policy
from cloister.appraise.reference import ReferenceValue, ReferenceValues
from cloister.model import Tee

MRENCLAVE = "ab" * 32
GOOD = f'[sgx]\nmrenclave = "{MRENCLAVE}"\ndebug = false\n'

REMARKS = {
    "nothing at all": ("", 0, "no section", False),
    "no program": ("[sgx]\ndebug = false\n", 1, "which program", False),
    "any program": ("[sgx]\nunsafe_any_measurement = true\n", 2, "any program", True),
    "debug": (GOOD + "unsafe_allow_debug = true\n", 4, "debug", True),
    "only debug": (f'[sgx]\nmrenclave = "{MRENCLAVE}"\ndebug = true\n', 3, "not debug", True),
    "testing roots": ('accept_anchors = ["testing", "hardware"]\n' + GOOD, 1, "testing", True),
    "no anchors": ("accept_anchors = []\n" + GOOD, 1, "no kind of anchor", False),
    "Revoked": ('[tcb]\nunsafe_tolerated = ["Revoked"]\n' + GOOD, 2, "Revoked", True),
    "any advisory": ("[tcb]\nunsafe_any_advisory = true\n" + GOOD, 2, "advisories", True),
    "advisories alone": ('[tcb]\ntolerated_advisories = ["INTEL-SA-1"]\n' + GOOD, 2, "no effect", False),
    "unsigned manifests": ("[reference_values]\nunsafe_unsigned = true\n" + GOOD, 2, "nobody signed", True),
    "a claim that does not exist": (GOOD + "isvsnv = 3\n", 4, "isvsnv", False),
    "a claim of another TEE": (GOOD + 'rtmr1 = "00"\n', 4, "rtmr1", False),
    "a related claim that does not exist": (GOOD + 'isvsvn = { minimum_claim = "svn" }\n', 4, "svn", False),
    "any of nothing": (GOOD + "isvsvn = { any_of = [] }\n", 4, "never holds", False),
    "groups, any of nothing": (GOOD + "any_of = []\n", 4, "never holds", False),
    "in an empty list": (GOOD + "isvsvn = { in = [] }\n", 4, "never holds", False),
    "too short a digest": ('[sgx]\nmrenclave = "abcd"\n', 2, "32 bytes", False),
    "two values at once": (GOOD + "isvsvn = { all_of = [1, 2] }\n", 4, "contradict", False),
    "more than the most": (GOOD + "isvsvn = { minimum = 5, maximum = 4 }\n", 4, "contradict", False),
    "a value beyond its bound": (GOOD + "isvsvn = { in = [1, 2], minimum = 3 }\n", 4, "contradict", False),
    "firmware only": (f'[tdx]\nmrtd = "{"ab" * 48}"\n', 1, "rtmr1", False),
    "a signer without a version": (
        f'[sgx]\nmrsigner = {{ equal = "{MRENCLAVE}", decides = "executables" }}\n', 2, "isvsvn", False,
    ),
    "an anchor that this TEE never has": (f'[keystone]\nenclave_hash = "{"ab" * 64}"\n', 1, "owner", False),
    "values that are not there": ('[sgx]\nmrenclave = { in = "reference_values" }\n', 2, "no reference", False),
    "a label that is not there": (
        '[sgx]\nisvsvn = { in = "reference_values", label = "v2" }\nunsafe_any_measurement = true\n', 2, "'v2'", False,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line", "words", "dangerous"), REMARKS.values(), ids=REMARKS)
def test_remarks(text: str, line: int, words: str, dangerous: bool) -> None:  # noqa: FBT001 - a table's column
    references = ReferenceValues([ReferenceValue(tee=Tee.SGX, name="isvsvn", operand=1, label="v1")])
    found = [one for one in lint(parse_policy(text), references) if words in one.text]
    assert found, [one.text for one in lint(parse_policy(text), references)]
    assert found[0].place == (f"policy.toml:{line}" if line else "policy.toml")
    assert found[0].dangerous is dangerous


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        GOOD + "isvsvn = { minimum = 3, maximum = 3 }\n",
        GOOD + "isvsvn = { in = [1, 5], minimum = 3 }\n",
        GOOD + 'advisories = { each_in = ["INTEL-SA-1"] }\n',
        f'accept_anchors = ["owner"]\n[keystone]\nenclave_hash = "{"ab" * 64}"\n',
    ],
)
def test_no_remarks(text: str) -> None:
    assert lint(parse_policy(text), ReferenceValues()) == []
