"""What holds for evidence of every TEE, forged and verified for real: names, written policies, refusals."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.forge.amd import platform, signed_report
from tests.forge.amd_sev import sev_platform
from tests.forge.arm import ArmForge
from tests.forge.intel import IntelForge
from tests.forge.keystone import KeystoneForge
from tests.forge.software import SoftwareForge
from tests.forge.tpm import TpmForge
from tests.forge.x509 import NOW

from cloister.appraise.judge import claims_of, judge, judge_without_policy
from cloister.appraise.known_claims import PROGRAM, is_known
from cloister.appraise.lint_policy import lint
from cloister.appraise.parse_policy import parse_policy
from cloister.appraise.vector import Tier
from cloister.appraise.write_policy import policy_for_measurements, policy_for_sample
from cloister.endorse.store import Endorsements
from cloister.evidence import cca as cca_evidence
from cloister.evidence import keystone as keystone_evidence
from cloister.evidence import sgx as sgx_evidence
from cloister.evidence import software as software_evidence
from cloister.evidence import tdx as tdx_evidence
from cloister.model import Tee, Unchecked
from cloister.verification import cca, keystone, sev, sgx, snp, software, tdx, tpm
from cloister.verification.recipe import VerifiedEvidence

GIVEN: dict[str, Any] = {"at": NOW, "challenge": Unchecked("no nonce in this test")}


def of_sgx() -> VerifiedEvidence[Any]:
    forge = IntelForge()
    quote = sgx_evidence.parse(forge.sgx_quote())
    return sgx.verify(quote, anchors=forge.anchors, endorsements=forge.endorsements(), **GIVEN)


def of_tdx() -> VerifiedEvidence[Any]:
    forge = IntelForge()
    quote = tdx_evidence.parse(forge.tdx_quote())
    return tdx.verify(quote, anchors=forge.anchors, endorsements=forge.endorsements(Tee.TDX), **GIVEN)


def of_snp() -> VerifiedEvidence[Any]:
    milan = platform()
    ek = milan.ek()
    return snp.verify(signed_report(ek), anchors=milan.anchors, endorsements=milan.endorsements(ek), **GIVEN)


def of_cca() -> VerifiedEvidence[Any]:
    forge = ArmForge()
    token = cca_evidence.parse(forge.token())
    return cca.verify(token, anchors=forge.anchors, endorsements=forge.endorsements, **GIVEN)


def of_keystone() -> VerifiedEvidence[Any]:
    forge = KeystoneForge()
    report = keystone_evidence.parse(forge.report(b"nonce"))
    return keystone.verify(report, anchors=forge.anchors, endorsements=forge.endorsements, **GIVEN)


def of_software() -> VerifiedEvidence[Any]:
    forge = SoftwareForge()
    evidence = software_evidence.parse(forge.evidence(b"nonce", kernel="6.12", secure_boot=True))
    return software.verify(evidence, anchors=forge.anchors, endorsements=forge.endorsements, **GIVEN)


def of_tpm() -> VerifiedEvidence[Any]:
    forge = TpmForge()
    quote = forge.quote(banks=("sha256", "sha1"))
    return tpm.verify(quote, anchors=forge.anchors, endorsements=Endorsements(), **GIVEN)


def of_sev() -> VerifiedEvidence[Any]:
    stand = sev_platform()
    return sev.verify(stand.attestation(), anchors=stand.anchors, endorsements=Endorsements(), **GIVEN)


EVIDENCE: dict[Tee, Callable[[], VerifiedEvidence[Any]]] = {
    Tee.SGX: of_sgx, Tee.TDX: of_tdx, Tee.SNP: of_snp, Tee.CCA: of_cca, Tee.KEYSTONE: of_keystone,
    Tee.SOFTWARE: of_software, Tee.TPM: of_tpm, Tee.SEV: of_sev,
}  # fmt: skip


def test_none_is_left_out() -> None:
    assert EVIDENCE.keys() == set(Tee)


@pytest.fixture(scope="module", params=EVIDENCE, ids=str)
def verified(request: pytest.FixtureRequest) -> VerifiedEvidence[Any]:
    return EVIDENCE[request.param]()


def written(verified: VerifiedEvidence[Any]) -> str:
    return policy_for_sample(
        verified.tee, claims_of(verified), verified.tcb, verified.anchor.kind, source="the sample\nof this test"
    )


def test_every_claim_is_known_by_name(verified: VerifiedEvidence[Any]) -> None:
    assert not [name for name in claims_of(verified) if not is_known(verified.tee, name)]


def test_some_claim_names_the_program(verified: VerifiedEvidence[Any]) -> None:
    assert PROGRAM[verified.tee] & claims_of(verified).keys()


def test_the_policy_written_from_it_affirms_it(verified: VerifiedEvidence[Any]) -> None:
    text = written(verified)
    appraisal = judge(verified, parse_policy(text))
    assert appraisal.status is Tier.AFFIRMING, [one for one in appraisal.checks if one.fix]
    assert not [one for one in lint(parse_policy(text)) if not one.dangerous]


def test_every_line_of_that_policy_is_explained(verified: VerifiedEvidence[Any]) -> None:
    lines = written(verified).splitlines()
    for number, line in enumerate(lines):
        if line and not line.startswith(("#", "[")) and lines[number - 1]:
            assert lines[number - 1].startswith(("#", "[tcb]", "tolerated", "unsafe_tolerated"))


def test_each_pinned_claim_matters(verified: VerifiedEvidence[Any]) -> None:
    """Evidence that differs in any claim that the written policy names is not affirmed."""
    policy, claims = parse_policy(written(verified)), claims_of(verified)
    rules = policy.sections[verified.tee].rules
    assert len(rules) > 2
    for rule in rules:
        value = claims[rule.subject]
        other: Any = value[:-2] + ("00" if value[-2:] != "00" else "11") if isinstance(value, str) else ["another"]
        if isinstance(value, bool | int):
            other = (not value) if isinstance(value, bool) else value - 1
        if rule.subject in {"attributes", "tee_tcb_svn"}:
            other = "ff" + str(value)[2:] if rule.subject == "attributes" else "00" * 16
        if other == value or (isinstance(value, int) and not isinstance(value, bool) and value == 0):
            continue
        changed = claims | {rule.subject: other}
        assert judge(verified, policy, claims=changed).status is Tier.CONTRAINDICATED, rule.title


def test_hardware_only_is_the_default(verified: VerifiedEvidence[Any]) -> None:
    """Forged evidence ends at testing roots, and no policy accepts these without naming them."""
    text = written(verified)
    silent = "\n".join(line for line in text.splitlines() if not line.startswith("accept_anchors"))
    assert silent != text
    assert judge(verified, parse_policy(silent)).status is Tier.CONTRAINDICATED


def test_no_policy_and_an_empty_one(verified: VerifiedEvidence[Any]) -> None:
    assert judge_without_policy(verified).status is Tier.WARNING
    for text in ("", f'accept_anchors = ["testing"]\n[{verified.tee}]\n'):
        assert judge(verified, parse_policy(text)).status is Tier.CONTRAINDICATED


def test_another_tee_s_section_accepts_nothing(verified: VerifiedEvidence[Any]) -> None:
    other = Tee.SGX if verified.tee is not Tee.SGX else Tee.TDX
    text = written(verified).replace(f"[{verified.tee}]", f"[{other}]")
    assert judge(verified, parse_policy(text)).status is Tier.CONTRAINDICATED


def test_measurements_alone_make_a_policy(verified: VerifiedEvidence[Any]) -> None:
    claim = min(PROGRAM[verified.tee] & claims_of(verified).keys())
    text = policy_for_measurements(
        [(verified.tee, claim, str(claims_of(verified)[claim])), (verified.tee, claim, "00")]
    )
    accepting = text.replace("accept_anchors = [", 'accept_anchors = ["testing", ')
    assert judge(verified, parse_policy(accepting)).status is Tier.AFFIRMING
