"""How the host's operating system shares a small EPC: pages go to ordinary memory and come back, as Linux does it.

Linux, arch/x86/kernel/cpu/sgx/main.c: 16 pages at a time, those that were not accessed since it last looked; EBLOCK
each, ETRACK once, EWB each. Pages of version slots are made as the enclave grows, one for each 512 pages.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cloister.emulate.host import PhysicalMemory
from cloister.emulate.sgx import paging
from cloister.emulate.sgx.outcomes import Code
from cloister.emulate.sgx.processor import Processor
from cloister.emulate.sgx.structures import PageInfo, Pcmd
from cloister.measure.image import PAGE

__all__ = ["BATCH", "Desk", "Refusal", "Stored", "Swap"]

BATCH: Final = 16
"""SGX_NR_TO_SCAN."""

PCMDS: Final = PAGE // Pcmd.SIZE
PAGE_INFO_PLACE: Final = 0
SECINFO_PLACE: Final = 64
TOKEN_PLACE: Final = 512


class Refusal(Exception):
    """An instruction gave the driver an error code: the driver did something wrong, or somebody interfered."""

    def __init__(self, instruction: str, code: Code) -> None:
        super().__init__(f"{instruction} refuses: {code}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a page is that is not in the EPC: addresses of its ciphertext, its PCMD, and its version's slot."""

    content: int
    pcmd: int
    slot: int


class Desk:
    """Two pages of ordinary memory on which the driver lays out operands: structures, and one page's content."""

    def __init__(self, cpu: Processor, ordinary: PhysicalMemory) -> None:
        self._cpu = cpu
        self._small, self._large = ordinary.allocate() * PAGE, ordinary.allocate() * PAGE

    def small(self, place: int, data: bytes) -> int:
        """Put a structure at a place of the first page; its address."""
        self._cpu.write("driver", self._small + place, data)
        return self._small + place

    def page_info(self, *, linaddr: int = 0, srcpge: int = 0, secinfo: int = 0, secs: int = 0) -> int:
        """Put down a PAGEINFO; its address."""
        info = PageInfo(linaddr=linaddr, srcpge=srcpge, secinfo=secinfo, secs=secs)
        return self.small(PAGE_INFO_PLACE, info.serialize())

    def large(self, content: bytes) -> int:
        """Fill the second page; its address."""
        self._cpu.write("driver", self._large, content.ljust(PAGE, b"\0"))
        return self._large


@dataclass
class Swap:
    """The EPC's free pages, and what was written out. `accessed` tells and clears whether a page's number was used.

    `stored` is by number (linear address / 4,096); `order` holds what may be written out, longest in the EPC first.
    Counters: `written` and `loaded` pages.
    """

    cpu: Processor
    desk: Desk
    epc: PhysicalMemory
    ordinary: PhysicalMemory
    accessed: Callable[[int], bool]
    flush: Callable[[], None]
    stored: dict[int, Stored] = field(default_factory=dict)
    order: dict[int, None] = field(default_factory=dict)
    written: int = 0
    loaded: int = 0
    _slots: list[int] = field(default_factory=list)
    _pcmds: list[int] = field(default_factory=list)
    _va_pages: int = 0

    def provide(self, pages: int) -> None:
        """Have a version slot for each of so many pages of the enclave, before it has them."""
        while self._va_pages * paging.SLOTS < pages:
            page = self.epc.allocate()
            paging.epa(self.cpu, page * PAGE)
            self._va_pages += 1
            self._slots += range(page * PAGE, (page + 1) * PAGE, paging.SLOT)

    def victims(self) -> list[int]:
        """Up to a batch of numbers to write out. A page that was used since the last look gets another chance."""
        self.flush()
        found: list[int] = []
        wanted = min(BATCH, -(-len(self.order) // 2), self._room())
        for _ in range(2 * len(self.order)):
            if len(found) >= wanted:
                break
            number = next(iter(self.order))
            del self.order[number]
            if self.accessed(number):
                self.order[number] = None
            else:
                found.append(number)
        return found

    def _room(self) -> int:
        """How many pages ordinary memory can still take; a page is kept for PCMDs."""
        return min(len(self._slots), max(0, self.ordinary.left - 1))

    def write_out(self, numbers: dict[int, int], secs: int) -> None:
        """EBLOCK, ETRACK, EWB of pages: number -> EPC page. Nothing may map them any more. Refusal."""
        for page in numbers.values():
            demand("EBLOCK", paging.eblock(self.cpu, page * PAGE))
        demand("ETRACK", paging.etrack(self.cpu, secs))
        for number, page in numbers.items():
            stored = Stored(self.ordinary.allocate() * PAGE, self._pcmd(), self._slots.pop())
            info = self.desk.page_info(srcpge=stored.content, secinfo=stored.pcmd)
            demand("EWB", paging.ewb(self.cpu, info, page * PAGE, stored.slot))
            self.stored[number] = stored
            self.epc.free(page)
            self.written += 1

    def bring_back(self, number: int, page: int, secs: int) -> None:
        """ELDU of a page into a free EPC page. Refusal: what ordinary memory holds is not what EWB wrote last."""
        stored = self.stored[number]
        info = self.desk.page_info(linaddr=number * PAGE, srcpge=stored.content, secinfo=stored.pcmd, secs=secs)
        demand("ELDU", paging.eldu(self.cpu, info, page * PAGE, stored.slot))
        del self.stored[number]
        self.ordinary.free(stored.content // PAGE)
        self._pcmds.append(stored.pcmd)
        self._slots.append(stored.slot)
        self.loaded += 1

    @property
    def free_pages(self) -> int:
        """How many more pages the enclave can have: what is free, less what PCMDs and version slots will take."""
        outside = max(0, self.ordinary.left - 1) * PCMDS // (PCMDS + 1)
        return (self.epc.left + outside) * paging.SLOTS // (paging.SLOTS + 1)

    def _pcmd(self) -> int:
        """A free place for a PCMD."""
        if not self._pcmds:
            start = self.ordinary.allocate() * PAGE
            self._pcmds += range(start, start + PCMDS * Pcmd.SIZE, Pcmd.SIZE)
        return self._pcmds.pop()


def demand(instruction: str, code: Code) -> None:
    """Refusal unless the instruction succeeded."""
    if code is not Code.SUCCESS:
        raise Refusal(instruction, code)
