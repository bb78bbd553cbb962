"""Asking this machine's TPM for a quote, with what vouches for its key.

On Azure the paravisor of a confidential guest keeps the hardware's report in the TPM, with the attestation key in it
(`cloister.evidence.hcl`); the quote is by that key, and both are written in Trustee's form. Anywhere else the key is
one that the TPM derives from its endorsement seed, or the one of a handle that is given: its owner says that it is this
TPM's (`--trust-key`, or a certificate).
"""

import base64
import json
from typing import Final

from cloister.attest.guest.tpm_commands import Tpm
from cloister.errors import CannotProtect, ParseError, UsageError
from cloister.evidence import hcl
from cloister.evidence.tpm import TpmQuote, of_parts
from cloister.model import Tee

__all__ = ["ask_tpm"]

HCL_INDEX: Final = 0x01400001
HCL_KEY: Final = 0x81000003
PERSISTENT: Final = range(0x81000000, 0x82000000)
LONGEST_NONCE: Final = 50
"""Bytes that every TPM takes as qualifying data: a SHA-384 digest, and the name of the algorithm."""

ATTEMPTS: Final = 5


def ask_tpm(nonce: bytes, tpm: Tpm, *, key: int | None = None) -> bytes:
    """Evidence with the nonce in it, as JSON. CannotProtect, UsageError."""
    if len(nonce) > LONGEST_NONCE:
        raise UsageError(f"--nonce: {len(nonce)} bytes; TPMs have room for {LONGEST_NONCE}")
    if key is not None and key not in PERSISTENT:
        raise UsageError(f"--tpm-key: {key:#x} is no handle of a key that a TPM keeps (0x81......)")
    try:
        report = tpm.stored(HCL_INDEX) if key is None else None
        if report is not None:
            return _with_hardware(_quote(tpm, HCL_KEY, tpm.public_of(HCL_KEY), nonce), report)
        if key is not None:
            return _quote(tpm, key, tpm.public_of(key), nonce).serialize()
        with tpm.attestation_key() as (handle, public):
            return _quote(tpm, handle, public, nonce).serialize()
    except ParseError as error:
        raise CannotProtect(f"the TPM's answer cannot be read: {error}") from error


def _quote(tpm: Tpm, handle: int, public: bytes, nonce: bytes) -> TpmQuote:
    """Quoted values and read ones are the same only if nothing is extended in between."""
    for _ in range(ATTEMPTS):
        values = tpm.pcrs()
        message, signature = tpm.quote(handle, nonce)
        if tpm.pcrs() == values:
            return of_parts(message, signature, key=public, pcrs={"sha256": values})
    raise CannotProtect(f"{ATTEMPTS} times something was measured into the TPM while it was asked; ask again later")


def _with_hardware(quote: TpmQuote, stored: bytes) -> bytes:
    """Trustee's form for SNP guests of Azure. A TD's quote comes from the cloud's own service."""
    if hcl.parse(stored).tee is not Tee.SNP:
        raise CannotProtect(
            "the TPM holds a TD's report, which only its own processor can check; the quote of it comes from Azure's "
            "metadata service (POST http://169.254.169.254/acc/tdquote), which is not asked"
        )
    signature = quote.signature
    bare = signature.parts[0] if signature.scheme == "rsassa" else signature.serialize()  # as Azure's tools have it
    document = {
        "version": 1,
        "hcl_report": base64.urlsafe_b64encode(stored).decode().rstrip("="),
        "tpm_quote": {
            "message": quote.attest.serialize().hex(),
            "pcrs": [value.hex() for bank in quote.pcrs for value in bank.values],
            "signature": bare.hex(),
        },
    }
    return json.dumps(document, indent=2).encode() + b"\n"
