"""What all of the module's functions stand on: its memory, its tables, and the checks that come first in each."""

from cloister.emulate.tdx.calls import CallFailed, Operand, Seamcall, Status
from cloister.emulate.tdx.keyed_memory import PRIVATE_HKIDS, KeyedMemory
from cloister.emulate.tdx.pamt import PageType, Pamt
from cloister.emulate.tdx.report import ReportKey
from cloister.emulate.tdx.sept import SHARED_BIT
from cloister.emulate.tdx.td import FEWEST_TDCX, Lifecycle, OpState, Td, Vcpu
from cloister.measure.image import PAGE

__all__ = ["Core"]


class Core:
    """The module after TDH.SYS.CONFIG: all `pages` pages of memory are in its trust domain memory regions.

    A TD is known by the physical page of its TDR, a virtual processor by that of its TDVPR.
    """

    def __init__(self, memory: KeyedMemory, pages: int) -> None:
        self.memory = memory
        self.pamt = Pamt(pages)
        self.report_key = ReportKey()
        self.tds: dict[int, Td] = {}
        self.vcpus: dict[int, Vcpu] = {}
        self.free_hkids = list(PRIVATE_HKIDS[1:])

    def td(self, call: Seamcall, tdr: int, operand: Operand = Operand.RDX) -> Td:
        """The TD of a TDR, whatever its state. CallFailed if that is none."""
        self.pamt.expect(call, tdr, PageType.TDR, operand)
        return self.tds[tdr]

    def configured(self, call: Seamcall, tdr: int, operand: Operand = Operand.RDX) -> Td:
        """A TD that has its key and is not being torn down. CallFailed."""
        td = self.td(call, tdr, operand)
        if td.fatal:
            raise CallFailed(call, Status.TD_FATAL, "the TD met a machine check and will never run again")
        if td.lifecycle is Lifecycle.HKID_ASSIGNED:
            raise CallFailed(call, Status.TD_KEYS_NOT_CONFIGURED, "TDH.MNG.KEY.CONFIG comes first")
        if td.lifecycle is not Lifecycle.KEYS_CONFIGURED:
            raise CallFailed(call, Status.LIFECYCLE_STATE_INCORRECT, f"the TD is in {td.lifecycle.name}")
        return td

    def working(self, call: Seamcall, tdr: int, *states: OpState, operand: Operand = Operand.RDX) -> Td:
        """A TD with its TDCS, in one of these states. CallFailed."""
        td = self.configured(call, tdr, operand)
        if len(td.tdcx) < FEWEST_TDCX:
            reason = f"TDCS has {len(td.tdcx)} pages, TDH.MNG.ADDCX must add {FEWEST_TDCX}"
            raise CallFailed(call, Status.TDCS_NOT_ALLOCATED, reason)
        if td.op_state not in states:
            wanted = " or ".join(state.name for state in states)
            raise CallFailed(call, Status.OP_STATE_INCORRECT, f"the TD is {td.op_state.name}, not {wanted}")
        return td

    def vcpu(self, call: Seamcall, tdvpr: int, operand: Operand = Operand.RCX) -> Vcpu:
        """The virtual processor of a TDVPR. CallFailed if that is none."""
        self.pamt.expect(call, tdvpr, PageType.TDVPR, operand)
        return self.vcpus[tdvpr]

    @staticmethod
    def private(call: Seamcall, gpa: int, unit: int = PAGE) -> int:
        """A private guest-physical address, which is a multiple of `unit`. CallFailed."""
        if gpa % unit or not 0 <= gpa < SHARED_BIT:
            reason = f"guest-physical address {gpa:#x} is not private, or no multiple of {unit}"
            raise CallFailed(call, Status.OPERAND_INVALID, reason, Operand.RCX)
        return gpa
