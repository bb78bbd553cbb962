"""The hypervisor's part of a TD: memory, and the module's functions in their order.

As KVM does it (arch/x86/kvm/vmx/tdx.c; Documentation/virt/kvm/x86/intel-tdx.rst). It is not trusted: an adversary calls
the module otherwise, hands in other contents, or takes pages away.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from cloister.emulate.host import PhysicalMemory
from cloister.emulate.tdx.module import TdxModule
from cloister.emulate.tdx.params import TdParams
from cloister.emulate.tdx.td import FEWEST_TDCX, TDVPS_PAGES
from cloister.measure.image import PAGE

__all__ = ["Vmm"]

CHUNK: Final = 256
NONE: Final = -1

PutPage = Callable[[int, bytes], None]
"""Write 4,096 bytes to a physical page of the host's own."""

GetQuote = Callable[[bytes], bytes]
"""From a TDREPORT to a quote."""

Answer = Callable[[Mapping[str, int]], Mapping[str, int]]
"""From the registers that a TD passed in TDG.VP.VMCALL to what the host puts into them."""

INVALID_OPERAND: Final = 1 << 63
"""TDG.VP.VMCALL_INVALID_OPERAND (Guest-Hypervisor Communication Interface for TDX, table 2-4)."""


def unknown_call(_passed: Mapping[str, int]) -> Mapping[str, int]:
    """A hypervisor that knows no call of programs says so in R10."""
    return {"r10": INVALID_OPERAND}


class Vmm:
    """One hypervisor with one TD. `table` mirrors the secure EPT: guest-physical to physical page numbers.

    `answer` is how it answers a VMCALL that a program makes, `get_quote` how it has reports quoted. `tdr` and `tdvpr`
    are -1 while there is no TD.
    """

    def __init__(self, module: TdxModule, pages: PhysicalMemory, put: PutPage, get_quote: GetQuote) -> None:
        self.module, self._pages, self._put, self.get_quote = module, pages, put, get_quote
        self.answer: Answer = unknown_call
        self.tdr = self.tdvpr = NONE
        self.table: dict[int, int] = {}

    # ---- launch

    def create(self, params: TdParams) -> None:
        """TDH.MNG.CREATE, KEY.CONFIG, ADDCX, INIT (KVM_TDX_INIT_VM)."""
        module = self.module
        tdr, hkid = self._pages.allocate(), module.free_hkids[0]
        module.mng_create(tdr, hkid)
        module.mng_key_config(tdr)
        for _ in range(FEWEST_TDCX):
            module.mng_addcx(tdr, self._pages.allocate())
        module.mng_init(tdr, params.serialize())
        self.tdr = tdr

    def add_vcpu(self, argument: int = 0) -> None:
        """TDH.VP.CREATE, ADDCX, INIT (KVM_TDX_INIT_VCPU)."""
        tdvpr = self._pages.allocate()
        self.module.vp_create(tdvpr, self.tdr)
        for _ in range(TDVPS_PAGES - 1):
            self.module.vp_addcx(self._pages.allocate(), tdvpr)
        self.module.vp_init(tdvpr, argument)
        self.tdvpr = tdvpr

    def load(self, pages: Iterable[tuple[int, bytes]]) -> None:
        """TDH.MEM.PAGE.ADD, TDH.MR.EXTEND for each (guest-physical address, content) (KVM_TDX_INIT_MEM_REGION)."""
        source = self._pages.allocate()
        for gpa, content in pages:
            self._tables(gpa)
            self._put(source, content)
            page = self._pages.allocate()
            self.module.mem_page_add(self.tdr, gpa, page, source)
            self.table[gpa // PAGE] = page
            for place in range(gpa, gpa + PAGE, CHUNK):
                self.module.mr_extend(self.tdr, place)
        self._pages.free(source)

    def finalize(self) -> None:
        """TDH.MR.FINALIZE (KVM_TDX_FINALIZE_VM)."""
        self.module.mr_finalize(self.tdr)

    # ---- while it runs

    def augment(self, gpa: int) -> int:
        """Answer an EPT violation: TDH.MEM.PAGE.AUG with a page of the host's; its number. MemoryError."""
        self._tables(gpa)
        page = self._pages.allocate()
        self.module.mem_page_aug(self.tdr, gpa, page)
        self.table[gpa // PAGE] = page
        return page

    def block(self, gpa: int) -> None:
        """TDH.MEM.RANGE.BLOCK, TDH.MEM.TRACK; the processor is not running, so it will be entered with an empty TLB."""
        self.module.mem_range_block(self.tdr, gpa)
        self.module.mem_track(self.tdr)

    def unblock(self, gpa: int) -> None:
        """TDH.MEM.RANGE.UNBLOCK."""
        self.module.mem_range_unblock(self.tdr, gpa)

    def replace(self, gpa: int) -> int:
        """Take a page away and add another: BLOCK, TRACK, REMOVE, AUG. The new page is PENDING; its number."""
        self.block(gpa)
        old = self.module.mem_page_remove(self.tdr, gpa)
        page = self.augment(gpa)
        self._pages.free(old)
        return page

    def relocate(self, gpa: int) -> int:
        """Move a page with its content to another physical page: BLOCK, TRACK, RELOCATE. The new page's number."""
        self.block(gpa)
        page = self._pages.allocate()
        self._pages.free(self.module.mem_page_relocate(self.tdr, gpa, page))
        self.table[gpa // PAGE] = page
        return page

    def _tables(self, gpa: int) -> None:
        """The tables of the secure EPT that an address lacks."""
        for level in self.module.tds[self.tdr].sept.missing(gpa):
            self.module.mem_sept_add(self.tdr, gpa, level, self._pages.allocate())

    # ---- the end

    def end(self) -> None:
        """Take the TD down: its key is wiped, every page is the host's again."""
        module, tdr = self.module, self.tdr
        if tdr == NONE:
            return
        if self.tdvpr != NONE:
            module.vp_flush(self.tdvpr)
        module.mng_vpflushdone(tdr)
        module.phymem_cache_wb()
        module.mng_key_freeid(tdr)
        for page in (*module.pamt.owned(tdr), tdr):
            module.phymem_page_reclaim(page)
            self._pages.free(page)
        self.table.clear()
        self.tdr = self.tdvpr = NONE
