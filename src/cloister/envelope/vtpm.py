"""Virtual TPMs: Azure's HCL report, alone or beside a TPM quote, and the messages of Google's go-tpm-tools.

The hardware's report comes first: it is what vouches for the virtual TPM (`cloister.verification.hcl`).
"""

from cloister.envelope.bindings import DataBinding
from cloister.envelope.contents import Envelope, Opening, join
from cloister.evidence import hcl, hcl_bundle, snp, tpm_protobuf
from cloister.evidence.hcl import HclReport
from cloister.model import Tee

__all__ = ["looks_like", "open_container"]


def looks_like(data: bytes) -> bool:
    """Whether this begins as one of the three does."""
    return hcl.looks_like(data) or tpm_protobuf.looks_like(data) or hcl_bundle.looks_like(data)


def open_container(data: bytes, opening: Opening) -> Envelope:
    """The hardware's report, the paravisor's around it and the TPM quote; or all quotes of a go-tpm-tools message."""
    if hcl.looks_like(data):
        return open_report(hcl.parse(data)).within("Azure HCL report")
    if tpm_protobuf.looks_like(data):
        message = tpm_protobuf.parse(data)
        return Envelope(parts=message.quotes, certificates=message.certificates, path=("go-tpm-tools attestation",))
    bundle = hcl_bundle.parse(data)
    step = "Azure vTPM evidence"
    quote = Envelope(parts=(bundle.quote,), certificates=bundle.certificates)
    if not bundle.td_quote:
        return join(open_report(bundle.report), quote).within(step)
    found = opening.inside(bundle.td_quote, step)
    return join(found, bound_report(found.primary, bundle.report), quote)


def open_report(report: HclReport) -> Envelope:
    """An SNP report and the paravisor's around it. A TD's report stays inside: only its own machine can check it."""
    if report.tee is not Tee.SNP:
        return Envelope(parts=(report,), path=("TD report",))
    inner = snp.parse(report.hardware_report, base=hcl.HclHeader.SIZE)
    first = Envelope(parts=(inner,), path=("AMD SEV-SNP report",))
    return join(first, bound_report(inner, report))


def bound_report(evidence: object, report: HclReport) -> Envelope:
    """The paravisor's report, whose runtime data the hardware's evidence must speak of."""
    binding = DataBinding(evidence=evidence, what="runtime data", data=report.runtime_data)
    return Envelope(parts=(report,), bindings=(binding,))
