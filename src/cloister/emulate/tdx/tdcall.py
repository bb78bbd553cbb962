"""TDCALL: what a running TD asks of the module. Operands are guest-physical addresses of private memory, in bytes.

Intel TDX Module 1.5 ABI specification, guest-side functions; intel/tdx-module, src/td_dispatcher/vm_exits/tdg_*.c.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from cloister.emulate.tdx.calls import CallFailed, Operand, Status, Tdcall
from cloister.emulate.tdx.module import TdxModule
from cloister.emulate.tdx.sept import SHARED_BIT, EptViolation, SeptState
from cloister.emulate.tdx.td import Td, Vcpu
from cloister.emulate.vendors.intel_reports import ReportMac, TdxReport
from cloister.measure.image import PAGE

__all__ = ["RTMRS", "GuestCalls"]

RTMRS: Final = 4
DATA: Final = 64
SUM: Final = 48
GPAW: Final = 48
NEVER_PASSED: Final = 1 << 0 | 1 << 1 | 1 << 4
"""RAX, RCX and RSP in the bitmap of TDG.VP.VMCALL: they have their own use."""
RBP: Final = 1 << 5
MASKS: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class GuestCalls:
    """The functions for one TD's processor. Every method raises CallFailed, and IntegrityFault for changed memory."""

    module: TdxModule
    td: Td
    vcpu: Vcpu

    def mem_page_accept(self, gpa: int) -> None:
        """TDG.MEM.PAGE.ACCEPT: a page that the host added becomes the TD's, zeroed. EptViolation if there is none."""
        call = Tdcall.MEM_PAGE_ACCEPT
        self._private(call, gpa, PAGE)
        entry = self.td.sept.leaves.get(gpa // PAGE)
        if entry is not None and entry.state is SeptState.MAPPED:
            raise CallFailed(call, Status.PAGE_ALREADY_ACCEPTED, f"{gpa:#x} is MAPPED")
        if entry is None or entry.state is not SeptState.PENDING:
            raise EptViolation(gpa, entry.state if entry else SeptState.FREE)
        self.module.memory.put(entry.page, self.td.hkid)
        entry.state = SeptState.MAPPED

    def report(self, report_data: bytes) -> TdxReport:
        """The TDREPORT that TDG.MR.REPORT writes, for 64 bytes of the TD's own."""
        return self.module.report_key.report(report_data, self.td.info(self.module.memory))

    def mr_report(self, report_gpa: int, data_gpa: int, subtype: int = 0) -> None:
        """TDG.MR.REPORT: the report is written to `report_gpa`, which is a multiple of 1,024."""
        call = Tdcall.MR_REPORT
        if subtype:
            raise CallFailed(call, Status.OPERAND_INVALID, f"subtype {subtype}: only 0 is known", Operand.R8)
        data = self._read(call, data_gpa, DATA, DATA, Operand.RDX)
        self._write(call, report_gpa, self.report(data).serialize())

    def rtmr_extend(self, gpa: int, index: int) -> None:
        """TDG.MR.RTMR.EXTEND: RTMR[index] becomes SHA-384 of itself and the 48 bytes at an address."""
        call = Tdcall.MR_RTMR_EXTEND
        if not 0 <= index < RTMRS:
            raise CallFailed(call, Status.OPERAND_INVALID, f"RTMR {index}: 0 to {RTMRS - 1}", Operand.RDX)
        self.extend(index, self._read(call, gpa, SUM, DATA, Operand.RCX))

    def extend(self, index: int, value: bytes) -> None:
        """The same, of 48 bytes at hand."""
        name = f"rtmr{index}"
        old: bytes = getattr(self.td.info(self.module.memory), name)
        self.td.set_info(self.module.memory, **{name: hashlib.sha384(old + value).digest()})

    def mr_verifyreport(self, gpa: int) -> None:
        """TDG.MR.VERIFYREPORT: the REPORTMACSTRUCT at an address was made on this machine. CallFailed if not."""
        call = Tdcall.MR_VERIFYREPORT
        structure = self._read(call, gpa, ReportMac.SIZE, ReportMac.SIZE, Operand.RCX)
        if not self.module.report_key.verifies_structure(structure):
            raise CallFailed(call, Status.INVALID_REPORTMACSTRUCT, "its MAC is not this machine's")

    def vp_info(self) -> dict[str, int]:
        """TDG.VP.INFO: GPAW, attributes, processors there are and may be, this one's number; by register."""
        most = self.td.params.max_vcpus if self.td.params else 0
        return {
            "rcx": GPAW, "rdx": self.td.attributes, "r8": len(self.td.vcpus) | most << 32, "r9": self.vcpu.index,
            "r10": 0, "r11": 0,
        }  # fmt: skip

    def check_vmcall(self, mask: int) -> None:
        """Whether TDG.VP.VMCALL may pass these registers. CallFailed."""
        forbidden = NEVER_PASSED | (RBP if self.td.params and self.td.params.rbp_untouched else 0)
        if mask & forbidden or mask >= MASKS:
            reason = f"bitmap {mask:#x}: RAX, RCX and RSP are never passed, and bits 32 to 63 are zero"
            raise CallFailed(Tdcall.VP_VMCALL, Status.OPERAND_INVALID, reason, Operand.RCX)

    # ---- private memory by guest-physical address

    @staticmethod
    def _private(call: Tdcall, gpa: int, unit: int, operand: Operand = Operand.RCX) -> None:
        if gpa % unit or not 0 <= gpa < SHARED_BIT:
            reason = f"guest-physical address {gpa:#x} is not private, or no multiple of {unit}"
            raise CallFailed(call, Status.OPERAND_INVALID, reason, operand)

    def _page(self, gpa: int) -> int:
        violation = self.td.sept.violation(gpa)
        if violation is not None:
            raise violation
        return self.td.sept.leaves[gpa // PAGE].page

    def _read(self, call: Tdcall, gpa: int, size: int, unit: int, operand: Operand) -> bytes:
        self._private(call, gpa, unit, operand)
        return self.module.memory.read(self._page(gpa), self.td.hkid, gpa % PAGE, size)

    def _write(self, call: Tdcall, gpa: int, data: bytes) -> None:
        self._private(call, gpa, len(data))
        self.module.memory.write(self._page(gpa), self.td.hkid, gpa % PAGE, data)
