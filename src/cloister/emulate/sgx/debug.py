"""EDBGRD: what a debugger of a debug enclave reads (Intel SDM volume 3D, 41.3)."""

from cloister.emulate.sgx.outcomes import Code, Fault
from cloister.emulate.sgx.processor import Processor
from cloister.emulate.sgx.structures import Attribute, PageType
from cloister.measure.image import PAGE

__all__ = ["edbgrd"]

WORD = 8


def edbgrd(cpu: Processor, epc: int) -> bytes | Code:
    """Eight bytes at an address in the EPC. Fault for a page of an enclave that is no debug enclave."""
    name = "EDBGRD"
    if epc % WORD:
        raise Fault(name, f"{epc:#x} is not aligned to {WORD} bytes")
    offset = epc % PAGE
    page, entry = cpu.valid_page(name, epc - offset, PageType.REG, PageType.TCS)
    if entry.enclave is None or not cpu.secs(entry.enclave).attributes.flags & Attribute.DEBUG:
        raise Fault(name, "the enclave's ATTRIBUTES lack DEBUG")
    if entry.pending or entry.modified:
        return Code.PAGE_NOT_DEBUGGABLE
    return bytes(cpu.memory.epc(page, write=False)[offset : offset + WORD])
