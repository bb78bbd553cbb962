"""How an enclave comes to be: ECREATE, EADD, EEXTEND, EINIT; and EREMOVE (Intel SDM volume 3D, 41.3).

MRENCLAVE runs along, in the processor: who built something else has another one, and EINIT compares it with what the
author signed.
"""

from typing import Final

from cloister._crypto import rsa_public_key, verify_rsa_pkcs1
from cloister.emulate.sgx.epcm import Enclave, EpcPage
from cloister.emulate.sgx.launch_control import allowed
from cloister.emulate.sgx.outcomes import Code, Fault
from cloister.emulate.sgx.processor import Processor
from cloister.emulate.sgx.structures import Attribute, Attributes, EinitToken, PageInfo, PageType, SecInfo, Secs
from cloister.errors import ParseError, SignatureInvalid
from cloister.evidence import sigstruct
from cloister.evidence.sigstruct import Sigstruct
from cloister.measure.enclave import Tcs
from cloister.measure.image import PAGE, Permission
from cloister.measure.sgx import CHUNK, LARGEST, EnclaveMeasurement

__all__ = ["eadd", "ecreate", "eextend", "einit", "eremove"]

LEGACY_STATE: Final = 3
"""XFRM bits 0 and 1, x87 and SSE: always set (SDM 38.7.2.1)."""

SUPPORTED_STATE: Final = LEGACY_STATE
"""The emulated processor has no AVX, so nothing more may be asked for."""

SUPPORTED: Final = (
    Attribute.DEBUG | Attribute.MODE64BIT | Attribute.PROVISIONKEY | Attribute.EINITTOKENKEY | Attribute.KSS
)
EXPONENT: Final = 3
SMALLEST: Final = 2 * PAGE
DEBUG_OPT_IN: Final = 1


def ecreate(cpu: Processor, page_info: int, epc: int) -> None:
    """Make the SECS of a new enclave from the host's draft. Fault."""
    name = "ECREATE"
    info = PageInfo.parse(cpu.read(name, page_info, PageInfo.SIZE, aligned=32))
    if info.linaddr or info.secs:
        raise Fault(name, "PAGEINFO.LINADDR and PAGEINFO.SECS must be 0")
    if _secinfo(cpu, name, info.secinfo).flags != PageType.SECS:
        raise Fault(name, "SECINFO must say PT_SECS and nothing else")
    page = cpu.free_page(name, epc)
    draft = _draft(cpu.read(name, info.srcpge, PAGE, aligned=PAGE))
    measurement = EnclaveMeasurement.ecreate(draft.ssaframesize, draft.size)
    enclave = Enclave(cpu.next_eid, page, draft.base, draft.size, measurement)
    cpu.next_eid += 1
    cpu.enclaves[enclave.eid] = enclave
    cpu.epcm.set(page, EpcPage(PageType.SECS, enclave, 0, Permission.NONE))
    cpu.set_secs(
        enclave, draft.changed(mrenclave=bytes(32), mrsigner=bytes(32), isvprodid=0, isvsvn=0, eid=enclave.eid)
    )


def _draft(content: bytes) -> Secs:
    """The host's SECS, checked as ECREATE does. Fault."""
    try:
        draft = Secs.parse(content)
    except ParseError as error:
        raise Fault("ECREATE", f"reserved parts of SECS are not zero ({error.field})") from error
    flags, xfrm, size = draft.attributes.flags, draft.attributes.xfrm, draft.size
    kss = flags & Attribute.KSS
    problems = {
        "SIZE is not a power of two from 0x2000": size & (size - 1) or not SMALLEST <= size <= LARGEST,
        "BASEADDR is not aligned to SIZE": size and draft.base % size,
        "XFRM lacks x87 or SSE, or has what this processor lacks": xfrm != SUPPORTED_STATE,
        "ATTRIBUTES has INIT, or bits that this processor lacks": flags & ~int(SUPPORTED),
        "ATTRIBUTES lacks MODE64BIT: there is no 32-bit mode": not flags & Attribute.MODE64BIT,
        "MISCSELECT has what this processor lacks": draft.miscselect,
        "SSAFRAMESIZE is 0: the frame does not hold XSAVE and GPR area": not draft.ssaframesize,
        "CONFIGID and CONFIGSVN need ATTRIBUTES.KSS": not kss and (any(draft.configid) or draft.configsvn),
        "fields that EINIT fills are not zero": any(draft.isvfamilyid + draft.isvextprodid) or draft.eid,
    }  # fmt: skip
    for problem, present in problems.items():
        if present:
            raise Fault("ECREATE", f"SECS.{problem}")
    return draft


