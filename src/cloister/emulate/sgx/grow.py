"""How an enclave changes while it runs: EAUG, EMODPR, EMODT by the host; EACCEPT, EACCEPTCOPY, EMODPE inside.

Intel SDM volume 3D, 39.5, 41.3, 41.4. The host proposes, the enclave accepts: until it has, it cannot reach the page.
Nothing of this is in MRENCLAVE.
"""

from cloister.emulate.sgx.epcm import EpcPage
from cloister.emulate.sgx.outcomes import Code, Fault
from cloister.emulate.sgx.processor import ZEROS, Processor
from cloister.emulate.sgx.structures import PageInfo, PageType, SecInfo
from cloister.errors import ParseError
from cloister.measure.image import PAGE, Permission
from cloister.measure.sgx import SecinfoFlags

__all__ = ["eaccept", "eacceptcopy", "eaug", "emodpe", "emodpr", "emodt"]

READ_WRITE = Permission.READ | Permission.WRITE


def eaug(cpu: Processor, page_info: int, epc: int) -> None:
    """Add a page of zeros that the enclave must accept: R, W, PENDING. Fault."""
    name = "EAUG"
    info = PageInfo.parse(cpu.read(name, page_info, PageInfo.SIZE, aligned=32))
    if info.srcpge or info.secinfo:
        raise Fault(name, "PAGEINFO.SRCPGE and PAGEINFO.SECINFO must be 0")
    page = cpu.free_page(name, epc)
    enclave = cpu.enclave_of(name, info.secs)
    if not enclave.initialised:
        raise Fault(name, "the enclave was not initialised (EINIT)")
    if info.linaddr % PAGE or not enclave.holds(info.linaddr):
        raise Fault(name, f"linear address {info.linaddr:#x} is no page of ELRANGE")
    cpu.memory.fill(page, ZEROS)
    cpu.epcm.set(page, EpcPage(PageType.REG, enclave, info.linaddr, READ_WRITE, pending=True))


def emodpr(cpu: Processor, secinfo_at: int, epc: int) -> Code:
    """Take permissions of a page away; the enclave must accept. Fault."""
    name = "EMODPR"
    secinfo = _host_secinfo(cpu, name, secinfo_at)
    if secinfo.flags & ~7 or secinfo.permission & 3 == Permission.WRITE:
        raise Fault(name, "SECINFO has more than permissions, or W without R")
    entry = _modifiable(cpu, name, epc, PageType.REG)
    if entry is None:
        return Code.PAGE_NOT_MODIFIABLE
    entry.permission &= Permission(secinfo.permission)
    entry.restricted, entry.epoch = True, _epoch(entry)
    return Code.SUCCESS


def emodt(cpu: Processor, secinfo_at: int, epc: int) -> Code:
    """Make a page TRIM, so that it can be removed, or TCS; the enclave must accept. Fault."""
    name = "EMODT"
    secinfo = _host_secinfo(cpu, name, secinfo_at)
    if secinfo.type not in {PageType.TRIM, PageType.TCS} or secinfo.flags & 0xFF:
        raise Fault(name, "SECINFO must say PT_TRIM or PT_TCS and nothing else")
    entry = _modifiable(cpu, name, epc, PageType.REG, PageType.TCS)
    if entry is None or (entry.type is PageType.TCS and secinfo.type == PageType.TCS):
        return Code.PAGE_NOT_MODIFIABLE
    entry.type, entry.permission = PageType(secinfo.type), Permission.NONE
    entry.modified, entry.restricted, entry.epoch = True, False, _epoch(entry)
    return Code.SUCCESS


def eaccept(cpu: Processor, secinfo: SecInfo, address: int, page: int) -> Code:
    """The enclave accepts the page at an address if it is exactly as `secinfo` says. Inside only. Fault.

    `page` is where the host's page tables lead.
    """
    entry = _own(cpu, "EACCEPT", address, page)
    state = (
        (SecinfoFlags.PENDING if entry.pending else 0)
        | (SecinfoFlags.MODIFIED if entry.modified else 0)
        | (SecinfoFlags.RESTRICTED if entry.restricted else 0)
    )
    if secinfo.flags != int(entry.permission) | int(state) | entry.type << 8:
        return Code.PAGE_ATTRIBUTES_MISMATCH
    if (entry.modified or entry.restricted) and not entry.tracked:
        return Code.NOT_TRACKED
    entry.pending = entry.modified = entry.restricted = False
    return Code.SUCCESS


def eacceptcopy(cpu: Processor, secinfo: SecInfo, address: int, page: int, source: int) -> Code:
    """The enclave accepts a pending page with the content of EPC page `source` and permissions of its own. Fault.

    The caller has read `source` as the enclave may. Inside only.
    """
    name = "EACCEPTCOPY"
    permission = Permission(secinfo.permission)
    if secinfo.type != PageType.REG or secinfo.state or permission & 3 == Permission.WRITE:
        raise Fault(name, "SECINFO must say PT_REG and permissions, not W without R")
    entry = _own(cpu, name, address, page)
    if (
        entry.type is not PageType.REG
        or entry.permission != READ_WRITE
        or (entry.pending, entry.modified, entry.restricted) != (True, False, False)
    ):
        return Code.PAGE_ATTRIBUTES_MISMATCH
    cpu.memory.fill(page, bytes(cpu.memory.epc(source, write=False)))
    entry.permission, entry.pending = permission, False
    return Code.SUCCESS


def emodpe(cpu: Processor, secinfo: SecInfo, address: int, page: int) -> None:
    """The enclave gives itself more permissions on a page. Inside only. Fault."""
    name = "EMODPE"
    entry = _own(cpu, name, address, page)
    if entry.type is not PageType.REG or entry.pending or entry.modified:
        raise Fault(name, f"the page at {address:#x} is not a regular one in use", vector="#PF")
    permission = entry.permission | Permission(secinfo.permission)
    if permission & Permission.WRITE and not permission & Permission.READ:
        raise Fault(name, "W without R")
    entry.permission = permission


def _own(cpu: Processor, name: str, address: int, page: int) -> EpcPage:
    """The entry of a page of the running enclave at an address. Fault."""
    enclave = cpu.inside(name)
    entry = cpu.epcm[page]
    if (
        entry is None
        or entry.enclave is not enclave
        or entry.address != address
        or entry.blocked
        or entry.type not in {PageType.REG, PageType.TCS, PageType.TRIM}
    ):
        raise Fault(name, f"the page at {address:#x} is not this enclave's page there", vector="#PF")
    return entry


def _modifiable(cpu: Processor, name: str, epc: int, *types: PageType) -> EpcPage | None:
    """The entry of a page that EMODPR and EMODT may change, None if its state forbids that. Fault."""
    _, entry = cpu.valid_page(name, epc, *types)
    if entry.enclave is None or not entry.enclave.initialised:
        raise Fault(name, "the enclave was not initialised (EINIT)")
    return None if entry.pending or entry.modified or entry.blocked else entry


def _epoch(entry: EpcPage) -> int:
    return entry.enclave.epoch if entry.enclave is not None else 0


def _host_secinfo(cpu: Processor, name: str, address: int) -> SecInfo:
    try:
        return SecInfo.parse(cpu.read(name, address, SecInfo.SIZE, aligned=64))
    except ParseError as error:
        raise Fault(name, "reserved parts of SECINFO are not zero") from error
