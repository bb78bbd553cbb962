"""Who may start enclaves: launch control, as EINIT applies it (Intel SDM volume 3D, 39.1.4 and 41.3, EINIT).

With flexible launch control the operating system writes whose enclaves may start without a token, into
IA32_SGXLEPUBKEYHASH; Linux writes whoever signed the enclave. Others need a token of a launch enclave of that signer.
"""

from hmac import compare_digest
from typing import Final

from cloister.emulate.sgx.keys import cmac, launch_key
from cloister.emulate.sgx.outcomes import Code
from cloister.emulate.sgx.processor import Processor
from cloister.emulate.sgx.structures import Attribute, EinitToken, Secs
from cloister.errors import ParseError

__all__ = ["allowed"]

COVERED: Final = 192
"""Bytes of the token that its MAC covers."""


def allowed(cpu: Processor, token: bytes, secs: Secs) -> Code:
    """Whether an enclave may start; `secs` has MRENCLAVE and MRSIGNER already."""
    own_signer = secs.mrsigner == cpu.launch_key_hash
    if secs.attributes.flags & Attribute.EINITTOKENKEY and not own_signer:
        return Code.INVALID_ATTRIBUTE
    if not token[0] & 1:
        return Code.SUCCESS if own_signer else Code.INVALID_EINITTOKEN
    try:
        parsed = EinitToken.parse(token)
    except ParseError:
        return Code.INVALID_EINITTOKEN
    if any(asked > current for asked, current in zip(parsed.cpusvnle, cpu.fuses.cpusvn, strict=True)):
        return Code.INVALID_CPUSVN
    return Code.SUCCESS if _genuine(cpu, parsed) and _about(parsed, secs) else Code.INVALID_EINITTOKEN


def _genuine(cpu: Processor, token: EinitToken) -> bool:
    """Its MAC is under the key that only a launch enclave of that signer gets."""
    key = launch_key(
        cpu.fuses, mrsigner=cpu.launch_key_hash, isvprodid=token.isvprodidle, isvsvn=token.isvsvnle,
        attributes=token.maskedattributesle, miscselect=token.maskedmiscselectle, cpusvn=token.cpusvnle,
        keyid=token.keyid,
    )  # fmt: skip
    return compare_digest(cmac(key, token.serialize()[:COVERED]), token.mac)


def _about(token: EinitToken, secs: Secs) -> bool:
    """It is about this enclave; and a launch enclave that can be debugged starts only what can be, too."""
    debugged = token.maskedattributesle.flags & Attribute.DEBUG and not secs.attributes.flags & Attribute.DEBUG
    same = (token.attributes, token.mrenclave, token.mrsigner) == (secs.attributes, secs.mrenclave, secs.mrsigner)
    return same and not debugged
