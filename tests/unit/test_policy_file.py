"""What a policy file may say, and that whatever else it says is refused with file and line."""

import pickle

import pytest

from cloister.appraise.parse_policy import parse_policy
from cloister.appraise.rules import AnyOf, Comparison, Operator, Reference
from cloister.endorse.anchors import AnchorKind
from cloister.errors import PolicyError
from cloister.model import Tee

FULL = """\
# a comment
accept_anchors = ["hardware", "testing"]

[tcb]
tolerated = ["SWHardeningNeeded"]
tolerated_advisories = [
    "INTEL-SA-00334",
    "INTEL-SA-00615",
]
oldest = 2024-03-13

[reference_values]
files = ["rv.json"]

[sgx]
mrenclave = { in = "reference_values", label = "app" }
isvsvn = { minimum = 3, because = "three mends the leak" }
attributes = { masked_equal = { mask = 0x2, value = 0 } }
debug = false

[tdx]
any_of = []

[[snp.any_of]]
measurement = "00"

[[snp.any_of]]
measurement = "01"
guest_svn = { minimum = 2 }
"""


def test_everything_lands_where_it_belongs() -> None:
    policy = parse_policy(FULL)
    assert policy.accept_anchors == {AnchorKind.HARDWARE, AnchorKind.TESTING}
    assert policy.tcb.tolerated == {"SWHardeningNeeded": "policy.toml:5"}
    assert set(policy.tcb.tolerated_advisories) == {"INTEL-SA-00334", "INTEL-SA-00615"}
    assert policy.tcb.oldest is not None
    assert policy.tcb.oldest.isoformat() == "2024-03-13T00:00:00+00:00"
    assert policy.references.files == (("rv.json", "policy.toml:13"),)
    assert policy.sections.keys() == {Tee.SGX, Tee.TDX, Tee.SNP}
    rules = policy.sections[Tee.SGX].rules
    assert rules[0].constraint == Reference(claim="mrenclave", label="app")
    assert rules[1].constraint == Comparison(claim="isvsvn", operator=Operator.MINIMUM, operand=3)
    assert rules[1].because == "three mends the leak"
    assert [rule.place for rule in rules] == [f"policy.toml:{line}" for line in (16, 17, 18, 19)]
    assert [rule.names_program for rule in rules] == [True, False, False, False]
    (tdx,) = policy.sections[Tee.TDX].rules
    assert tdx.constraint == AnyOf(())
    (snp,) = policy.sections[Tee.SNP].rules
    assert snp.place == "policy.toml:24"
    assert snp.names_program


def test_the_identifier_is_that_of_the_text() -> None:
    assert parse_policy(FULL).policy_id != parse_policy(FULL + "\n").policy_id
    assert parse_policy("").policy_id == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_an_empty_policy_accepts_hardware_only_and_has_no_section() -> None:
    policy = parse_policy("")
    assert policy.accept_anchors == {AnchorKind.HARDWARE}
    assert not policy.sections


