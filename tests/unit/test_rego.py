"""Rego policies in the forms that Trustee and Veraison deploy, and what they cannot do."""

import time
from collections.abc import Mapping

import pytest
from tests.forge.plain import plainly_verified

from cloister.appraise.appraisal import Appraisal, Claim
from cloister.appraise.judge_rego import judge_by_rego
from cloister.appraise.reference import ReferenceValue, ReferenceValues
from cloister.appraise.rego import parse_rego
from cloister.appraise.vector import Tier
from cloister.endorse.anchors import AnchorKind
from cloister.errors import PolicyError
from cloister.model import Tee
from cloister.verification.recipe import Tcb

pytest.importorskip("regopy", reason="the rego extra is not installed")

TRUSTEE = """\
package policy

import rego.v1

default executables := 33

default hardware := 97

default configuration := 36

trust_claims := {
    "executables": executables,
    "hardware": hardware,
    "configuration": configuration,
    "file-system": 0,
}

executables := 3 if {
    input.snp
    input.snp.evidence.measurement in query_reference_value("snp_launch_measurement")
}

hardware := 2 if {
    input.snp
    input.snp.evidence.reported_tcb.bootloader in query_reference_value("snp_bootloader")
}

configuration := 2 if {
    input.snp
    input.snp.evidence.policy.debug_allowed == false
    input.snp.evidence.policy.abi_major == query_reference_value("snp_guest_abi_major")
} else := 3 if {
    input.snp
    input.snp.evidence.policy.debug_allowed == false
}

executables := 3 if {
    input.tdx.quote.body.rtmr_1 in query_reference_value("rtmr_1")
    input.tdx.quote.body.mr_td in data.reference.mr_td
}

hardware := 2 if {
    input.tdx.quote.header.tee_type == "81000000"
    input.tdx.tcb_status == "UpToDate"
    input.tdx.collateral_expiration_status == "0"
}

configuration := 2 if input.tdx.td_attributes.debug == false
"""
NO_STATUS, NO_VALUES = Tcb(), ReferenceValues()
SNP: dict[str, Claim] = {
    "measurement": "aa" * 48, "policy": 0x30100, "platform_info": 1, "reported_tcb_bootloader": 3, "debug": False,
}  # fmt: skip
TDX: dict[str, Claim] = {"mrtd": "bb", "rtmr1": "cc", "debug": False, "tcb_status": "UpToDate"}
SNP_DATA = {"snp_launch_measurement": ["aa" * 48], "snp_bootloader": [3, 4], "snp_guest_abi_major": 1}


def verdict(
    text: str,
    claims: Mapping[str, Claim],
    tee: Tee = Tee.SNP,
    *,
    data: Mapping[str, object] = SNP_DATA,
    kind: AnchorKind = AnchorKind.HARDWARE,
    tcb: Tcb = NO_STATUS,
    references: ReferenceValues = NO_VALUES,
) -> Appraisal:
    verified = plainly_verified(tee, kind=kind, tcb=tcb)
    return judge_by_rego(verified, parse_rego(text), references, reference_data=data, claims=claims)


def test_a_policy_for_trustee_affirms_what_its_reference_values_have() -> None:
    appraisal = verdict(TRUSTEE, SNP)
    assert appraisal.status is Tier.AFFIRMING
    assert (appraisal.vector.executables, appraisal.vector.hardware, appraisal.vector.configuration) == (3, 2, 2)
    line = next(one for one in appraisal.checks if one.title == "Rego: executables")
    assert line.set_by == "policy.rego:5"


def test_a_policy_for_trustee_falls_back_to_its_defaults() -> None:
    appraisal = verdict(TRUSTEE, SNP | {"measurement": "00"})
    assert appraisal.vector.executables == 33
    assert appraisal.status is Tier.WARNING
    assert verdict(TRUSTEE, SNP | {"reported_tcb_bootloader": 2}).vector.hardware == 97
    assert verdict(TRUSTEE, SNP, data={}).vector.values() | {"instance_identity": 0} == {
        "instance_identity": 0, "configuration": 3, "executables": 33, "file_system": 0, "hardware": 97,
        "runtime_opaque": 0, "storage_opaque": 0, "sourced_data": 0,
    }  # fmt: skip


def test_tdx_in_trustee_s_shape_and_reference_values_of_ours() -> None:
    references = ReferenceValues(
        [
            ReferenceValue(tee=Tee.TDX, name="rtmr_1", operand="cc"),
            ReferenceValue(tee=Tee.TDX, name="mr_td", operand="bb"),
        ]
    )
    assert verdict(TRUSTEE, TDX, Tee.TDX, references=references, data={}).status is Tier.AFFIRMING
    assert verdict(TRUSTEE, TDX | {"rtmr1": "00"}, Tee.TDX, references=references, data={}).vector.executables == 33


