"""The hypervisor of an SNP guest: nested page table, RMPUPDATE, and the firmware's commands in their order.

As QEMU and KVM do it (arch/x86/kvm/svm/sev.c). It is not trusted: an adversary changes `table`, updates the RMP, hands
in other contents, or calls the firmware differently.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from cloister.emulate.host import PhysicalMemory
from cloister.emulate.memory.cache import FrameCache
from cloister.emulate.paging import HOST_KEY, Refused
from cloister.emulate.snp.chip import Chip
from cloister.emulate.snp.commands import CommandFailed, PageType
from cloister.emulate.snp.firmware import Firmware
from cloister.emulate.snp.firmware_core import FIRMWARE_PAGE
from cloister.emulate.snp.guest_pages import cpuid_page
from cloister.emulate.snp.id_block import Identity
from cloister.emulate.snp.launch import VMSA_GPA
from cloister.emulate.snp.rmp import ReverseMap, RmpEntry
from cloister.emulate.snp.rmp_instructions import Result, rmpupdate
from cloister.measure.guest import GuestLayout
from cloister.measure.image import PAGE
from cloister.measure.snp import DEFAULT_FEATURES
from cloister.measure.vmsa import guest_vmsa

__all__ = ["NONE", "GuestOptions", "Hypervisor"]

NONE: Final = -1
SHARED: Final = RmpEntry()


@dataclass(frozen=True, kw_only=True)
class GuestOptions:
    """How a guest is launched. `policy` None: what suits the machine. `host_data` 32 bytes, `gosvw` 16."""

    policy: int | None = None
    features: int = DEFAULT_FEATURES
    host_data: bytes = bytes(32)
    gosvw: bytes = bytes(16)
    identity: Identity | None = None


@dataclass
class Hypervisor:
    """One hypervisor with one guest at a time.

    `table` is the nested page table: guest page number to physical page number; `withheld` is what was taken out of it
    for a while. `context`, `vmsa` and `ghcb` are
    physical pages. `shootdown` empties the processor's TLB.
    """

    chip: Chip
    firmware: Firmware
    rmp: ReverseMap
    cache: FrameCache
    pages: PhysicalMemory
    shootdown: Callable[[], None]
    asid: int = 1
    table: dict[int, int] = field(default_factory=dict)
    withheld: dict[int, int] = field(default_factory=dict)
    context: int = NONE
    vmsa: int = NONE
    ghcb: int = NONE

    # ---- what it may do with memory

    def update(self, page: int, entry: RmpEntry) -> Result:
        """RMPUPDATE, which flushes the TLB of all processors: here where it can make a difference."""
        somebodys = self.rmp.covering(page).assigned
        result = rmpupdate(self.rmp, page, entry)
        if somebodys:
            self.shootdown()
        return result

    def write(self, page: int, content: bytes) -> None:
        """Write a whole page. Refused where the RMP gives it to somebody."""
        self.rmp.check_software_write(page)
        self.cache.put(page, HOST_KEY, content)

    def read(self, page: int) -> bytes:
        """What stands on a page under no guest's key."""
        return bytes(self.cache.frames[self.cache.frame(page, HOST_KEY, write=False, fetch=False)])

    def make_private(self, guest_page: int) -> None:
        """Answer a page state request: give the guest a page, and map it. MemoryError if there is none."""
        page = self.pages.allocate()
        self._give(page, RmpEntry(assigned=True, gpa=guest_page, asid=self.asid))
        self.table[guest_page] = page

    @contextlib.contextmanager
    def firmware_page(self) -> Iterator[int]:
        """A page that the firmware may write an answer to; taken back afterwards."""
        page = self.pages.allocate()
        self._give(page, FIRMWARE_PAGE)
        try:
            yield page
        finally:
            self._take_back(page)

    # ---- a guest's life

    def launch(self, layout: GuestLayout, options: GuestOptions, policy: int) -> None:
        """All commands from SNP_GCTX_CREATE to SNP_LAUNCH_FINISH. CommandFailed, MemoryError."""
        self.context, self.ghcb = self.pages.allocate(), self.pages.allocate()
        self._give(self.context, FIRMWARE_PAGE)
        self.firmware.gctx_create(self.context)
        self.firmware.launch_start(self.context, policy=policy, gosvw=options.gosvw)
        self.firmware.activate(self.context, asid=self.asid)
        for address, content in layout.pages:
            self._add(address, content, PageType.NORMAL)
        self._add(layout.end, bytes(PAGE), PageType.SECRETS)
        self._add(layout.end + PAGE, cpuid_page(self.chip.cpuid), PageType.CPUID)
        start = guest_vmsa(layout.parameters.start.entry, features=options.features)
        self.vmsa = self._add(VMSA_GPA, start, PageType.VMSA)
        self.firmware.launch_finish(self.context, host_data=options.host_data, identity=options.identity)

    def guest_request(self, request: int) -> bytes:
        """Carry a sealed message on a page to the firmware, and the answer back. CommandFailed."""
        with self.firmware_page() as response:
            self.firmware.guest_request(self.context, request, response)
            return self.read(response)

    def debug_page(self, page: int) -> bytes:
        """One of the guest's pages in plaintext, through SNP_DBG_DECRYPT. CommandFailed."""
        with self.firmware_page() as target:
            self.firmware.dbg_decrypt(self.context, page, target)
            return self.read(target)

    def end(self) -> None:
        """Take the guest down, as far as it came: its key is wiped, its ASID and all of its pages are free again."""
        if self.context != NONE:
            with contextlib.suppress(CommandFailed):  # no context yet
                self.firmware.decommission(self.context)
                self.firmware.df_flush()
        own = {*self.table.values(), *self.withheld.values(), self.context, self.vmsa, self.ghcb} - {NONE}
        for page in own:
            self._take_back(page)
        self.table.clear()
        self.withheld.clear()
        self.context = self.vmsa = self.ghcb = NONE

    def _add(self, address: int, content: bytes, kind: PageType) -> int:
        """One page of the initial guest: written in plain, given away, measured and encrypted in place."""
        page = self.pages.allocate()
        self.write(page, content)
        self._give(page, RmpEntry(assigned=True, immutable=True, gpa=address // PAGE, asid=self.asid))
        if kind is not PageType.VMSA:
            self.table[address // PAGE] = page
        else:
            self.vmsa = page
        self.firmware.launch_update(self.context, page, kind)
        return page

    def _give(self, page: int, entry: RmpEntry) -> None:
        result = self.update(page, entry)
        if result is not Result.SUCCESS:
            raise Refused(f"RMPUPDATE of page {page:#x}: {result.name}")

    def _take_back(self, page: int) -> None:
        """Make a page the hypervisor's again, whatever it was, and free it."""
        if self.rmp[page].immutable:
            self.firmware.page_reclaim(page)
        self._give(page, SHARED)
        self.pages.free(page)
