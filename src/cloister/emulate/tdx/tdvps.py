"""Where the registers of a virtual processor lie while it does not run, and which of them the host may see.

General registers stand in TDVPS as in the real module (intel/tdx-module, tdx_tdvps.h, tdvps_guest_state_t). RIP, RSP,
RFLAGS and the segment bases stand in the TD's VMCS, whose layout Intel does not publish: here it is this project's
own. Model: vector registers stay on die, where the XSAVE area of TDVPS would hold them.

What the host sees (Intel TDX Module 1.5 ABI specification, TDH.VP.ENTER): after TDG.VP.VMCALL the registers that the
TD picked in RCX, after any other exit a reason and addresses. Everything else is zero.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from cloister.emulate.tdx.keyed_memory import KeyedMemory

__all__ = ["GENERAL", "NAMES", "Exit", "ExitReason", "host_registers", "load", "save", "selected"]

NAMES: Final = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
    "rip", "rflags", "fs_base", "gs_base",
)  # fmt: skip
"""The registers of a program, in the order in which the engine gives them."""

GENERAL: Final = (
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
"""By number, as in GPR_STATE and in the bitmap of TDG.VP.VMCALL."""

GPR_STATE: Final = 0x980
"""Offset in TDVPR: the guest's state follows 128 bytes of CPUID controls at 0x900."""

VMCS_PAGE: Final = 1
VMCS_STATE: Final = 0x400
IN_VMCS: Final = ("rip", "rsp", "rflags", "fs_base", "gs_base")

_GENERAL: Final = struct.Struct("<16Q")
_VMCS: Final = struct.Struct("<5Q")
_ORDER: Final = tuple(NAMES.index(name) for name in GENERAL)
_VMCS_ORDER: Final = tuple(NAMES.index(name) for name in IN_VMCS)


class ExitReason(IntEnum):
    """VMX basic exit reasons (Intel SDM volume 3D, appendix C), those that happen here."""

    EXTERNAL_INTERRUPT = 1
    EPT_VIOLATION = 48
    TDCALL = 77


@dataclass(frozen=True, slots=True)
class Exit:
    """Why a TD was left. `gpa` for EPT violations; `mask` and `passed` (by name) for VMCALLs."""

    reason: ExitReason
    gpa: int = 0
    mask: int = 0
    passed: Mapping[str, int] | None = None


def save(memory: KeyedMemory, pages: Sequence[int], hkid: int, values: Sequence[int]) -> None:
    """Put all registers, in the order of NAMES, into TDVPS."""
    memory.write(pages[0], hkid, GPR_STATE, _GENERAL.pack(*[values[place] for place in _ORDER]))
    memory.write(pages[VMCS_PAGE], hkid, VMCS_STATE, _VMCS.pack(*[values[place] for place in _VMCS_ORDER]))


def load(memory: KeyedMemory, pages: Sequence[int], hkid: int) -> list[int]:
    """All registers in the order of NAMES. IntegrityFault if somebody changed the pages."""
    general = _GENERAL.unpack(memory.read(pages[0], hkid, GPR_STATE, _GENERAL.size))
    other = _VMCS.unpack(memory.read(pages[VMCS_PAGE], hkid, VMCS_STATE, _VMCS.size))
    found = dict(zip(GENERAL, general, strict=True)) | dict(zip(IN_VMCS, other, strict=True))
    return [found[name] for name in NAMES]


def selected(mask: int) -> list[str]:
    """The general registers that a VMCALL's bitmap picks."""
    return [name for number, name in enumerate(GENERAL) if mask >> number & 1]


def host_registers(left: Exit) -> dict[str, int]:
    """The general registers as the host finds them after an exit. The upper half of RAX is the status, success."""
    seen = dict.fromkeys(GENERAL, 0) | {"rax": int(left.reason)}
    if left.reason is ExitReason.TDCALL:
        return seen | {"rcx": left.mask} | dict(left.passed or {})
    if left.reason is ExitReason.EPT_VIOLATION:
        return seen | {"r8": left.gpa}
    return seen
