"""One row per TEE: how its evidence is verified, and which of its bytes answer a challenge."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cloister.evidence.tdx import TdxQuote
from cloister.model import Tee
from cloister.verification import cca, keystone, sev, sgx, snp, software, tdx, tpm
from cloister.verification.recipe import VerifiedEvidence

__all__ = ["ROWS", "Row", "report_data_of"]


@dataclass(frozen=True, slots=True)
class Row:
    """How evidence of one TEE is verified."""

    verify: Callable[..., VerifiedEvidence[Any]]


ROWS: Final[Mapping[Tee, Row]] = {
    Tee.SGX: Row(sgx.verify),
    Tee.TDX: Row(tdx.verify),
    Tee.SNP: Row(snp.verify),
    Tee.SEV: Row(sev.verify),
    Tee.CCA: Row(cca.verify),
    Tee.KEYSTONE: Row(keystone.verify),
    Tee.TPM: Row(tpm.verify),
    Tee.SOFTWARE: Row(software.verify),
}
"""Every TEE. An SEV launch measurement needs the owner's secret too, and is undecided here without it."""


def report_data_of(evidence: object) -> bytes:
    """The bytes that the attester had signed: what a key or data beside the evidence can be bound to."""
    found: bytes = getattr(getattr(evidence, "body", evidence), "report_data")  # noqa: B009 - every TEE's record has it
    return found


def is_hardware_report(verified: VerifiedEvidence[Any]) -> bool:
    """Whether this can vouch for a virtual TPM's key."""
    return verified.tee is Tee.SNP or isinstance(verified.evidence, TdxQuote)