VERAISON = """\
package policy

executables = APPROVED_RT {
  some i
  evidence.parts[i] == "BL"
  semver_cmp(evidence.version, "3.5") >= 0
} else = UNSAFE_RT
"""


@pytest.mark.parametrize(("version", "value"), [("3.5", 2), ("3.10.1", 2), ("3.4.9", 32)])
def test_a_policy_for_veraison_in_the_older_syntax(version: str, value: int) -> None:
    appraisal = verdict(VERAISON, {"parts": ["M1", "BL"], "version": version, "debug": False})
    assert appraisal.vector.executables == value
    assert appraisal.vector.hardware == 2


def test_a_policy_for_veraison_that_sets_the_status_alone() -> None:
    text = """package policy
status = AFFIRMING { base64.decode(evidence.realm["cca-realm-challenge"]) == "abc" } else = CONTRAINDICATED
"""
    claims: dict[str, Claim] = {"challenge": b"abc".hex(), "rim": "00", "debug": False}
    assert verdict(text, claims, Tee.CCA).status is Tier.WARNING, "it says nothing about the program"
    assert verdict(text, claims | {"challenge": "00"}, Tee.CCA).status is Tier.CONTRAINDICATED


PERMISSIVE = """package policy
import rego.v1
trust_claims := {"executables": 2, "hardware": 2, "configuration": 2, "instance-identity": 2}
"""


def test_no_policy_makes_good_what_it_cannot_judge() -> None:
    assert verdict(PERMISSIVE, SNP).status is Tier.AFFIRMING
    assert verdict(PERMISSIVE, SNP | {"debug": True}).vector.configuration == 96
    assert verdict(PERMISSIVE, {"measurement": "aa"}).vector.configuration == 36
    assert verdict(PERMISSIVE, SNP, tcb=Tcb(status="Revoked")).status is Tier.CONTRAINDICATED
    assert verdict(PERMISSIVE, SNP, kind=AnchorKind.TESTING).status is Tier.CONTRAINDICATED
    assert verdict(PERMISSIVE, SNP, tcb=Tcb(status="OutOfDate")).status is Tier.AFFIRMING, "that is the policy's to say"


REFUSED = {
    "another package": ("package other\nx := 1\n", "package policy"),
    "not Rego": ("package policy\nexecutables := {{{\n", "policy.rego:2: cannot be evaluated: this is unclosed"),
    "no rule": ("package policy\n\nexecutables :=\n", "policy.rego:3: cannot be evaluated"),
    "no AR4SI claim": ("package policy\nallow := true\n", "defines no AR4SI claim"),
    "an unknown claim": ('package policy\ntrust_claims := {"exectables": 2}\n', "exectables"),
    "a value that is none": ('package policy\ntrust_claims := {"executables": "good"}\n', "-128 to 127"),
    "a value beyond a byte": ('package policy\ntrust_claims := {"executables": 300}\n', "-128 to 127"),
    "true for a value": ('package policy\ntrust_claims := {"executables": true}\n', "-128 to 127"),
    "recursion": ('package policy\nimport rego.v1\nf(x) := f(x + 1)\ntrust_claims := {"executables": f(1)}\n', ""),
    "the network": (
        """package policy
import rego.v1
trust_claims := {"executables": x} if x := http.send({"url": "http://127.0.0.1", "method": "get"})
""",
        "",
    ),
    "deep nesting": (f"package policy\ntrust_claims := {'[' * 20000}1{']' * 20000}\n", ""),
    "too long": ("package policy\n" + "#" * (1 << 20), "characters"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "reason"), REFUSED.values(), ids=REFUSED)
def test_policies_that_cannot_be_used(text: str, reason: str) -> None:
    with pytest.raises(PolicyError, match=r"^policy\.rego") as caught:
        verdict(text, SNP)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        "count([1 | some a in numbers.range(1, 4000); some b in numbers.range(1, 4000); a * b == 7])",
        'count({concat("", [x, y]) | some x in numbers.range(1, 3000000); some y in numbers.range(1, 3000000)})',
    ],
    ids=["time", "memory"],
)
def test_a_policy_that_never_ends_is_stopped(body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloister.appraise.rego.SECONDS", 2)
    text = f'package policy\nimport rego.v1\ntrust_claims := {{"executables": {body}}}\n'
    started = time.monotonic()
    with pytest.raises(PolicyError, match=r"^policy\.rego"):
        verdict(text, SNP)
    assert time.monotonic() - started < 8


def test_without_the_interpreter_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(PolicyError, match=r"pip install 'cloister\[rego\]'"):
        verdict(PERMISSIVE, SNP)
