"""How EPC pages go to ordinary memory and come back: EPA, EBLOCK, ETRACK, EWB, ELDU, ELDB (Intel SDM 3D, 39.5, 41.3).

A page leaves encrypted with AES-128-GCM under a key of the processor. Its nonce is a version that is never used twice;
the version stays behind in a slot of a VA page, in the EPC. So of all that was ever written out of a page, only the
last can come back, and only once.
"""

from typing import Final

from cryptography.exceptions import InvalidTag

from cloister.emulate.sgx.epcm import Enclave, EpcPage
from cloister.emulate.sgx.outcomes import Code, Fault
from cloister.emulate.sgx.processor import ZEROS, Processor
from cloister.emulate.sgx.structures import MacHeader, PageInfo, PageType, Pcmd, SecInfo
from cloister.errors import ParseError
from cloister.measure.image import PAGE, Permission
from cloister.measure.sgx import SecinfoFlags

__all__ = ["SLOT", "SLOTS", "eblock", "eldb", "eldu", "epa", "etrack", "ewb"]

SLOT: Final = 8
SLOTS: Final = PAGE // SLOT
"""Versions that a VA page holds (SDM 38.18)."""

TYPE_SHIFT: Final = 8


def epa(cpu: Processor, epc: int) -> None:
    """Make a free EPC page a VA page of empty slots. Fault."""
    page = cpu.free_page("EPA", epc)
    cpu.memory.fill(page, ZEROS)
    cpu.epcm.set(page, EpcPage(PageType.VA, None, 0, Permission.NONE))


def eblock(cpu: Processor, epc: int) -> Code:
    """From now on no translation to this page may be made. Those that exist go with ETRACK."""
    page = cpu.epc_page("EBLOCK", epc)
    entry = cpu.epcm[page]
    if entry is None:
        return Code.PG_INVLD
    if entry.type is PageType.SECS:
        return Code.PG_IS_SECS
    if entry.type is PageType.VA or entry.enclave is None:
        return Code.NOTBLOCKABLE
    if entry.blocked:
        return Code.BLKSTATE
    entry.blocked, entry.epoch = True, entry.enclave.epoch
    return Code.SUCCESS


def etrack(cpu: Processor, secs: int) -> Code:
    """Begin a tracking epoch: what was blocked before may go when every thread that is inside now has left."""
    enclave = cpu.enclave_of("ETRACK", secs)
    if any(entered < enclave.epoch for entered in enclave.inside.values()):
        return Code.PREV_TRK_INCMPL
    enclave.epoch += 1
    return Code.SUCCESS


def ewb(cpu: Processor, page_info: int, epc: int, slot: int) -> Code:
    """Write an EPC page out, encrypted, with its PCMD, to where PAGEINFO says; its version stays in a slot. Fault."""
    name = "EWB"
    info = PageInfo.parse(cpu.read(name, page_info, PageInfo.SIZE, aligned=32))
    if info.linaddr or info.secs:
        raise Fault(name, "PAGEINFO.LINADDR and PAGEINFO.SECS must be 0")
    page, entry = cpu.valid_page(name, epc)
    va, offset = _slot(cpu, name, slot)
    if va == page:
        raise Fault(name, "a VA page cannot hold its own version")
    refused = _may_go(entry)
    if refused is not Code.SUCCESS:
        return refused
    if any(cpu.memory.epc(va, write=False)[offset : offset + SLOT]):
        return Code.VA_SLOT_OCCUPIED
    version = cpu.next_version
    cpu.next_version += 1
    header = _header(entry)
    sealed = cpu.paging.encrypt(version.to_bytes(12, "little"), cpu.memory.epc(page, write=False), header.serialize())
    cpu.write(name, info.srcpge, sealed[:PAGE], aligned=PAGE)
    pcmd = Pcmd(secinfo=header.secinfo, enclaveid=header.eid, mac=sealed[PAGE:])
    cpu.write(name, info.secinfo, pcmd.serialize(), aligned=128)
    cpu.memory.epc(va, write=True)[offset : offset + SLOT] = version.to_bytes(SLOT, "little")
    cpu.epcm.clear(page)
    cpu.memory.forget(page)
    return Code.SUCCESS


def _may_go(entry: EpcPage) -> Code:
    """Whether a page may be written out now."""
    enclave = entry.enclave
    if entry.type is PageType.SECS and enclave is not None:
        return Code.CHILD_PRESENT if enclave.children else Code.SUCCESS
    if entry.type is PageType.VA:
        return Code.SUCCESS
    if not entry.blocked:
        return Code.PAGE_NOT_BLOCKED
    return Code.SUCCESS if entry.tracked else Code.NOT_TRACKED


