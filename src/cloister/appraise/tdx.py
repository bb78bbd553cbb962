"""What a verified TDX quote claims, in the words of Intel's TDX documents and of its TCB statements."""

from typing import Final

from cloister.appraise.appraisal import Claim
from cloister.appraise.claims import as_claim, claims_of_record
from cloister.evidence.tdx import TdxQuote
from cloister.model import Digest, Measurement, MeasurementKind
from cloister.verification.recipe import VerifiedEvidence

__all__ = ["claims", "measurements"]

ATTRIBUTE_BITS: Final = {
    "debug": 0,
    "sept_ve_disable": 28,
    "migratable": 29,
    "pks": 30,
    "key_locker": 31,
    "perfmon": 63,
}
"""TDATTRIBUTES (Intel TDX Module specification 1.5, TD attributes)."""

RTMRS: Final = ("rtmr0", "rtmr1", "rtmr2", "rtmr3")


def claims(verified: VerifiedEvidence[TdxQuote]) -> dict[str, Claim]:
    """The fields of the TD report by their names in Intel's documents, its attribute bits, and the platform's facts."""
    quote = verified.evidence
    attributes = int.from_bytes(quote.body.tdattributes, "little")
    return {
        "quote_version": quote.header.version,
        **claims_of_record(quote.body),
        **{name: bool(attributes >> bit & 1) for name, bit in ATTRIBUTE_BITS.items()},
        "qe_isvsvn": quote.signature.qe_report.isvsvn,
        **{name: as_claim(value) for name, value in verified.facts.items()},
    }


def measurements(evidence: TdxQuote) -> tuple[Measurement, ...]:
    """MRTD, then the four RTMRs."""
    body = evidence.body
    registers = ((name, getattr(body, name)) for name in RTMRS)
    return (
        Measurement("mrtd", MeasurementKind.LAUNCH, Digest("sha384", body.mrtd)),
        *(Measurement(name, MeasurementKind.RUNTIME, Digest("sha384", value)) for name, value in registers),
    )
