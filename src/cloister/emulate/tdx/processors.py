"""SEAMCALL functions about virtual processors: TDH.VP.*, and what happens when a TD is left.

Intel TDX Module 1.5 base specification, chapters "Virtual processors" and "TD entry and exit". The real module enters
and leaves within one TDH.VP.ENTER; here the machine runs the processor in between.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from cloister.emulate.tdx import tdvps
from cloister.emulate.tdx.calls import CallFailed, Operand, Seamcall, Status
from cloister.emulate.tdx.pamt import PageType
from cloister.emulate.tdx.private_memory import PrivateMemory
from cloister.emulate.tdx.td import TDVPS_PAGES, OpState, Td, Vcpu, VcpuState
from cloister.emulate.tdx.tdvps import NAMES, Exit, ExitReason

__all__ = ["Processors"]

RIP: Final = NAMES.index("rip")
RESET_VECTOR: Final = 0xFFFFFFF0
FLAGS_AT_RESET: Final = 2
MODEL: Final = 0x306C3
"""CPUID.1.EAX of the processor that the engine emulates (Haswell), which TDH.VP.INIT puts in RDX."""


class Processors(PrivateMemory):
    """Virtual processors. Their registers are in the TD's memory whenever the host runs."""

    def vp_create(self, page: int, tdr: int) -> None:
        """TDH.VP.CREATE: a page becomes the root of a processor."""
        call = Seamcall.VP_CREATE
        td = self.working(call, tdr, OpState.INITIALIZED)
        self.pamt.take(call, page, PageType.TDVPR, tdr, Operand.RCX)
        self.memory.put(page, td.hkid)
        self.vcpus[page] = Vcpu(td, [page])

    def vp_addcx(self, page: int, tdvpr: int) -> None:
        """TDH.VP.ADDCX: one more page for TDVPS."""
        call = Seamcall.VP_ADDCX
        vcpu = self._being_built(call, tdvpr)
        if len(vcpu.pages) == TDVPS_PAGES:
            raise CallFailed(call, Status.TDCX_NUM_INCORRECT, f"TDVPS has all its {TDVPS_PAGES} pages")
        self.pamt.take(call, page, PageType.TDCX, vcpu.td.tdr, Operand.RCX)
        self.memory.put(page, vcpu.td.hkid)
        vcpu.pages.append(page)

    def vp_init(self, tdvpr: int, argument: int) -> None:
        """TDH.VP.INIT: the processor stands at its reset vector. RCX and R8 are the host's to choose, unmeasured."""
        call = Seamcall.VP_INIT
        vcpu = self._being_built(call, tdvpr)
        td = vcpu.td
        if len(vcpu.pages) < TDVPS_PAGES:
            reason = f"TDVPS has {len(vcpu.pages)} of its {TDVPS_PAGES} pages"
            raise CallFailed(call, Status.TDCX_NUM_INCORRECT, reason)
        if len(td.vcpus) == (td.params.max_vcpus if td.params else 0):
            raise CallFailed(call, Status.MAX_VCPUS_EXCEEDED, f"MAX_VCPUS is {len(td.vcpus)}")
        first = {"rcx": argument, "r8": argument, "rdx": MODEL, "rsi": len(td.vcpus), "rip": RESET_VECTOR}
        first["rflags"] = FLAGS_AT_RESET
        tdvps.save(self.memory, vcpu.pages, td.hkid, [first.get(name, 0) for name in NAMES])
        vcpu.index, vcpu.state, vcpu.associated = len(td.vcpus), VcpuState.READY, True
        td.vcpus.append(vcpu)

    def _being_built(self, call: Seamcall, tdvpr: int) -> Vcpu:
        vcpu = self.vcpu(call, tdvpr, Operand.RDX if call is Seamcall.VP_ADDCX else Operand.RCX)
        self.working(call, vcpu.td.tdr, OpState.INITIALIZED)
        if vcpu.state is not VcpuState.UNINITIALIZED:
            raise CallFailed(call, Status.VCPU_STATE_INCORRECT, f"the processor is {vcpu.state.name}")
        return vcpu

    def vp_enter(self, tdvpr: int, answers: Mapping[str, int] | None = None) -> tuple[list[int], bool]:
        """TDH.VP.ENTER: the registers, in the order of NAMES, and whether the TLB must be flushed.

        After TDG.VP.VMCALL, `answers` go into those registers that the TD passed, and into no other. EptViolation if
        the TD does not get on for want of a page: it is not entered.
        """
        call = Seamcall.VP_ENTER
        vcpu = self.vcpu(call, tdvpr)
        td = self.working(call, vcpu.td.tdr, OpState.RUNNABLE)
        if vcpu.state is not VcpuState.READY:
            raise CallFailed(call, Status.VCPU_STATE_INCORRECT, f"the processor is {vcpu.state.name}")
        for gpa in vcpu.guard.suspected:
            violation = td.sept.violation(gpa)
            if violation is not None:
                raise violation
        registers = tdvps.load(self.memory, vcpu.pages, td.hkid)
        vcpu.guard.entered(registers[RIP])
        for name in vcpu.exposed:
            if answers and name in answers:
                registers[NAMES.index(name)] = answers[name]
        flush = vcpu.epoch != td.epoch
        vcpu.epoch, vcpu.state, vcpu.associated, vcpu.exposed = td.epoch, VcpuState.ACTIVE, True, ()
        return registers, flush

    def td_exit(self, vcpu: Vcpu, registers: Sequence[int], left: Exit) -> dict[str, int]:
        """A TD exit: registers (in the order of NAMES) go into TDVPS; returns what the host finds in its own."""
        tdvps.save(self.memory, vcpu.pages, vcpu.td.hkid, registers)
        if left.reason is ExitReason.EPT_VIOLATION:
            vcpu.guard.faulted(registers[RIP], left.gpa)
        if vcpu.state is VcpuState.ACTIVE:
            vcpu.state = VcpuState.READY
        return tdvps.host_registers(left)

    @staticmethod
    def machine_check(td: Td) -> None:
        """The TD consumed poison: none of its processors runs again (TDX_NON_RECOVERABLE_TD)."""
        td.fatal = True
        for vcpu in td.vcpus:
            vcpu.state = VcpuState.DISABLED
