"""What a verified Keystone report claims."""

from cloister.appraise.appraisal import Claim
from cloister.appraise.claims import as_claim
from cloister.evidence.keystone import KeystoneReport
from cloister.model import Digest, Measurement, MeasurementKind
from cloister.verification.recipe import VerifiedEvidence

__all__ = ["claims", "measurements"]


def claims(verified: VerifiedEvidence[KeystoneReport]) -> dict[str, Claim]:
    """The signed fields of the report, and the device key that verified it. Keystone has no debug mode to report."""
    report = verified.evidence
    return {
        "enclave_hash": report.enclave.hash.hex(),
        "data": report.enclave.signed_data.hex(),
        "sm_hash": report.monitor.hash.hex(),
        "sm_public_key": report.monitor.public_key.hex(),
        "debug": False,
        **{name: as_claim(value) for name, value in verified.facts.items()},
    }


def measurements(evidence: KeystoneReport) -> tuple[Measurement, ...]:
    """The enclave hash, then the hash of the security monitor that measured it."""
    return (
        Measurement("enclave_hash", MeasurementKind.LAUNCH, Digest("sha3_512", evidence.enclave.hash)),
        Measurement("sm_hash", MeasurementKind.LAUNCH, Digest("sha3_512", evidence.monitor.hash)),
    )
