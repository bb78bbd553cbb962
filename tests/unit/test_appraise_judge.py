"""Verdicts, value by value."""

import pickle
from datetime import UTC, datetime

import pytest
from tests.forge.plain import plainly_verified

from cloister.appraise.appraisal import Appraisal, Claim
from cloister.appraise.judge import judge, judge_without_policy
from cloister.appraise.parse_policy import parse_policy
from cloister.appraise.reference import ReferenceValue, ReferenceValues
from cloister.appraise.vector import Tier
from cloister.endorse.anchors import AnchorKind
from cloister.model import Tee
from cloister.verification.recipe import Check, CheckState, Tcb

GOOD = '[sgx]\nmrenclave = "aa"\n'
UP_TO_DATE, NO_VALUES = Tcb(status="UpToDate"), ReferenceValues()
CLAIMS: dict[str, Claim] = {"mrenclave": "aa", "mrsigner": "bb", "isvsvn": 3, "debug": False}


def verdict(
    policy: str = GOOD,
    *,
    tee: Tee = Tee.SGX,
    tcb: Tcb = UP_TO_DATE,
    kind: AnchorKind = AnchorKind.HARDWARE,
    references: ReferenceValues = NO_VALUES,
    **claims: Claim,
) -> Appraisal:
    verified = plainly_verified(tee, tcb=tcb, kind=kind)
    return judge(verified, parse_policy(policy), references, claims={**CLAIMS, **claims})


def check(appraisal: Appraisal, title: str) -> Check:
    return next(one for one in appraisal.checks if title in one.title)


def test_good_evidence_is_affirmed() -> None:
    appraisal = verdict()
    assert appraisal.status is Tier.AFFIRMING
    assert appraisal.vector.claimed() == {"instance_identity": 2, "configuration": 2, "executables": 2, "hardware": 2}
    assert appraisal.unchecked == ()
    assert appraisal.policy_id.startswith("sha256:")
    assert [one.number for one in appraisal.checks] == ["PLAIN-1", *(f"POLICY-{n}" for n in range(1, 6))]
    assert check(appraisal, "sgx.mrenclave").set_by == "policy.toml:2"


def test_an_explanation_is_made_once_when_it_is_read() -> None:
    appraisal = verdict(mrenclave="ab")
    assert "checks" not in vars(appraisal)
    assert type(appraisal.checks) is tuple
    assert appraisal.checks is appraisal.checks


def test_an_explanation_says_what_was_so_while_it_was_judged() -> None:
    claims: dict[str, Claim] = {**CLAIMS, "mrenclave": "ab"}
    appraisal = judge(plainly_verified(Tee.SGX, tcb=UP_TO_DATE), parse_policy(GOOD), claims=claims)
    claims["mrenclave"] = "aa"
    assert check(appraisal, "sgx.mrenclave").actual == "ab"
    assert appraisal.claims["mrenclave"] == "ab"


def test_appraisals_are_equal_if_all_they_rest_on_is() -> None:
    verified = plainly_verified(Tee.SGX, tcb=UP_TO_DATE)
    one, same = (judge(verified, parse_policy(GOOD), claims=CLAIMS) for _ in range(2))
    assert one == same
    moved = judge(verified, parse_policy("\n" + GOOD), claims=CLAIMS)
    assert moved.checks != one.checks
    assert moved != one


def test_an_appraisal_travels_with_its_explanation() -> None:
    appraisal = verdict(mrenclave="ab")
    travelled = pickle.loads(pickle.dumps(appraisal))  # noqa: S301 - what was made one line above
    assert travelled.checks == appraisal.checks
    assert travelled.status is appraisal.status


def test_a_machine_is_approved_as_booted() -> None:
    appraisal = verdict('[tdx]\nmrtd = "aa"', tee=Tee.TDX, mrtd="aa")
    assert appraisal.vector.executables == 3


