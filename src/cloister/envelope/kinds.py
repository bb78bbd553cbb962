"""The evidence formats, and bytes that are one of them and nothing else."""

from types import ModuleType
from typing import Final

from cloister.envelope.contents import Envelope
from cloister.errors import ParseError
from cloister.evidence import cca, keystone, sev, sgx, snp, software, tdx, tpm

__all__ = ["EVIDENCE", "evidence_in", "looks_like_evidence", "quote_length", "split_quote"]


EVIDENCE: Final[dict[str, ModuleType]] = {
    "Intel SGX quote": sgx,
    "Intel TDX quote": tdx,
    "AMD SEV-SNP report": snp,
    "AMD SEV evidence": sev,
    "Arm CCA token": cca,
    "Keystone report": keystone,
    "software enclave evidence": software,
    "TPM quote": tpm,
}
"""What each is called, and the module that parses it. The order is that in which they are asked."""


def looks_like_evidence(data: bytes) -> str:
    """The name of the evidence format that `data` begins as, or an empty string."""
    return next((name for name, module in EVIDENCE.items() if module.looks_like(data)), "")


def evidence_in(data: bytes, name: str) -> Envelope:
    """The evidence of the format called `name` that `data` is; zeros behind a quote are allowed, and mentioned.

    The kernel's quote interface hands out a buffer of fixed size, and many tools keep all of it.
    """
    exact = data
    leftovers: tuple[str, ...] = ()
    length = quote_length(data)
    if length < len(data) and data.count(0, length) == len(data) - length:
        exact, leftovers = data[:length], (f"{len(data) - length} zero bytes after the {name}",)
    version = f" v{int.from_bytes(data[:2], 'little')}" if name.endswith("quote") and name.startswith("Intel") else ""
    return Envelope(parts=(EVIDENCE[name].parse(exact),), path=(f"{name}{version}",), leftovers=leftovers)


def quote_length(data: bytes) -> int:
    """How long the DCAP quote is that `data` begins with; as long as `data` if it is none, or broken off.

    (`cloister.evidence.dcap` has the frame. This finds its end only; it is parsed afterwards.)
    """
    if not (sgx.looks_like(data) or tdx.looks_like(data)):
        return len(data)
    version, body = int.from_bytes(data[:2], "little"), 48 + (384 if sgx.looks_like(data) else 584)
    if version == 5:
        body = 54 + int.from_bytes(data[50:54], "little")
    size = data[body : body + 4]
    length = body + 4 + int.from_bytes(size, "little")
    return length if len(size) == 4 and length <= len(data) else len(data)


def split_quote(data: bytes) -> tuple[str, bytes, bytes]:
    """The quote that `data` begins with and what follows it, with the name of its format."""
    name = looks_like_evidence(data)
    if not name.startswith("Intel"):
        raise ParseError("quote", "header", 0, "is no SGX or TDX quote of version 3, 4 or 5")
    length = quote_length(data)
    return name, data[:length], data[length:]
