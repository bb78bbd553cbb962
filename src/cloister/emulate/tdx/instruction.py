"""The instruction TDCALL in a program.

Only ring 0 may execute it: in a program it faults into the guest's kernel. The kernel of this guest carries it out for
the program: operands that are addresses are the program's own, virtual ones, and the kernel puts in the guest-physical
addresses that the module wants. (Linux offers the same through /dev/tdx_guest and sysfs.)
"""

from collections.abc import Callable, Mapping
from typing import Final

from cloister.emulate.engine_unsafe import Event
from cloister.emulate.host import Cause
from cloister.emulate.machine import Ending
from cloister.emulate.paging import Access, MemoryFault, Stage
from cloister.emulate.tdx.calls import CallFailed, Operand, Status, Tdcall
from cloister.emulate.tdx.sept import EptViolation
from cloister.emulate.tdx.software_ports import TdxPorts
from cloister.emulate.tdx.tdcall import GuestCalls
from cloister.emulate.tdx.tdvps import selected
from cloister.measure.image import PAGE

__all__ = ["TdcallInstruction"]

TDCALL: Final = bytes.fromhex("660f01cc")
"""Intel SDM volume 2, TDCALL."""


class TdcallInstruction(TdxPorts):
    """A machine whose programs may execute TDCALL. `calls` are the module's functions for its processor."""

    calls: GuestCalls
    vmcall: tuple[int, Mapping[str, int]] | None = None
    """The bitmap of a VMCALL of the program that is under way, and the registers that it passes."""

    answers: Mapping[str, int] = {}
    """What the host put into registers before it enters the TD again."""

    def instruction(self, event: Event) -> Ending | None:
        """TDCALL, or an illegal instruction. The status goes to RAX, and the program goes on behind it."""
        engine = self.engine
        place = engine.program_counter
        if self._code(place) != TDCALL:
            return super().instruction(event)
        engine.write("rax", self._status(engine.read("rax")))
        engine.program_counter = place + len(TDCALL)
        if self.vmcall is not None:
            self._ask_host()
        return None

    def _status(self, leaf: int) -> int:
        """Carry a leaf out, after the host has given back what it withheld. MemoryFault if it does not."""
        while True:
            try:
                return self._carried_out(leaf)
            except CallFailed as failed:
                return failed.code
            except MemoryFault as fault:
                if not self._repaired(fault):
                    raise

    def _code(self, place: int) -> bytes:
        """The bytes of an instruction, as they were fetched; nothing if it crosses into a page that is not there."""
        first = min(len(TDCALL), PAGE - place % PAGE)
        parts = [(place, first), (place + first, len(TDCALL) - first)]
        try:
            return b"".join(
                bytes(self.frame_of(at, Access.FETCH)[at % PAGE : at % PAGE + size]) for at, size in parts if size
            )
        except MemoryFault as fault:
            if fault.stage is not Stage.PROGRAM:
                raise
            return b""

    def _carried_out(self, leaf: int) -> int:
        """Do what a leaf asks. CallFailed; MemoryFault where memory is not there or has been withheld."""
        read = self.engine.read
        served: dict[int, Callable[[], object]] = {
            Tdcall.VP_INFO: self._vp_info,
            Tdcall.MR_RTMR_EXTEND: lambda: self.calls.rtmr_extend(
                self._physical(read("rcx"), Access.READ), read("rdx")
            ),
            Tdcall.MR_REPORT: lambda: self.calls.mr_report(
                self._physical(read("rcx"), Access.WRITE), self._physical(read("rdx"), Access.READ), read("r8")
            ),
            Tdcall.MR_VERIFYREPORT: lambda: self.calls.mr_verifyreport(self._physical(read("rcx"), Access.READ)),
            Tdcall.VP_VMCALL: self._begin_vmcall,
        }
        if leaf not in served:
            reason = f"leaf {leaf} is not for programs; those are {', '.join(Tdcall(one).title for one in served)}"
            raise CallFailed(Tdcall.VP_INFO, Status.OPERAND_INVALID, reason, Operand.RAX)
        try:
            served[leaf]()
        except EptViolation as violation:
            raise MemoryFault(read("rcx"), Access.READ, Stage.HOST, str(violation)) from violation
        return Status.SUCCESS

    def _physical(self, address: int, access: Access) -> int:
        """The guest-physical address of a program's address. MemoryFault if the program may not use it so."""
        self.frame_of(address, access)
        return self.guest.walk(address, access).target * PAGE + address % PAGE

    def _vp_info(self) -> None:
        for name, value in self.calls.vp_info().items():
            self.engine.write(name, value)

    def _begin_vmcall(self) -> None:
        mask = self.engine.read("rcx")
        self.calls.check_vmcall(mask)
        self.vmcall = mask, {name: self.engine.read(name) for name in selected(mask)}

    def _ask_host(self) -> None:
        """Exit with the registers that the program passes; what the host answers comes back in them alone."""
        passed = self.vmcall[1] if self.vmcall else {}
        self.leave(Cause.SYSTEM_CALL)
        self.answers = self.vmm.answer(passed)
        self.enter(Cause.SYSTEM_CALL)