FAILURES = {
    "another program": (GOOD, {"mrenclave": "ab"}, "executables", 96),
    "another program, only warned of": (
        '[sgx]\nmrenclave = { equal = "aa", on_failure = "warning" }', {"mrenclave": "ab"}, "executables", 33,
    ),
    "a program with a value of one's own": (
        '[sgx]\nmrenclave = { equal = "aa", on_failure = 32 }', {"mrenclave": "ab"}, "executables", 32,
    ),
    "an old program": (GOOD + "isvsvn = { minimum = 4 }", {}, "executables", 96),
    "another signer": (GOOD + 'mrsigner = "cc"', {}, "instance_identity", 97),
    "a claim that is not there": (GOOD + 'config_id = "00"', {}, "configuration", 96),
    "a rule for another trust claim": (
        GOOD + 'isvsvn = { equal = 1, decides = "file_system" }', {}, "file_system", 96,
    ),
    "debug": (GOOD, {"debug": True}, "configuration", 96),
    "debug allowed": (GOOD + "unsafe_allow_debug = true", {"debug": True}, "configuration", 32),
    "nobody said whether it is debug": (GOOD, {"debug": "no"}, "configuration", 36),
    "any program": ("[sgx]\nunsafe_any_measurement = true", {}, "executables", 33),
    "no section": ("[tdx]\nmrtd = 'aa'", {}, "executables", 96),
    "a section without a program": ("[sgx]\nisvsvn = 3", {}, "executables", 96),
    "the signer alone": ('[sgx]\nmrsigner = "bb"', {}, "executables", 96),
    "any of nothing": (GOOD + "any_of = []", {}, "executables", 96),
}  # fmt: skip


@pytest.mark.parametrize(("policy", "claims", "lowered", "value"), FAILURES.values(), ids=FAILURES)
def test_each_failure_lowers_the_claim_it_is_about(
    policy: str, claims: dict[str, Claim], lowered: str, value: int
) -> None:
    appraisal = judge(plainly_verified(Tee.SGX), parse_policy(policy), claims=CLAIMS | claims)
    assert appraisal.vector.values()[lowered] == value
    assert appraisal.status is (Tier.WARNING if value < 96 else Tier.CONTRAINDICATED)
    spoken = [one for one in appraisal.checks if one.state in {CheckState.FAILED, CheckState.UNCHECKED}]
    assert spoken
    assert all(one.set_by.startswith("policy.toml") for one in spoken)


def test_a_signer_may_stand_for_the_program_if_the_policy_says_so() -> None:
    policy = '[sgx]\nmrsigner = { equal = "bb", decides = "executables" }'
    assert verdict(policy).status is Tier.AFFIRMING
    assert verdict(policy, mrsigner="bc").vector.executables == 96


def test_a_rule_that_holds_affirms_what_no_step_speaks_of() -> None:
    assert verdict(GOOD + 'isvsvn = { equal = 3, decides = "file_system" }').vector.file_system == 2


TCB = {
    "no status": ("", (), "", 2),
    "up to date": ("UpToDate", (), "", 2),
    "hardening": ("SWHardeningNeeded", (), "", 32),
    "hardening, tolerated": ("SWHardeningNeeded", (), 'tolerated = ["SWHardeningNeeded"]', 2),
    "hardening with an advisory": ("SWHardeningNeeded", ("INTEL-SA-1",), 'tolerated = ["SWHardeningNeeded"]', 32),
    "hardening with a tolerated advisory": (
        "SWHardeningNeeded", ("INTEL-SA-1",),
        'tolerated = ["SWHardeningNeeded"]\ntolerated_advisories = ["INTEL-SA-1"]', 2,
    ),
    "a tolerated advisory and another": (
        "SWHardeningNeeded", ("INTEL-SA-1", "INTEL-SA-2"),
        'tolerated = ["SWHardeningNeeded"]\ntolerated_advisories = ["INTEL-SA-1"]', 32,
    ),
    "advisories without their status": ("OutOfDate", ("INTEL-SA-1",), 'tolerated_advisories = ["INTEL-SA-1"]', 32),
    "another status tolerated": ("OutOfDate", (), 'tolerated = ["SWHardeningNeeded"]', 32),
    "any advisory": (
        "OutOfDate", ("INTEL-SA-1",), 'tolerated = ["OutOfDate"]\nunsafe_any_advisory = true', 2,
    ),
    "out of date is refused": ("OutOfDate", (), 'on_failure = "contraindicated"', 96),
    "revoked": ("Revoked", (), "", 96),
    "revoked, tolerated knowingly": ("Revoked", (), 'unsafe_tolerated = ["Revoked"]', 2),
    "not supported": ("NotSupported", (), "", 97),
    "a word that nobody knows": ("Splendid", (), "", 97),
    "relaunch": ("TDRelaunchAdvised", (), "", 32),
}  # fmt: skip


