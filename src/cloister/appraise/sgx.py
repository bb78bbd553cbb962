"""What a verified SGX quote claims, in the words of Intel's SDM and of its TCB statements."""

from cloister.appraise.appraisal import Claim
from cloister.appraise.claims import as_claim, claims_of_record
from cloister.evidence.sgx import SgxQuote
from cloister.model import Digest, Measurement, MeasurementKind
from cloister.verification.recipe import VerifiedEvidence
from cloister.verification.sgx import DEBUG

__all__ = ["claims", "measurements"]


def claims(verified: VerifiedEvidence[SgxQuote]) -> dict[str, Claim]:
    """The fields of the report body by their names in the SDM, and what the PCK certificate says of the platform."""
    quote = verified.evidence
    return {
        "quote_version": quote.header.version,
        **claims_of_record(quote.body),
        "debug": bool(quote.body.attributes[0] & DEBUG),
        "qe_isvsvn": quote.signature.qe_report.isvsvn,
        **{name: as_claim(value) for name, value in verified.facts.items()},
    }


def measurements(evidence: SgxQuote) -> tuple[Measurement, ...]:
    """MRENCLAVE and MRSIGNER."""
    return (
        Measurement("mrenclave", MeasurementKind.LAUNCH, Digest("sha256", evidence.body.mrenclave)),
        Measurement("mrsigner", MeasurementKind.SIGNER, Digest("sha256", evidence.body.mrsigner)),
    )