def eadd(cpu: Processor, page_info: int, epc: int) -> None:
    """Copy a page of the host's into the EPC, at an address of the enclave, and measure where and what for. Fault."""
    name = "EADD"
    info = PageInfo.parse(cpu.read(name, page_info, PageInfo.SIZE, aligned=32))
    secinfo = _secinfo(cpu, name, info.secinfo)
    page = cpu.free_page(name, epc)
    enclave = _growing(cpu, name, info.secs)
    _check_linear(name, enclave, info.linaddr)
    content = cpu.read(name, info.srcpge, PAGE, aligned=PAGE)
    permission = Permission(secinfo.permission)
    if secinfo.type == PageType.TCS:
        content, permission = _tcs(content), Permission.NONE
    elif secinfo.type != PageType.REG:
        raise Fault(name, f"SECINFO page type {secinfo.type}: only PT_REG and PT_TCS can be added")
    if secinfo.state:
        raise Fault(name, "SECINFO has PENDING, MODIFIED or PR set")
    if permission & Permission.WRITE and not permission & Permission.READ:
        raise Fault(name, "SECINFO has W without R")
    flags = secinfo.flags if secinfo.type == PageType.REG else secinfo.flags & ~7
    cpu.memory.fill(page, content)
    cpu.epcm.set(page, EpcPage(PageType(secinfo.type), enclave, info.linaddr, permission))
    enclave.measurement.eadd(info.linaddr - enclave.base, flags)


def _tcs(content: bytes) -> bytes:
    """A TCS as EADD takes it in: reserved parts and STATE zero, and not open to debuggers (SDM 38.8)."""
    try:
        tcs = Tcs.parse(content)
    except ParseError as error:
        raise Fault("EADD", f"reserved parts of TCS are not zero ({error.field})") from error
    if tcs.state or tcs.cssa or tcs.flags & ~DEBUG_OPT_IN or tcs.aep:
        raise Fault("EADD", "TCS.STATE, CSSA, AEP and FLAGS other than DBGOPTIN must be 0")
    if tcs.ossa % PAGE or tcs.fslimit & 0xFFF != 0xFFF or tcs.gslimit & 0xFFF != 0xFFF:
        raise Fault("EADD", "TCS.OSSA must be aligned to a page, and FSLIMIT and GSLIMIT end in 0xfff")
    return content[:8] + (tcs.flags & ~DEBUG_OPT_IN).to_bytes(8, "little") + content[16:]


def eextend(cpu: Processor, secs: int, chunk: int) -> None:
    """Measure 256 bytes of a page that was added. Fault."""
    name = "EEXTEND"
    if chunk % CHUNK:
        raise Fault(name, f"{chunk:#x} is not aligned to {CHUNK} bytes")
    offset = chunk % PAGE
    page, entry = cpu.valid_page(name, chunk - offset, PageType.REG, PageType.TCS)
    enclave = _growing(cpu, name, secs)
    if entry.enclave is not enclave:
        raise Fault(name, f"EPC page {page:#x} is another enclave's")
    content = bytes(cpu.memory.epc(page, write=False)[offset : offset + CHUNK])
    enclave.measurement.eextend(entry.address - enclave.base + offset, content)


