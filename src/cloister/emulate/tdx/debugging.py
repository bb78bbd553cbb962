"""SEAMCALL functions that look into a TD. They work for TDs with the DEBUG attribute, which every report shows.

Intel TDX Module 1.5 base specification, chapter "Debugging and monitoring". Model: fields of TDR, TDCS and TDVPS are
named by words, not by the numbers of metadata field identifiers.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from cloister.emulate.tdx import tdvps
from cloister.emulate.tdx.calls import CallFailed, Operand, Seamcall, Status
from cloister.emulate.tdx.params import Attribute
from cloister.emulate.tdx.processors import Processors
from cloister.emulate.tdx.sept import SeptState
from cloister.emulate.tdx.td import OpState, Td, Vcpu, VcpuState
from cloister.measure.image import PAGE

__all__ = ["WORD", "Debugging", "TdField"]

WORD: Final = 8
"""Bytes that TDH.MEM.RD and TDH.MEM.WR move."""


class TdField(StrEnum):
    """Fields that TDH.MNG.RD reads."""

    LIFECYCLE_STATE = "lifecycle state"
    OP_STATE = "operation state"
    NUM_VCPUS = "number of processors"
    ATTRIBUTES = "attributes"
    MRTD = "MRTD"
    RTMRS = "RTMRs"


FOR_EVERYBODY: Final[dict[TdField, Callable[[Td], int]]] = {
    TdField.LIFECYCLE_STATE: lambda td: td.lifecycle,
    TdField.OP_STATE: lambda td: td.op_state,
    TdField.NUM_VCPUS: lambda td: len(td.vcpus),
}
"""What the host may know of a production TD too: it is in charge of all of it."""


class Debugging(Processors):
    """Reading and writing TDs."""

    def mem_rd(self, tdr: int, gpa: int) -> bytes:
        """TDH.MEM.RD: eight bytes of a debug TD's private memory."""
        page, offset, td = self._debug_memory(Seamcall.MEM_RD, tdr, gpa)
        return self.memory.read(page, td.hkid, offset, WORD)

    def mem_wr(self, tdr: int, gpa: int, word: bytes) -> None:
        """TDH.MEM.WR: change eight bytes of a debug TD's private memory."""
        page, offset, td = self._debug_memory(Seamcall.MEM_WR, tdr, gpa)
        if len(word) != WORD:
            raise ValueError(f"TDH.MEM.WR writes {WORD} bytes, not {len(word)}")
        self.memory.write(page, td.hkid, offset, word)

    def mng_rd(self, tdr: int, field: TdField) -> int | bytes:
        """TDH.MNG.RD: a field of TDR or TDCS. Most are readable for debug TDs only."""
        call = Seamcall.MNG_RD
        td = self.td(call, tdr, Operand.RCX)
        if field in FOR_EVERYBODY:
            return int(FOR_EVERYBODY[field](td))
        if not td.attributes & Attribute.DEBUG:
            reason = f"{field} of a production TD"
            raise CallFailed(call, Status.METADATA_FIELD_NOT_READABLE, reason, Operand.RDX)
        info = self.working(call, tdr, OpState.INITIALIZED, OpState.RUNNABLE).info(self.memory)
        if field is TdField.ATTRIBUTES:
            return td.attributes
        return info.mrtd if field is TdField.MRTD else info.rtmr0 + info.rtmr1 + info.rtmr2 + info.rtmr3

    def vp_rd(self, tdvpr: int, register: str) -> int:
        """TDH.VP.RD: a register of a debug TD's processor that is not running, by its lower-case name."""
        _, values = self._debug_registers(Seamcall.VP_RD, tdvpr)
        return values[tdvps.NAMES.index(register)]

    def vp_wr(self, tdvpr: int, register: str, value: int) -> None:
        """TDH.VP.WR: change a register of a debug TD's processor that is not running."""
        vcpu, values = self._debug_registers(Seamcall.VP_WR, tdvpr)
        values[tdvps.NAMES.index(register)] = value
        tdvps.save(self.memory, vcpu.pages, vcpu.td.hkid, values)

    def _debug_registers(self, call: Seamcall, tdvpr: int) -> tuple[Vcpu, list[int]]:
        vcpu = self.vcpu(call, tdvpr)
        self._require_debug(call, vcpu.td)
        if vcpu.state is not VcpuState.READY:
            raise CallFailed(call, Status.VCPU_STATE_INCORRECT, f"the processor is {vcpu.state.name}")
        return vcpu, tdvps.load(self.memory, vcpu.pages, vcpu.td.hkid)

    def _debug_memory(self, call: Seamcall, tdr: int, gpa: int) -> tuple[int, int, Td]:
        td = self.working(call, tdr, OpState.INITIALIZED, OpState.RUNNABLE)
        self._require_debug(call, td)
        entry = td.sept.leaf(call, self.private(call, gpa, WORD), SeptState.MAPPED, SeptState.BLOCKED)
        return entry.page, gpa % PAGE, td

    @staticmethod
    def _require_debug(call: Seamcall, td: Td) -> None:
        if not td.attributes & Attribute.DEBUG:
            reason = "the TD was made without the DEBUG attribute: nobody looks into it"
            raise CallFailed(call, Status.TD_NON_DEBUG, reason, Operand.TDR)