REFUSED = {
    "not TOML": ("a = \n", 1, "Invalid value"),
    "ends inside a list": ('[sgx]\nmrenclave = { in = [\n"00",\n', 3, "file ends"),
    "a key twice": ("[sgx]\ndebug = false\ndebug = true\n", 3, "overwrite"),
    "a number that is too long": ("[sgx]\ndebug = false\nisvsvn = " + "9" * 5000 + "\n", 3, "digits"),
    "unknown key": ("\nacept_anchors = []\n", 2, "acept_anchors"),
    "unknown TEE": ("\n[sgxx]\nmrenclave = 1\n", 2, "sgxx"),
    "a TEE that is no table": ("sgx = 1\n", 1, "table"),
    "unknown key in tcb": ("[tcb]\ntolerate = []\n", 2, "tolerate"),
    "tolerates everything": ("[tcb]\ntolerated = true\n", 2, "list of strings"),
    "tolerates an unknown status": ('[tcb]\n\ntolerated = ["SwHardeningNeeded"]\n', 3, "SwHardeningNeeded"),
    "tolerates Revoked without unsafe": ('[tcb]\ntolerated = ["Revoked"]\n', 2, "unsafe_tolerated"),
    "a date in quotes": ('[tcb]\noldest = "2024-03-13"\n', 2, "without quotes"),
    "an unknown anchor kind": ('accept_anchors = ["any"]\n', 1, "any"),
    "unknown key in reference values": ("[reference_values]\nfile = 1\n", 2, "file"),
    "an unsafe switch that is no switch": ('[sgx]\nunsafe_allow_debug = "yes"\n', 2, "true or false"),
    "an unknown unsafe switch": ("[sgx]\nunsafe_allow_everything = true\n", 2, "unsafe_allow_everything"),
    "an unknown operator": ("[sgx]\nmrenclave = { eqal = 1 }\n", 2, "eqal"),
    "a rule that demands nothing": ('[sgx]\nmrenclave = { because = "x" }\n', 2, "demands nothing"),
    "an empty rule": ("[sgx]\nmrenclave = {}\n", 2, "demands nothing"),
    "all of nothing": ("[sgx]\nmrenclave = { all_of = [] }\n", 2, "demands nothing"),
    "none of nothing": ("[sgx]\nnone_of = []\n", 2, "demands nothing"),
    "an alternative that demands nothing": ("[[sgx.any_of]]\nisvsvn = 1\n[[sgx.any_of]]\n[tdx]\n", 3, "always hold"),
    "any_of that is no list": ("[sgx]\nany_of = 1\n", 2, "list of tables"),
    "a fraction": ("[sgx]\nisvsvn = 1.5\n", 2, "compared with no claim"),
    "a date as value": ("[sgx]\nisvsvn = 2024-01-01\n", 2, "compared with no claim"),
    "in without a list": ('[sgx]\nmrenclave = { in = "00" }\n', 2, "is a list"),
    "a minimum that has no order": ('[sgx]\nisvsvn = { minimum = "three" }\n', 2, "whole number"),
    "a minimum of true": ("[sgx]\nisvsvn = { minimum = true }\n", 2, "whole number"),
    "a mask that is none": ("[sgx]\nattributes = { masked_equal = 2 }\n", 2, "mask ="),
    "bits outside the mask": (
        "[sgx]\nattributes = { masked_equal = { mask = 1, value = 2 } }\n", 2, "never hold",
    ),
    "mask and value of different length": (
        '[sgx]\nattributes = { masked_equal = { mask = "00ff", value = "00" } }\n', 2, "same number of bytes",
    ),
    "a relation to itself": ('[snp]\nx = { maximum_claim = "x" }\n', 2, "another claim"),
    "present that is no switch": ("[snp]\nx = { present = 1 }\n", 2, "true or false"),
    "an unknown trust claim": ('[snp]\nx = { equal = 1, decides = "software" }\n', 2, "decides"),
    "a failure that affirms": ("[snp]\nx = { equal = 1, on_failure = 2 }\n", 2, "on_failure"),
    "a failure that says nothing": ("[snp]\nx = { equal = 1, on_failure = 0 }\n", 2, "on_failure"),
    "a failure by an unknown word": ('[snp]\nx = { equal = 1, on_failure = "ignore" }\n', 2, "on_failure"),
    "a label without reference values": ('[snp]\nx = { equal = 1, label = "a" }\n', 2, "reference_values"),
    "nested too deeply": ("[snp]\nx = " + "{ not = " * 40 + "1" + " }" * 40 + "\n", 2, "nested"),
    "too long": ("#" * 300_000, 1, "characters"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_refused_with_file_and_line(text: str, line: int, reason: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy(text, name="my.toml")
    assert str(caught.value).startswith(f"my.toml:{line}: ")
    assert reason in str(caught.value)


def test_nesting_beyond_any_parser_is_refused_too() -> None:
    with pytest.raises(PolicyError, match=r"my\.toml:\d+: "):
        parse_policy("x = " + "[" * 5000 + "]" * 5000, name="my.toml")


def test_lines_are_right_after_strings_and_lists_of_many_lines() -> None:
    text = (
        '[sgx]\nx = """\n[not.a.table]\n"""\ny = { in = [\n  1, # ]\n  2,\n] }\nz = \'\'\'\n"""\'\'\'\n[tdx]\nw = "#"\n'
    )
    policy = parse_policy(text)
    assert [rule.place for rule in policy.sections[Tee.SGX].rules] == [f"policy.toml:{n}" for n in (2, 5, 9)]
    assert [rule.place for rule in policy.sections[Tee.TDX].rules] == ["policy.toml:12"]


def test_windows_line_ends_count_as_one_line() -> None:
    with pytest.raises(PolicyError, match=r"^policy\.toml:3: "):
        parse_policy("[sgx]\r\ndebug = false\r\nx = {}\r\n")


PINS = {
    "equal": ('mrenclave = "00"', True),
    "in a list": ('mrenclave = { in = ["00"] }', True),
    "in the reference values": ('mrenclave = { in = "reference_values" }', True),
    "one of two alternatives for one claim": ('mrenclave = { any_of = [{ equal = "00" }, { equal = "01" }] }', True),
    "any of nothing": ("mrenclave = { any_of = [] }", False),
    "not": ('mrenclave = { not = { equal = "00" } }', False),
    "none of": ('mrenclave = { none_of = ["00"] }', False),
    "present": ("mrenclave = { present = true }", False),
    "at least": ('mrenclave = { minimum = "00" }', False),
    "under a mask": ('mrenclave = { masked_equal = { mask = "00", value = "00" } }', False),
    "the same as another claim": ('mrenclave = { equal_claim = "mrsigner" }', False),
    "one alternative that names no program": ('mrenclave = { any_of = [{ equal = "00" }, { present = true }] }', False),
    "the signer": ('mrsigner = "00"', False),
    "the signer, said to decide": ('mrsigner = { equal = "00", decides = "executables" }', True),
    "the measurement, said to decide something else": (
        'mrenclave = { equal = "00", decides = "configuration" }', False,
    ),
    "a claim that cannot decide it": ('debug = { equal = false, decides = "executables" }', False),
    "groups that all name it": ('any_of = [{ mrenclave = "00" }, { mrenclave = "01", isvsvn = 2 }]', True),
    "groups of which one does not": ('any_of = [{ mrenclave = "00" }, { isvsvn = 2 }]', False),
    "groups, one by the signer": ('any_of = [{ mrenclave = "00" }, { mrsigner = "00" }]', False),
    "none of some groups": ('none_of = [{ mrenclave = "00" }]', False),
    "all of some groups": ('all_of = [{ mrenclave = "00" }, { isvsvn = 2 }]', True),
}  # fmt: skip


@pytest.mark.parametrize(("rule", "names"), PINS.values(), ids=PINS)
def test_which_rules_say_what_program_may_run(rule: str, names: bool) -> None:  # noqa: FBT001 - a table's column
    (made,) = parse_policy(f"[sgx]\n{rule}\n").sections[Tee.SGX].rules
    assert made.names_program is names


def test_policies_travel_between_processes() -> None:
    policy = parse_policy(FULL)
    assert pickle.loads(pickle.dumps(policy)) == policy  # noqa: S301 - what was made one line above
