"""The host's SGX driver and page tables: untrusted, but it has to do all this for an enclave to run.

It builds the enclave, adds pages when they are first touched, and shares the EPC. Everything that it says is checked by
the processor or by the enclave.
"""

import hashlib
from collections.abc import Callable, Iterable
from typing import Final

from cloister.emulate.host import PhysicalMemory
from cloister.emulate.paging import Stage
from cloister.emulate.sgx import build, grow, paging
from cloister.emulate.sgx.epcm import Enclave
from cloister.emulate.sgx.outcomes import Code
from cloister.emulate.sgx.processor import Processor
from cloister.emulate.sgx.structures import Attributes, PageType, SecInfo, Secs
from cloister.emulate.sgx.swap import SECINFO_PLACE, TOKEN_PLACE, Desk, Refusal, Swap, demand
from cloister.emulate.tables import PageTable
from cloister.evidence.sigstruct import Sigstruct
from cloister.measure.enclave import EnclaveLayout
from cloister.measure.image import PAGE, Permission
from cloister.measure.sgx import CHUNK, SecinfoFlags

__all__ = ["Driver"]

TYPE_SHIFT: Final = 8
TOKEN: Final = bytes(304)
"""No launch token: EINITTOKEN.VALID is 0."""


class Driver:
    """One enclave's driver. `table` is what the processor walks; `pages` are the EPC pages that it thinks are where.

    Numbers are linear addresses / 4,096. `withheld` are those that an administrator took out of the table.
    """

    enclave: Enclave

    def __init__(
        self,
        cpu: Processor,
        ordinary: PhysicalMemory,
        accessed: Callable[[int], bool],
        flush: Callable[[], None],
    ) -> None:
        self.cpu = cpu
        self.table = PageTable(Stage.HOST)
        self.pages: dict[int, int] = {}
        self.permissions: dict[int, Permission] = {}
        self.withheld: set[int] = set()
        self.desk = Desk(cpu, ordinary)
        epc = PhysicalMemory(cpu.epcm.first, cpu.epcm.count)
        self.swap = Swap(cpu, self.desk, epc, ordinary, accessed, flush)

    # ---- building

    def gives(self, instruction: str) -> None:
        """An ENCLS leaf of the launch was executed: here `launch_commands` looks on."""

    def create(self, layout: EnclaveLayout, attributes: Attributes) -> None:
        """ECREATE, then EADD and EEXTEND of all pages of the layout. Fault. MemoryError if the EPC is too small."""
        draft = Secs(
            size=layout.size, base=layout.base, ssaframesize=layout.ssa_frame_pages, miscselect=0,
            attributes=attributes, mrenclave=bytes(32), mrsigner=bytes(32), configid=bytes(64), isvprodid=0, isvsvn=0,
            configsvn=0, isvfamilyid=bytes(16), isvextprodid=bytes(16), eid=0,
        )  # fmt: skip
        secs = self.swap.epc.allocate() * PAGE
        info = self.desk.page_info(srcpge=self.desk.large(draft.serialize()), secinfo=self._secinfo(PageType.SECS))
        build.ecreate(self.cpu, info, secs)
        self.enclave = self.cpu.enclave_of("driver", secs)
        self.gives("ECREATE")
        pinned = range(layout.tcs // PAGE, layout.start // PAGE + 1)
        for page in layout.pages:
            number = (layout.base + page.offset) // PAGE
            self._add(number, page.flags, page.content)
            if number not in pinned:
                self.swap.order[number] = None

    def _add(self, number: int, flags: SecinfoFlags, content: bytes) -> None:
        self._grow_to(len(self.permissions) + 1)
        page = self._free_page()
        secinfo = self.desk.small(SECINFO_PLACE, SecInfo(flags=int(flags)).serialize())
        source, secs = self.desk.large(content), self.enclave.secs * PAGE
        info = self.desk.page_info(linaddr=number * PAGE, srcpge=source, secinfo=secinfo, secs=secs)
        build.eadd(self.cpu, info, page * PAGE)
        self.gives("EADD")
        for chunk in range(page * PAGE, (page + 1) * PAGE, CHUNK):
            build.eextend(self.cpu, secs, chunk)
            self.gives("EEXTEND")
        tcs = flags & SecinfoFlags.TCS
        self._map(number, page, Permission.READ | Permission.WRITE if tcs else Permission(int(flags) & 7))

    def initialise(self, signed: bytes) -> Code:
        """EINIT. As Linux does, the launch control hash is set to whoever signed."""
        parsed = Sigstruct.parse(signed)
        self.cpu.launch_key_hash = hashlib.sha256(parsed.modulus).digest()
        token = self.desk.small(TOKEN_PLACE, TOKEN)
        code = build.einit(self.cpu, self.desk.large(signed), self.enclave.secs * PAGE, token)
        self.gives("EINIT")
        return code

    # ---- faults

    def knows(self, number: int) -> bool:
        """Whether the enclave has a page there, in the EPC or written out."""
        return number in self.permissions

    def repair(self, number: int) -> None:
        """Bring a page back and map it. Refusal if it cannot be the one that was written out."""
        if number not in self.pages:
            self._bring_back(number)
        self.withheld.discard(number)
        self._map(number, self.pages[number], self.permissions[number])

    def has_room(self, pages: int) -> bool:
        """Whether so many pages can be added without writing others out."""
        return self.swap.epc.left > pages

    def augment(self, number: int, permission: Permission) -> None:
        """EAUG a page and map it. MemoryError."""
        self._grow_to(len(self.permissions) + 1)
        page = self._free_page()
        info = self.desk.page_info(linaddr=number * PAGE, secs=self.enclave.secs * PAGE)
        grow.eaug(self.cpu, info, page * PAGE)
        self._map(number, page, permission)
        self.swap.order[number] = None

    # ---- what the enclave asks for

    def allow(self, numbers: Iterable[int], permission: Permission) -> None:
        """Change the page table's permissions."""
        for number in numbers:
            self.permissions[number] = permission
            self.table.allow(number * PAGE, permission)

    def restrict(self, numbers: Iterable[int], permission: Permission) -> None:
        """EMODPR of pages, and ETRACK, so that the enclave can accept. Refusal."""
        secinfo = self.desk.small(SECINFO_PLACE, SecInfo(flags=int(permission)).serialize())
        self._each("EMODPR", numbers, lambda page: grow.emodpr(self.cpu, secinfo, page))

    def trim(self, numbers: Iterable[int]) -> None:
        """EMODT of pages to PT_TRIM, and ETRACK, so that the enclave can accept. Refusal."""
        self._each("EMODT", numbers, lambda page: grow.emodt(self.cpu, self._secinfo(PageType.TRIM), page))

    def remove(self, numbers: Iterable[int]) -> None:
        """EREMOVE of pages that were trimmed. Refusal."""
        for number in numbers:
            page = self.resident(number)
            demand("EREMOVE", build.eremove(self.cpu, page * PAGE))
            self.swap.epc.free(page)
            self.table.take(number * PAGE)
            self.swap.order.pop(number, None)
            del self.pages[number], self.permissions[number]
            self.withheld.discard(number)

    def _each(self, name: str, numbers: Iterable[int], change: Callable[[int], Code]) -> None:
        for number in numbers:
            page = self.resident(number)
            demand(name, change(page * PAGE))
        demand("ETRACK", paging.etrack(self.cpu, self.enclave.secs * PAGE))

    # ---- EPC pages

    def _map(self, number: int, page: int, permission: Permission) -> None:
        self.pages[number], self.permissions[number] = page, permission
        if number not in self.withheld:
            self.table.set(number * PAGE, page, permission)

    def resident(self, number: int) -> int:
        """The EPC page of a number, brought back if it was written out. Refusal, MemoryError."""
        if number not in self.pages:
            self._bring_back(number)
        return self.pages[number]

    def _bring_back(self, number: int) -> None:
        page = self._free_page()
        try:
            self.swap.bring_back(number, page, self.enclave.secs * PAGE)
        except Refusal:
            self.swap.epc.free(page)
            raise
        self._map(number, page, self.permissions[number])
        self.swap.order[number] = None

    def _grow_to(self, pages: int) -> None:
        if not self.swap.epc.left:
            self._reclaim()
        self.swap.provide(pages)

    def _free_page(self) -> int:
        if not self.swap.epc.left:
            self._reclaim()
        return self.swap.epc.allocate()

    def _reclaim(self) -> None:
        """Write some pages out. MemoryError if none can go."""
        numbers = self.swap.victims()
        if not numbers:
            raise MemoryError("the EPC is full, and ordinary memory has no room for pages that are written out")
        for number in numbers:
            self.table.take(number * PAGE)
        self.swap.write_out({number: self.pages.pop(number) for number in numbers}, self.enclave.secs * PAGE)

    def _secinfo(self, kind: PageType) -> int:
        return self.desk.small(SECINFO_PLACE, SecInfo(flags=kind << TYPE_SHIFT).serialize())
