"""Into an enclave and out: EENTER, ERESUME, EEXIT, and the asynchronous exit (Intel SDM volume 3D, chapters 40 and 41).

Registers go by name: the sixteen general ones, `rip`, `rflags`, `fs_base`, `gs_base`. An asynchronous exit leaves them
in the GPR area of the current SSA frame, which is enclave memory, and puts synthetic values in their place; ERESUME
takes back what stands there then. What a change of that memory does, it does.

The XSAVE area of the frame stays empty: SSE state is put aside on die, with the engine's own state.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Final

from cloister.emulate.paging import Access
from cloister.emulate.sgx.outcomes import Fault
from cloister.emulate.sgx.processor import Processor, Thread
from cloister.emulate.sgx.structures import Attribute, GprArea, PageType
from cloister.measure.image import PAGE

__all__ = [
    "ERESUME",
    "NAMES",
    "Registers",
    "Walk",
    "aex",
    "eenter",
    "eexit",
    "eresume",
    "pack_registers",
    "unpack_registers",
]

Registers = dict[str, int]
Walk = Callable[[int], int]
"""The host's page tables: linear address -> physical page number. KeyError where they have nothing."""

ERESUME: Final = 3
"""The leaf number that a synthetic RAX holds, so that the host has only to execute ENCLU to go on."""

GPR: Final = struct.Struct("<20QI3xB2Q")
GPR_PLACE: Final = PAGE - GprArea.SIZE
GENERAL: Final = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{n}" for n in range(8, 16)))
SAVED: Final = (*GENERAL, "rflags", "rip")
TCS: Final = struct.Struct("<QQQIIQQQQ")
"""STATE, FLAGS, OSSA, CSSA, NSSA, OENTRY, AEP, OFSBASE, OGSBASE (SDM 38.8)."""

SECS: Final = struct.Struct("<QQI28xQ")
"""SIZE, BASEADDR, SSAFRAMESIZE, ATTRIBUTES.FLAGS (SDM 38.7)."""

CSSA_PLACE: Final = 24
ACTIVE: Final = 1
HIDDEN_FLAGS: Final = 0x1 | 0x4 | 0x10 | 0x40 | 0x80 | 0x800 | 0x10000
"""CF, PF, AF, ZF, SF, OF, RF: cleared in what the host sees (SDM page 40-7)."""

REPORTED: Final = {0, 1, 3, 5, 6, 16, 17, 19}
"""#DE, #DB, #BP, #BR, #UD, #MF, #AC, #XM: exceptions of which EXITINFO always tells (SDM 38.9.1.1)."""

BREAKPOINT: Final = 3
HARDWARE_EXCEPTION, SOFTWARE_EXCEPTION = 3, 6
CANONICAL: Final = 1 << 56
"""Where the programs' half of a 57-bit address space ends (five levels of page tables)."""
NAMES: Final = (*SAVED, "fs_base", "gs_base")
"""The registers of a `Registers`."""


def pack_registers(
    page: memoryview, registers: Mapping[str, int], outside: tuple[int, int] = (0, 0), exit_info: int = 0
) -> None:
    """Put registers into the GPR area at the end of a page; `outside` are URSP and URBP."""
    saved = [registers[name] for name in SAVED]
    GPR.pack_into(page, GPR_PLACE, *saved, *outside, exit_info, 0, registers["fs_base"], registers["gs_base"])


def unpack_registers(page: memoryview) -> Registers:
    """The registers in the GPR area at the end of a page."""
    values = GPR.unpack_from(page, GPR_PLACE)
    found = dict(zip(SAVED, values, strict=False))
    found["fs_base"], found["gs_base"] = values[22], values[23]
    return found


def eenter(cpu: Processor, walk: Walk, tcs_address: int, aep: int, registers: Mapping[str, int]) -> Registers:
    """Enter at the enclave's entry point. `registers` are the host's; returns the enclave's. Fault, MemoryFault.

    RAX is CSSA, RCX the address after EENTER, here the AEP; the host's RSP and RBP go into the SSA frame. Nothing else
    is changed: entry code must not trust the other registers.
    """
    thread, tcs = _enter(cpu, "EENTER", walk, tcs_address, aep, registers)
    _, _, _, cssa, _, oentry, _, ofs, ogs = tcs
    base = thread.enclave.base
    area = cpu.memory.epc(thread.gpr, write=True)
    struct.pack_into("<2Q", area, GPR_PLACE + 144, registers["rsp"], registers["rbp"])
    return {
        **registers, "rax": cssa, "rcx": aep, "rip": base + oentry, "fs_base": base + ofs, "gs_base": base + ogs,
    }  # fmt: skip


def eresume(cpu: Processor, walk: Walk, tcs_address: int, aep: int, registers: Mapping[str, int]) -> Registers:
    """Go on where an asynchronous exit left: the registers from the SSA frame. Fault, MemoryFault."""
    thread, tcs = _enter(cpu, "ERESUME", walk, tcs_address, aep, registers)
    found = unpack_registers(cpu.memory.epc(thread.gpr, write=False))
    _set_cssa(cpu, thread, tcs[3] - 1)
    return found