@pytest.mark.parametrize(("status", "advisories", "tcb", "value"), TCB.values(), ids=TCB)
def test_tcb_status(status: str, advisories: tuple[str, ...], tcb: str, value: int) -> None:
    appraisal = verdict(f"[tcb]\n{tcb}\n{GOOD}", tcb=Tcb(status=status, advisories=advisories))
    assert appraisal.vector.hardware == value


@pytest.mark.parametrize(
    ("date", "value"), [(None, 32), (datetime(2023, 1, 1, tzinfo=UTC), 32), (datetime(2024, 1, 1, tzinfo=UTC), 2)]
)
def test_tcb_date(date: datetime | None, value: int) -> None:
    appraisal = verdict(f"[tcb]\noldest = 2024-01-01\n{GOOD}", tcb=Tcb(status="UpToDate", date=date))
    assert appraisal.vector.hardware == value


@pytest.mark.parametrize("kind", sorted(set(AnchorKind) - {AnchorKind.HARDWARE}))
def test_other_anchors_must_be_named(kind: AnchorKind) -> None:
    refused = verdict(kind=kind)
    assert refused.status is Tier.CONTRAINDICATED
    assert refused.vector.hardware == refused.vector.instance_identity == 97
    named = verdict(f'accept_anchors = ["{kind}"]\n{GOOD}', kind=kind)
    assert named.status is Tier.AFFIRMING
    assert named.anchor_kind == kind
    assert named.vector.hardware == (2 if kind is AnchorKind.OWNER else 0)


def test_naming_testing_anchors_leaves_hardware_out() -> None:
    assert verdict(f'accept_anchors = ["testing"]\n{GOOD}').status is Tier.CONTRAINDICATED


def test_reference_values_by_name_label_and_what_they_are_given_for() -> None:
    values = ReferenceValues(
        [
            ReferenceValue(tee=Tee.SGX, name="mrenclave", operand="aa", label="app", provenance="build 7"),
            ReferenceValue(tee=Tee.TDX, name="mrenclave", operand="cc"),
            ReferenceValue(tee=Tee.SGX, name="mrenclave", operand="dd", given=(("isvsvn", 4),)),
        ]
    )
    policy = '[sgx]\nmrenclave = { in = "reference_values" }'
    appraisal = verdict(policy, references=values)
    assert appraisal.status is Tier.AFFIRMING
    assert check(appraisal, "sgx.mrenclave").detail == "app from build 7"
    assert verdict(policy, references=values, mrenclave="cc").vector.executables == 96
    assert verdict(policy, references=values, mrenclave="dd").vector.executables == 96
    assert verdict(policy, references=values, mrenclave="dd", isvsvn=4).vector.executables == 2
    labelled = '[sgx]\nmrenclave = { in = "reference_values", label = "other" }'
    assert verdict(labelled, references=values).vector.executables == 96
    assert verdict(policy).vector.executables == 96, "no reference values at all"


def test_without_a_policy_the_program_is_not_judged() -> None:
    appraisal = judge_without_policy(plainly_verified(Tee.SGX), claims=CLAIMS)
    assert appraisal.status is Tier.WARNING
    assert appraisal.vector.claimed() == {"instance_identity": 2, "configuration": 2, "hardware": 2}
    assert any("nobody said which program should run" in line for line in appraisal.unchecked)
    assert appraisal.policy_id == ""


def test_without_a_policy_what_is_bad_stays_bad() -> None:
    revoked = plainly_verified(Tee.SGX, tcb=Tcb(status="Revoked"))
    assert judge_without_policy(revoked, claims=CLAIMS).status is Tier.CONTRAINDICATED
    debug = judge_without_policy(plainly_verified(Tee.SGX), claims={**CLAIMS, "debug": True})
    assert debug.status is Tier.CONTRAINDICATED


def test_failures_say_what_mends_them_and_what_they_cost() -> None:
    appraisal = verdict(mrenclave="ab", debug=True, kind=AnchorKind.TESTING, tcb=Tcb(status="OutOfDate"))
    failed = [one for one in appraisal.checks if one.state is CheckState.FAILED]
    assert len(failed) == 4
    assert all(one.fix and one.cost and one.expected and one.actual for one in failed)
