"""What verified SEV evidence says, as claims. Names are AMD's, in lower case (AMD 55766, chapter 3, sections 6.5, 6.8).

A launch measurement does not contain the launch digest: verification found which of the owner's it is of.
"""

from typing import Final

from cloister.appraise.appraisal import Claim
from cloister.evidence.sev import SevAttestation, SevEvidence
from cloister.model import Digest, Measurement, MeasurementKind
from cloister.verification.recipe import VerifiedEvidence

__all__ = ["claims", "measurements"]

POLICY: Final = {
    "policy_nodbg": 0, "policy_noks": 1, "policy_es": 2, "policy_nosend": 3, "policy_domain": 4, "policy_sev": 5,
}  # fmt: skip
"""What the guest's owner demands, by bit."""


def claims(verified: VerifiedEvidence[SevEvidence]) -> dict[str, Claim]:
    """The launch digest, the policy by bit, and the platform's key by its certificate."""
    evidence = verified.evidence
    digest = verified.facts["launch_digest"]
    assert isinstance(digest, bytes)  # noqa: S101 - verification put it there
    found: dict[str, Claim] = {name: bool(evidence.policy >> bit & 1) for name, bit in POLICY.items()}
    found |= {
        "launch_digest": digest.hex(),
        "policy": evidence.policy,
        "policy_api": f"{evidence.policy >> 16 & 0xFF}.{evidence.policy >> 24 & 0xFF}",
        "debug": evidence.debug,
        "ark_key_id": evidence.chain.ark.key_id.hex(),
        "ask_key_id": evidence.chain.ask.key_id.hex(),
        "pek_api": f"{evidence.chain.pek.api_major}.{evidence.chain.pek.api_minor}",
    }
    if isinstance(evidence, SevAttestation):
        return found | {"mnonce": evidence.report.mnonce.hex()}
    one = evidence.measurement
    return found | {"mnonce": one.mnonce.hex(), "api": f"{one.api_major}.{one.api_minor}", "build": one.build}


def measurements(evidence: SevEvidence) -> tuple[Measurement, ...]:
    """The launch digest that the platform signed. A launch measurement has none: only its HMAC."""
    if not isinstance(evidence, SevAttestation):
        return ()
    return (Measurement("launch_digest", MeasurementKind.LAUNCH, Digest("sha256", evidence.report.launch_digest)),)