def _enter(
    cpu: Processor, name: str, walk: Walk, tcs_address: int, aep: int, registers: Mapping[str, int]
) -> tuple[Thread, tuple[int, ...]]:
    """The checks that EENTER and ERESUME share; marks the TCS busy."""
    if tcs_address % PAGE or aep >= CANONICAL:
        raise Fault(name, "the TCS must be aligned to a page, and the AEP canonical")
    page = _walked(name, walk, tcs_address)
    _, entry = cpu.valid_page(name, page * PAGE, PageType.TCS)
    enclave = entry.enclave
    if enclave is None or entry.address != tcs_address or entry.blocked or entry.pending or entry.modified:
        raise Fault(name, f"EPC page {page:#x} is no usable TCS at {tcs_address:#x}", vector="#PF")
    tcs = TCS.unpack_from(cpu.memory.epc(page, write=False))
    size, base, frame_pages, flags = SECS.unpack_from(cpu.memory.epc(enclave.secs, write=False))
    state, _, ossa, cssa, nssa, *_ = tcs
    _check_state(cpu, name, state, flags, (cssa, nssa))
    frame = cssa if name == "EENTER" else cssa - 1
    gpr_address = base + ossa + ((frame + 1) * frame_pages - 1) * PAGE
    if not base <= gpr_address < base + size:
        raise Fault(name, f"the SSA frame at {gpr_address:#x} is outside ELRANGE")
    gpr = _walked(name, walk, gpr_address)
    for access in (Access.READ, Access.WRITE):
        cpu.epcm.check(gpr, gpr_address, access, enclave)
    cpu.memory.epc(page, write=True)[0] = ACTIVE
    enclave.inside[page] = enclave.epoch
    cpu.thread = Thread(enclave, page, tcs_address, gpr, aep, registers["fs_base"], registers["gs_base"])
    return cpu.thread, tcs


def _check_state(cpu: Processor, name: str, state: int, flags: int, frames: tuple[int, int]) -> None:
    cssa, nssa = frames
    if cpu.thread is not None:
        raise Fault(name, "already inside an enclave")
    if not flags & Attribute.INIT:
        raise Fault(name, "the enclave was not initialised (EINIT)")
    if state & ACTIVE:
        raise Fault(name, "the TCS is in use")
    if name == "EENTER" and cssa >= nssa:
        raise Fault(name, f"no SSA frame is left: CSSA {cssa}, NSSA {nssa}")
    if name == "ERESUME" and not cssa:
        raise Fault(name, "CSSA is 0: there is nothing to go on with")


def aex(cpu: Processor, registers: Mapping[str, int], *, vector: int | None = None) -> Registers:
    """Leave because of an interrupt or a fault; returns what the host sees (SDM 40.3, table 40-2). Fault.

    `vector` is an exception's number: EXITINFO tells the enclave of it, but of no interrupt, and of no page fault
    without MISCSELECT.EXINFO, which this processor lacks.
    """
    thread = _leave(cpu, "AEX")
    area = cpu.memory.epc(thread.gpr, write=True)
    outside_rsp, outside_rbp = struct.unpack_from("<2Q", area, GPR_PLACE + 144)
    pack_registers(area, registers, (outside_rsp, outside_rbp), exit_info(vector))
    (cssa,) = struct.unpack_from("<I", cpu.memory.epc(thread.tcs, write=False), CSSA_PLACE)
    _set_cssa(cpu, thread, cssa + 1)
    seen = dict.fromkeys(NAMES, 0)
    seen |= {
        "rax": ERESUME, "rbx": thread.tcs_address, "rcx": thread.aep, "rip": thread.aep,
        "rsp": outside_rsp, "rbp": outside_rbp, "rflags": registers["rflags"] & ~HIDDEN_FLAGS,
        "fs_base": thread.outside_fs, "gs_base": thread.outside_gs,
    }  # fmt: skip
    return seen


def exit_info(vector: int | None) -> int:
    """EXITINFO: vector, type (3 hardware exception, 6 software exception), and bit 31 if it is valid (SDM 38.9.1.1)."""
    if vector not in REPORTED:
        return 0
    kind = SOFTWARE_EXCEPTION if vector == BREAKPOINT else HARDWARE_EXCEPTION
    return vector | kind << 8 | 1 << 31


def eexit(cpu: Processor, registers: Mapping[str, int]) -> Registers:
    """Leave to RBX because the enclave wants to; the host sees all that the enclave did not clear. Fault."""
    if registers["rbx"] >= CANONICAL:
        raise Fault("EEXIT", f"the target {registers['rbx']:#x} is not canonical")
    thread = _leave(cpu, "EEXIT")
    return {
        **registers, "rcx": thread.aep, "rip": registers["rbx"],
        "fs_base": thread.outside_fs, "gs_base": thread.outside_gs,
    }  # fmt: skip


def _leave(cpu: Processor, name: str) -> Thread:
    thread = cpu.thread
    if thread is None:
        raise Fault(name, "not inside an enclave")
    cpu.memory.epc(thread.tcs, write=True)[0] = 0
    thread.enclave.inside.pop(thread.tcs, None)
    cpu.thread = None
    return thread


def _set_cssa(cpu: Processor, thread: Thread, cssa: int) -> None:
    struct.pack_into("<I", cpu.memory.epc(thread.tcs, write=True), CSSA_PLACE, cssa)


def _walked(name: str, walk: Walk, address: int) -> int:
    try:
        return walk(address)
    except KeyError:
        raise Fault(name, f"the host's page tables have nothing at {address:#x}", vector="#PF") from None
