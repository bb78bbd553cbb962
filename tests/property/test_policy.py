"""What must hold of every policy: no demand makes a verdict better, errors name file and line, nothing denies."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.forge.plain import plainly_verified

from cloister._toml import read_toml
from cloister.appraise.appraisal import Claim
from cloister.appraise.judge import judge
from cloister.appraise.known_claims import PROGRAM
from cloister.appraise.parse_policy import parse_policy
from cloister.appraise.rules import AllOf, AnyOf, Comparison, Constraint, Not, Operator, Truth, evaluate
from cloister.appraise.vector import Tier, tier_of
from cloister.endorse.anchors import AnchorKind
from cloister.errors import PolicyError
from cloister.model import Tee
from cloister.verification.recipe import Tcb

names = st.sampled_from(["mrenclave", "mrsigner", "isvsvn", "attributes", "debug", "absent"])
digits = st.sampled_from(["aa", "bb", "00ff"])
scalars = digits | st.integers(0, 4) | st.booleans()
claims_dicts = st.fixed_dictionaries(
    {"debug": st.booleans()},
    optional={"mrenclave": digits, "mrsigner": digits, "isvsvn": st.integers(0, 4), "attributes": digits},
)


def toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    assert isinstance(value, dict)
    return f"{{ {', '.join(f'{key} = {toml(one)}' for key, one in value.items())} }}"


leaves = st.one_of(
    scalars,
    st.fixed_dictionaries({"equal": scalars}),
    st.fixed_dictionaries({"in": st.lists(scalars, max_size=3)}),
    st.fixed_dictionaries({"minimum": st.integers(0, 4)}),
    st.fixed_dictionaries({"maximum": st.integers(0, 4)}),
    st.fixed_dictionaries({"present": st.booleans()}),
)
constraints = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"any_of": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"all_of": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"none_of": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"not": inner}),
    ),
    max_leaves=6,
)
rules = st.dictionaries(names, constraints, max_size=4)
tcbs = st.builds(
    Tcb,
    status=st.sampled_from(["", "UpToDate", "OutOfDate", "SWHardeningNeeded", "Revoked", "Strange"]),
    advisories=st.lists(st.sampled_from(["INTEL-SA-1", "INTEL-SA-2"]), max_size=2, unique=True).map(tuple),
)
heads = st.sampled_from(
    ["", '[tcb]\ntolerated = ["SWHardeningNeeded"]\n', '[tcb]\ntolerated = ["OutOfDate"]\nunsafe_any_advisory = true\n']
)


def section(rules: dict[str, object], groups: str = "") -> str:
    return "[sgx]\n" + "".join(f"{claim} = {toml(rule)}\n" for claim, rule in rules.items()) + groups


@given(heads, rules, rules, claims_dicts, tcbs, st.sampled_from(AnchorKind))
def test_another_demand_never_makes_the_verdict_better(
    head: str, few: dict[str, object], more: dict[str, object], claims: dict[str, Claim], tcb: Tcb, kind: AnchorKind
) -> None:
    """Once somebody said which program may run: saying that is the one demand that must come first."""
    verified = plainly_verified(Tee.SGX, tcb=tcb, kind=kind)
    named = few | {"mrenclave": "aa"}
    weak = judge(verified, parse_policy(head + section(named)), claims=claims)
    extra = "[[sgx.all_of]]\n" + "".join(f"{claim} = {toml(rule)}\n" for claim, rule in more.items()) if more else ""
    strong = judge(verified, parse_policy(head + section(named, extra)), claims=claims)
    assert strong.status >= weak.status
    for claim, value in weak.vector.claimed().items():
        assert tier_of(strong.vector.values()[claim]) >= tier_of(value)


@given(rules, claims_dicts)
def test_a_constraint_added_to_a_rule_never_makes_it_hold(few: dict[str, object], claims: dict[str, object]) -> None:
    for rule in parse_policy(section(few)).sections[Tee.SGX].rules:
        alone = evaluate(rule.constraint, claims, lambda *_: False)
        added = AllOf((rule.constraint, Comparison(claim="isvsvn", operator=Operator.MINIMUM, operand=2)))
        if alone is not Truth.HOLDS:
            assert evaluate(added, claims, lambda *_: False) is not Truth.HOLDS


@given(rules, claims_dicts)
def test_what_is_absent_never_passes_a_comparison(few: dict[str, object], claims: dict[str, object]) -> None:
    """Neither as it is nor turned around: only `present` may be content with nothing."""
    without = {name: value for name, value in claims.items() if name != "isvsvn"}
    for operator in set(Operator) - {Operator.PRESENT}:
        test: Constraint = Comparison(claim="isvsvn", operator=operator, operand=1)
        for wrapped in (test, Not(test), Not(Not(test)), AllOf((test,)), AnyOf((test,))):
            assert evaluate(wrapped, without, lambda *_: True) is Truth.UNKNOWN
    del few


@given(st.sampled_from(Tee), st.booleans(), tcbs, st.dictionaries(st.text(max_size=8), st.text() | st.integers()))
def test_an_empty_policy_denies_for_every_tee(tee: Tee, debug: bool, tcb: Tcb, claims: dict[str, Claim]) -> None:  # noqa: FBT001
    verified = plainly_verified(tee, tcb=tcb)
    for text in ("", f"[{tee}]\n", f"[{tee}]\ndebug = false\n"):
        assert judge(verified, parse_policy(text), claims={**claims, "debug": debug}).status is Tier.CONTRAINDICATED


@given(st.sampled_from(Tee), digits)
def test_any_of_nothing_denies_for_every_tee(tee: Tee, digest: str) -> None:
    claim = min(PROGRAM[tee])
    text = f'[{tee}]\n{claim} = "{digest}"\n'
    claims: dict[str, Claim] = {claim: digest, "debug": False}
    assert judge(plainly_verified(tee), parse_policy(text), claims=claims).status is Tier.AFFIRMING
    text += "any_of = []\n"
    assert judge(plainly_verified(tee), parse_policy(text), claims=claims).status is Tier.CONTRAINDICATED


lines = st.sampled_from(
    [
        "[sgx]", "[[sgx.any_of]]", "[tcb]", "debug = false", "mrenclave = { in = [", '"aa",', "] }", 'x = """', '"""',
        "{",
        "tolerated = []", "oldest = 2024-01-01", "# note", "a.b = 1", "'''", "unsafe_x = true", "= 1",
        "x = {}", "\0", "é = 1",
    ]
)  # fmt: skip


@given(st.lists(lines | st.text(max_size=12), max_size=12).map("\n".join))
def test_whatever_the_text_an_error_names_file_and_line(text: str) -> None:
    try:
        parse_policy(text, name="p.toml")
    except PolicyError as error:
        found = re.match(r"p\.toml:(\d+): ", str(error))
        assert found
        assert 1 <= int(found[1]) <= text.count("\n") + text.count("\r") + 2


keys = st.text(alphabet="abc", min_size=1, max_size=3)
strings = st.text(alphabet='ab]["#=\n', max_size=6)


@given(st.lists(st.tuples(keys, strings | st.lists(st.integers(0, 9), max_size=3)), unique_by=lambda pair: pair[0]))
def test_lines_are_those_where_the_keys_stand(pairs: list[tuple[str, object]]) -> None:
    text, expected, line = "", {}, 1
    for key, value in pairs:
        written = "[\n" + ",\n".join(map(str, value)) + "\n]" if isinstance(value, list) else repr_multiline(str(value))
        expected[key] = line
        text += f"{key} = {written} # ] [\n"
        line = text.count("\n") + 1
    document = read_toml(text, "p.toml")
    assert {key: document.line((key,)) for key in expected} == expected


def repr_multiline(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"""{escaped}"""'


@pytest.mark.parametrize("tee", Tee)
def test_every_tee_has_a_claim_that_names_the_program(tee: Tee) -> None:
    assert PROGRAM[tee]
