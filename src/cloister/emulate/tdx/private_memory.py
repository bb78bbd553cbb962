"""SEAMCALL functions about a TD's private memory: TDH.MEM.*.

Intel TDX Module 1.5 base specification, chapter "TD private memory management", and intel/tdx-module,
src/vmm_dispatcher/api_calls/tdh_mem_*.c for the order of checks. Addresses within a TD are guest-physical, in bytes;
pages are physical page numbers.
"""

from cloister.emulate.paging import HOST_KEY
from cloister.emulate.tdx.building import Building
from cloister.emulate.tdx.calls import CallFailed, Operand, Seamcall, Status
from cloister.emulate.tdx.pamt import PageType
from cloister.emulate.tdx.sept import ROOT_LEVEL, SeptEntry, SeptState
from cloister.emulate.tdx.td import OpState, Td, VcpuState

__all__ = ["PrivateMemory"]


class PrivateMemory(Building):
    """What the host can do to a TD's memory; there is nothing else."""

    def mem_sept_add(self, tdr: int, gpa: int, level: int, page: int) -> None:
        """TDH.MEM.SEPT.ADD: the entry at `level` (1 to 3) over an address leads to a new table."""
        call = Seamcall.MEM_SEPT_ADD
        td = self.working(call, tdr, OpState.INITIALIZED, OpState.RUNNABLE)
        if not 1 <= level <= ROOT_LEVEL:
            raise CallFailed(call, Status.OPERAND_INVALID, f"level {level}: 1 to {ROOT_LEVEL}", Operand.RCX)
        gpa = self.private(call, gpa)
        if level not in td.sept.missing(gpa):
            raise CallFailed(call, Status.EPT_ENTRY_NOT_FREE, f"level {level} over {gpa:#x} is mapped", Operand.RCX)
        self.pamt.take(call, page, PageType.EPT, tdr, Operand.R8)
        try:
            td.sept.add_table(call, gpa, level, page)
        except CallFailed:
            self.pamt.free(page)
            raise
        self.memory.put(page, td.hkid)

    def mem_page_add(self, tdr: int, gpa: int, page: int, source: int) -> None:
        """TDH.MEM.PAGE.ADD: a page with the content of the host's page `source`, before the TD runs.

        MRTD covers the address, not the content: that is what TDH.MR.EXTEND is for.
        """
        call = Seamcall.MEM_PAGE_ADD
        td = self.working(call, tdr, OpState.INITIALIZED)
        td.sept.require_free(call, self.private(call, gpa))
        content = self.memory.read(source, HOST_KEY)
        self.pamt.take(call, page, PageType.REG, tdr, Operand.R8)
        self.memory.put(page, td.hkid, content)
        td.sept.set(call, gpa, SeptState.MAPPED, page)
        td.digest.update(self.measured_block(call, gpa))

    def mem_page_aug(self, tdr: int, gpa: int, page: int) -> None:
        """TDH.MEM.PAGE.AUG: a page for a running TD. It stays PENDING until the TD accepts it."""
        call = Seamcall.MEM_PAGE_AUG
        td = self.working(call, tdr, OpState.RUNNABLE)
        td.sept.require_free(call, self.private(call, gpa))
        self.pamt.take(call, page, PageType.REG, tdr, Operand.R8)
        td.sept.set(call, gpa, SeptState.PENDING, page)

    def mem_range_block(self, tdr: int, gpa: int) -> None:
        """TDH.MEM.RANGE.BLOCK: no new translation to a page. Those that a TLB holds stay until tracking is done."""
        call = Seamcall.MEM_RANGE_BLOCK
        td = self.working(call, tdr, OpState.INITIALIZED, OpState.RUNNABLE)
        entry = td.sept.block(call, self.private(call, gpa))
        self.pamt.entry(entry.page).epoch = td.epoch

    def mem_track(self, tdr: int) -> None:
        """TDH.MEM.TRACK: a new epoch. A processor that is entered in it has forgotten all translations."""
        call = Seamcall.MEM_TRACK
        td = self.working(call, tdr, OpState.INITIALIZED, OpState.RUNNABLE, operand=Operand.RCX)
        if any(vcpu.state is VcpuState.ACTIVE and vcpu.epoch < td.epoch for vcpu in td.vcpus):
            reason = "a processor still runs that was entered before the last epoch: interrupt it first"
            raise CallFailed(call, Status.PREVIOUS_TLB_EPOCH_BUSY, reason)
        td.epoch += 1

    def mem_range_unblock(self, tdr: int, gpa: int) -> None:
        """TDH.MEM.RANGE.UNBLOCK: as it was before TDH.MEM.RANGE.BLOCK. The content was never the host's."""
        call = Seamcall.MEM_RANGE_UNBLOCK
        td = self.working(call, tdr, OpState.INITIALIZED, OpState.RUNNABLE)
        td.sept.unblock(self._tracked(call, td, gpa))

    def mem_page_remove(self, tdr: int, gpa: int) -> int:
        """TDH.MEM.PAGE.REMOVE: a blocked page is the host's again, its number is returned. Its content is lost."""
        call = Seamcall.MEM_PAGE_REMOVE
        td = self.working(call, tdr, OpState.INITIALIZED, OpState.RUNNABLE)
        page = self._tracked(call, td, gpa).page
        td.sept.remove(gpa)
        self.memory.evict(page)
        self.pamt.free(page)
        return page

    def mem_page_relocate(self, tdr: int, gpa: int, page: int) -> int:
        """TDH.MEM.PAGE.RELOCATE: a blocked page moves, with its content, to another physical page.

        Returns the one that is the host's again. The module copies under the TD's key: nobody can choose the content.
        IntegrityFault if the page was written by somebody else.
        """
        call = Seamcall.MEM_PAGE_RELOCATE
        td = self.working(call, tdr, OpState.INITIALIZED, OpState.RUNNABLE)
        entry = self._tracked(call, td, gpa)
        content = self.memory.read(entry.page, td.hkid) if entry.state is SeptState.BLOCKED else None
        self.pamt.take(call, page, PageType.REG, tdr, Operand.R8)
        if content is not None:
            self.memory.put(page, td.hkid, content)
        old, entry.page = entry.page, page
        td.sept.unblock(entry)
        self.memory.evict(old)
        self.pamt.free(old)
        return old

    def _tracked(self, call: Seamcall, td: Td, gpa: int) -> SeptEntry:
        """A blocked leaf of which no TLB holds a translation any more. CallFailed."""
        entry = td.sept.leaf(call, self.private(call, gpa), SeptState.BLOCKED, SeptState.PENDING_BLOCKED)
        if not td.tracked(self.pamt.entry(entry.page).epoch):
            reason = f"a TLB may still hold {gpa:#x}: TDH.MEM.TRACK, then interrupt the processors"
            raise CallFailed(call, Status.TLB_TRACKING_NOT_DONE, reason)
        return entry