def einit(cpu: Processor, sigstruct_at: int, secs_at: int, token_at: int) -> Code:
    """Compare what was built with what its author signed, and let it be entered. Fault; the Code says what differs."""
    name = "EINIT"
    whole = cpu.read(name, sigstruct_at, Sigstruct.SIZE, aligned=PAGE)
    token = cpu.read(name, token_at, EinitToken.SIZE, aligned=512)
    enclave = _growing(cpu, name, secs_at)
    try:
        signed = sigstruct.parse(whole)
    except ParseError:
        return Code.INVALID_SIG_STRUCT
    if not _signature_verifies(signed):
        return Code.INVALID_SIGNATURE
    measured = enclave.measurement.digest().value
    if measured != signed.enclave_hash:
        return Code.INVALID_MEASUREMENT
    secs = cpu.secs(enclave)
    if not _attributes_allowed(signed, secs):
        return Code.INVALID_ATTRIBUTE
    kss = bool(secs.attributes.flags & Attribute.KSS)
    begun = secs.changed(
        mrenclave=measured, mrsigner=signed.mrsigner, isvprodid=signed.isvprodid, isvsvn=signed.isvsvn,
        isvfamilyid=signed.isvfamilyid if kss else bytes(16), isvextprodid=signed.isvextprodid if kss else bytes(16),
    )  # fmt: skip
    refused = allowed(cpu, token, begun)
    if refused is not Code.SUCCESS:
        return refused
    flags = secs.attributes.flags | Attribute.INIT
    cpu.set_secs(enclave, begun.changed(attributes=Attributes(flags=flags, xfrm=secs.attributes.xfrm)))
    enclave.initialised = True
    return Code.SUCCESS


def _signature_verifies(signed: Sigstruct) -> bool:
    """RSA-3072, e = 3, SHA-256, and Q1 and Q2 as the author computed them (SDM 38.13, table 38-19)."""
    modulus, signature, q1, q2 = (
        int.from_bytes(part, "little") for part in (signed.modulus, signed.signature, signed.q1, signed.q2)
    )
    if modulus.bit_length() != 8 * len(signed.modulus) or signature >= modulus:
        return False
    square = signature * signature
    if (q1, q2) != (square // modulus, signature * (square % modulus) // modulus):
        return False
    try:
        key = rsa_public_key(modulus, EXPONENT)
        verify_rsa_pkcs1(key, signature.to_bytes(384), signed.signed, "sha256", what="SIGSTRUCT")
    except SignatureInvalid:
        return False
    return True


def _attributes_allowed(signed: Sigstruct, secs: Secs) -> bool:
    """Attributes and MISCSELECT are as signed, under the signed masks; a debug-only key signs debug enclaves."""
    mask, wanted = Attributes.parse(signed.attribute_mask), Attributes.parse(signed.attributes)
    have = secs.attributes
    return (
        have.flags & mask.flags == wanted.flags & mask.flags
        and have.xfrm & mask.xfrm == wanted.xfrm & mask.xfrm
        and secs.miscselect & signed.miscmask == signed.miscselect & signed.miscmask
        and (not signed.debug_signed or bool(have.flags & Attribute.DEBUG))
    )


def eremove(cpu: Processor, epc: int) -> Code:
    """Free an EPC page; its content is lost. ENCLAVE_ACT while a thread is inside, CHILD_PRESENT for a SECS in use."""
    name = "EREMOVE"
    page = cpu.epc_page(name, epc)
    entry = cpu.epcm[page]
    if entry is None:
        return Code.SUCCESS
    enclave = entry.enclave
    if enclave is not None and entry.type is PageType.SECS:
        if enclave.children:
            return Code.CHILD_PRESENT
        del cpu.enclaves[enclave.eid]
    elif enclave is not None and enclave.inside:
        return Code.ENCLAVE_ACT
    cpu.epcm.clear(page)
    cpu.memory.forget(page)
    return Code.SUCCESS


def _secinfo(cpu: Processor, name: str, address: int) -> SecInfo:
    try:
        return SecInfo.parse(cpu.read(name, address, SecInfo.SIZE, aligned=64))
    except ParseError as error:
        raise Fault(name, "reserved parts of SECINFO are not zero") from error


def _growing(cpu: Processor, name: str, secs: int) -> Enclave:
    """An enclave before EINIT. Fault."""
    enclave = cpu.enclave_of(name, secs)
    if enclave.initialised:
        raise Fault(name, "the enclave was initialised already (EINIT)")
    return enclave


def _check_linear(name: str, enclave: Enclave, address: int) -> None:
    if address % PAGE or not enclave.holds(address):
        raise Fault(name, f"linear address {address:#x} is no page of ELRANGE")
