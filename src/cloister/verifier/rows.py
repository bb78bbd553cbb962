"""One row per TEE: how its evidence is verified, and which of its bytes answer a challenge."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cloister.errors import BindingInvalid
from cloister.evidence.cca import CcaToken
from cloister.evidence.keystone import KeystoneReport
from cloister.evidence.sev import SevAttestation
from cloister.evidence.sgx import SgxQuote
from cloister.evidence.snp import Report
from cloister.evidence.software import SoftwareEvidence
from cloister.evidence.tdx import TdxQuote
from cloister.evidence.tpm import TpmQuote
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


CHOSEN: Final[Mapping[type[object], Callable[[Any], bytes]]] = {
    SgxQuote: lambda one: one.body.report_data,
    TdxQuote: lambda one: one.body.report_data,
    Report: lambda one: one.report_data,
    SevAttestation: lambda one: one.report.mnonce,
    CcaToken: lambda one: one.realm_claims.challenge,
    KeystoneReport: lambda one: one.enclave.signed_data,
    TpmQuote: lambda one: one.attest.extra_data,
    SoftwareEvidence: lambda one: one.report_data,
}
"""Which bytes the attester chose, by the class of the evidence. A SEV launch measurement has none."""


def report_data_of(evidence: object) -> bytes:
    """The bytes that the attester had signed: what a key or data beside the evidence can be bound to."""
    for kind, chosen in CHOSEN.items():
        if isinstance(evidence, kind):
            return chosen(evidence)
    raise BindingInvalid(f"a {type(evidence).__name__} has no bytes that an attester chose: nothing is bound to it")