def eldu(cpu: Processor, page_info: int, epc: int, slot: int) -> Code:
    """Take a page back that EWB wrote out, if it is the last that was, of this enclave and address. Fault."""
    return _load(cpu, "ELDU", page_info, epc, slot, blocked=False)


def eldb(cpu: Processor, page_info: int, epc: int, slot: int) -> Code:
    """As ELDU; the page comes back blocked."""
    return _load(cpu, "ELDB", page_info, epc, slot, blocked=True)


def _load(cpu: Processor, name: str, page_info: int, epc: int, slot: int, *, blocked: bool) -> Code:
    info = PageInfo.parse(cpu.read(name, page_info, PageInfo.SIZE, aligned=32))
    page = cpu.free_page(name, epc)
    va, offset = _slot(cpu, name, slot)
    try:
        pcmd = Pcmd.parse(cpu.read(name, info.secinfo, Pcmd.SIZE, aligned=128))
    except ParseError as error:
        raise Fault(name, "reserved parts of PCMD are not zero") from error
    enclave = _owner(cpu, name, pcmd, info)
    eid = enclave.eid if enclave is not None else 0
    header = MacHeader(eid=eid, linaddr=info.linaddr, secinfo=pcmd.secinfo)
    version = bytes(cpu.memory.epc(va, write=False)[offset : offset + SLOT])
    sealed = cpu.read(name, info.srcpge, PAGE, aligned=PAGE) + pcmd.mac
    try:
        content = cpu.paging.decrypt(version.ljust(12, b"\0"), sealed, header.serialize())
    except InvalidTag:
        return Code.MAC_COMPARE_FAIL
    cpu.memory.fill(page, content)
    cpu.epcm.set(page, _entry(pcmd.secinfo, enclave, info.linaddr, blocked=blocked))
    if pcmd.secinfo.type == PageType.SECS and enclave is not None:
        enclave.secs = page
    cpu.memory.epc(va, write=True)[offset : offset + SLOT] = bytes(SLOT)
    return Code.SUCCESS


def _owner(cpu: Processor, name: str, pcmd: Pcmd, info: PageInfo) -> Enclave | None:
    """Whose page it claims to be: a SECS by its enclave's id, others by the SECS that the host names. Fault."""
    kind = pcmd.secinfo.type
    if kind == PageType.VA:
        return None
    if kind == PageType.SECS:
        enclave = cpu.enclaves.get(pcmd.enclaveid)
        if enclave is None:
            raise Fault(name, f"there is no enclave {pcmd.enclaveid}")
        return enclave
    if kind not in set(PageType):
        raise Fault(name, f"PCMD names page type {kind}")
    return cpu.enclave_of(name, info.secs)


def _entry(secinfo: SecInfo, enclave: Enclave | None, address: int, *, blocked: bool) -> EpcPage:
    state = secinfo.state
    return EpcPage(
        PageType(secinfo.type), enclave, address, Permission(secinfo.permission), blocked=blocked,
        pending=bool(state & SecinfoFlags.PENDING), modified=bool(state & SecinfoFlags.MODIFIED),
        restricted=bool(state & SecinfoFlags.RESTRICTED),
        epoch=0,  # EWB waited for every thread that could have had a translation
    )  # fmt: skip


def _header(entry: EpcPage) -> MacHeader:
    """What is authenticated with a page: whose it is, where it belongs, what it is for."""
    state = (
        (SecinfoFlags.PENDING if entry.pending else 0)
        | (SecinfoFlags.MODIFIED if entry.modified else 0)
        | (SecinfoFlags.RESTRICTED if entry.restricted else 0)
    )
    secinfo = SecInfo(flags=entry.type << TYPE_SHIFT | int(entry.permission) | int(state))
    return MacHeader(eid=entry.enclave.eid if entry.enclave is not None else 0, linaddr=entry.address, secinfo=secinfo)


def _slot(cpu: Processor, name: str, address: int) -> tuple[int, int]:
    """The VA page and the offset of a slot. Fault."""
    if address % SLOT:
        raise Fault(name, f"VA slot {address:#x} is not aligned to {SLOT} bytes")
    page, _ = cpu.valid_page(name, address - address % PAGE, PageType.VA)
    return page, address % PAGE
