"""`cloister verify` of a SIGSTRUCT: what an enclave's author signed. Not evidence of anything that runs."""

from collections.abc import Iterator
from typing import Any

from cloister._wire import Record
from cloister.appraise.claims import claims_of_record
from cloister.cli._lines import labelled, prose
from cloister.evidence.sigstruct import Sigstruct, looks_like, of_image, parse
from cloister.measure.open_enclave import signed_in
from cloister.verification.recipe import Allowances, Check
from cloister.verification.sigstruct import verify_sigstruct
from cloister.verifier.documents import check_document

__all__ = ["LONG", "SIGNED_BY_AUTHOR", "claims", "sigstruct_document", "sigstruct_in", "sigstruct_lines"]

SIGNED_BY_AUTHOR = 3
"""Exit code: there is nothing to affirm. Authentic, with the reservation that nothing runs."""

MEANING = "WARNING: the author's signature holds; that such an enclave runs anywhere, only evidence shows"
ELF = b"\x7fELF"
LONG = frozenset({"modulus", "signature", "q1", "q2"})
"""Fields that nobody reads; `--json` has them."""


def sigstruct_in(data: bytes) -> Sigstruct | None:
    """The SIGSTRUCT that a file is, or that a signed enclave image has inside; None if it is neither."""
    if looks_like(data):
        return parse(data)
    if not data.startswith(ELF):
        return None
    return signed_in(data) or of_image(data)


def sigstruct_document(sigstruct: Sigstruct, allow: Allowances) -> dict[str, Any]:
    """What `--json` prints; SignatureInvalid or VerificationError if the signature does not hold."""
    return {
        "status": "warning", "tee": "sgx", "container": ["SGX SIGSTRUCT"], "claims": claims(sigstruct),
        "checks": [check_document(one) for one in verify_sigstruct(sigstruct, allow=allow)], "unchecked": [MEANING],
    }  # fmt: skip


def sigstruct_lines(name: str, sigstruct: Sigstruct, allow: Allowances, *, width: int) -> Iterator[str]:
    """The same for people."""
    checks: tuple[Check, ...] = verify_sigstruct(sigstruct, allow=allow)
    yield f"{name}: SGX SIGSTRUCT"
    yield from prose(MEANING, width=width, later="  ")
    yield ""
    for label, value in claims(sigstruct).items():
        if label not in LONG:
            yield from labelled(label, str(value), width=width, column=18)
    yield from ("", "checks:")
    yield from (f"  {one.number:<12} {one.title}: {one.state}" for one in checks)


def claims(sigstruct: Sigstruct) -> dict[str, Any]:
    """The signed fields, and MRSIGNER, which follows from the key."""
    record: Record = sigstruct
    return {"mrenclave": sigstruct.enclave_hash.hex(), "mrsigner": sigstruct.mrsigner.hex(), **claims_of_record(record)}
