"""The Reverse Map Table (RMP): for every page of DRAM who owns it, as the processor keeps it in DRAM.

AMD APM volume 2, section 15.36.3, and the layout of Milan and Genoa as Linux reads it (arch/x86/virt/svm/sev.c,
`struct rmpentry_raw`): after 16 KiB of bookkeeping, 16 bytes for each page of 4 KiB.

    low    0 assigned, 1 page size (2 MiB), 2 immutable, 3-11 subpage count, 12-50 guest page number, 51-60 ASID,
           61 VMSA, 62 validated, 63 lock
    high   a byte of permissions for each VMPL, the lowest VMPL first: read 1, write 2, execute as user 4, as kernel 8

The table itself is plaintext in DRAM, in pages that belong to the firmware: software cannot write it, whoever holds the
chips can (BadRAM, CVE-2024-21944).
"""

import struct
from enum import StrEnum
from typing import Final, NamedTuple

from cloister.emulate.memory.dram_unsafe import Dram
from cloister.emulate.paging import Refused
from cloister.measure.image import PAGE

__all__ = [
    "ALL",
    "CHECKED",
    "FIRST_VMPL",
    "LARGE",
    "VMPLS",
    "Allow",
    "PageState",
    "ReverseMap",
    "RmpEntry",
    "decoded",
    "encoded",
    "expected_save_area",
    "expected_word",
    "rmp_pages",
    "state_of",
]

ENTRY: Final = struct.Struct("<QQ")
BOOKKEEPING: Final = 4
"""Pages in front of the entries: 2,048 ASID counters of 8 bytes."""

PER_PAGE: Final = PAGE // ENTRY.size
LARGE: Final = 512
"""Pages of 4 KiB in one of 2 MiB."""

ASSIGNED, LARGE_PAGE, IMMUTABLE = 1 << 0, 1 << 1, 1 << 2
GPA_SHIFT, GPA_BITS, ASID_SHIFT, ASID_BITS = 12, 39, 51, 10
VMSA, VALIDATED = 1 << 61, 1 << 62
GPA_MASK: Final = ((1 << GPA_BITS) - 1) << GPA_SHIFT
ASID_MASK: Final = ((1 << ASID_BITS) - 1) << ASID_SHIFT
CHECKED: Final = ASSIGNED | LARGE_PAGE | GPA_MASK | ASID_MASK | VALIDATED
"""What a guest's private access depends on, besides the permissions of its VMPL."""

VMPLS: Final = 4


class Allow:
    """Bits of the permissions that a page gives one VMPL (APM volume 2, section 15.36.7)."""

    READ: Final = 1
    WRITE: Final = 2
    USER: Final = 4
    KERNEL: Final = 8


ALL: Final = Allow.READ | Allow.WRITE | Allow.USER | Allow.KERNEL
FIRST_VMPL: Final = (ALL, 0, 0, 0)
"""Permissions after RMPUPDATE: everything for VMPL 0, nothing for the others."""


class PageState(StrEnum):
    """The states of a page (SEV-SNP Firmware ABI 56860, section 5.2)."""

    HYPERVISOR = "Hypervisor"
    FIRMWARE = "Firmware"
    RECLAIM = "Reclaim"
    CONTEXT = "Context"
    METADATA = "Metadata"
    PRE_GUEST = "Pre-Guest"
    PRE_SWAP = "Pre-Swap"
    GUEST_INVALID = "Guest-Invalid"
    GUEST_VALID = "Guest-Valid"


class RmpEntry(NamedTuple):
    """One entry. `gpa` is a guest page number, `permissions` one byte for each VMPL."""

    assigned: bool = False
    large: bool = False
    immutable: bool = False
    gpa: int = 0
    asid: int = 0
    vmsa: bool = False
    validated: bool = False
    permissions: tuple[int, int, int, int] = (0, 0, 0, 0)


def state_of(entry: RmpEntry) -> PageState:
    """The state that an entry describes (56860, table of page states)."""
    if not entry.assigned:
        return PageState.HYPERVISOR
    if entry.asid:
        if entry.immutable:
            return PageState.PRE_SWAP if entry.validated else PageState.PRE_GUEST
        return PageState.GUEST_VALID if entry.validated else PageState.GUEST_INVALID
    if not entry.immutable:
        return PageState.RECLAIM
    if entry.vmsa:
        return PageState.CONTEXT
    return PageState.METADATA if entry.gpa else PageState.FIRMWARE


def encoded(entry: RmpEntry) -> tuple[int, int]:
    """The two words of an entry. ValueError for numbers that have no room."""
    if entry.gpa >> GPA_BITS or entry.asid >> ASID_BITS:
        raise ValueError(f"guest page {entry.gpa:#x}, ASID {entry.asid}: an entry has {GPA_BITS} and {ASID_BITS} bits")
    low = (
        entry.assigned * ASSIGNED | entry.large * LARGE_PAGE | entry.immutable * IMMUTABLE | entry.gpa << GPA_SHIFT
        | entry.asid << ASID_SHIFT | entry.vmsa * VMSA | entry.validated * VALIDATED
    )  # fmt: skip
    return low, sum(byte << 8 * vmpl for vmpl, byte in enumerate(entry.permissions))


def decoded(low: int, high: int) -> RmpEntry:
    """The entry of two words."""
    first, second, third, fourth = (high >> 8 * vmpl & 0xFF for vmpl in range(VMPLS))
    return RmpEntry(
        assigned=bool(low & ASSIGNED),
        large=bool(low & LARGE_PAGE),
        immutable=bool(low & IMMUTABLE),
        gpa=(low & GPA_MASK) >> GPA_SHIFT,
        asid=(low & ASID_MASK) >> ASID_SHIFT,
        vmsa=bool(low & VMSA),
        validated=bool(low & VALIDATED),
        permissions=(first, second, third, fourth),
    )


def expected_word(guest_page: int, asid: int) -> int:
    """What the bits of `CHECKED` must be for a private access of a guest with this ASID to this guest page."""
    return ASSIGNED | VALIDATED | guest_page << GPA_SHIFT | asid << ASID_SHIFT


def expected_save_area(guest_page: int, asid: int) -> int:
    """What the low word of a save area's entry must be for VMRUN."""
    return expected_word(guest_page, asid) | VMSA


def rmp_pages(memory: int) -> int:
    """How many pages of 4 KiB the table takes for `memory` pages."""
    return BOOKKEEPING + -(-memory // PER_PAGE)


class ReverseMap:
    """The table over all of `dram`, in its first pages (RMP_BASE, MSR C001_0132, is 0)."""

    def __init__(self, dram: Dram) -> None:
        self.pages = dram.pages
        self.size = rmp_pages(dram.pages)
        self._views = [dram.page(number) for number in range(BOOKKEEPING, self.size)]

    def clear(self) -> None:
        """Every page is the hypervisor's: SNP_INIT alone."""
        for view in self._views:
            view[:] = bytes(PAGE)

    def words(self, page: int) -> tuple[int, int]:
        """The two words of a page's own entry: the hot path. IndexError where there is no memory."""
        low, high = ENTRY.unpack_from(self._views[page >> 8], (page & 0xFF) << 4)
        return low, high

    def __getitem__(self, page: int) -> RmpEntry:
        """A page's own entry."""
        self._check(page)
        return decoded(*self.words(page))

    def __setitem__(self, page: int, entry: RmpEntry) -> None:
        """Write an entry: the processor's and the firmware's alone. ValueError."""
        self._check(page)
        ENTRY.pack_into(self._views[page >> 8], (page & 0xFF) << 4, *encoded(entry))

    def covering(self, page: int) -> RmpEntry:
        """The entry that rules a page: its own, or that of the 2 MiB page around it."""
        around = self[page & ~(LARGE - 1)]
        return around if around.assigned and around.large else self[page]

    def state(self, page: int) -> PageState:
        """The state of a page."""
        return state_of(self.covering(page))

    def check_software_write(self, page: int) -> None:
        """Whether the host may write a page: Refused unless it is in the hypervisor state (APM 15.36.10)."""
        state = self.state(page)
        if state is not PageState.HYPERVISOR:
            raise Refused(f"#PF with the RMP bit (error code bit 31): page {page:#x} is in state {state}")

    def _check(self, page: int) -> None:
        if not 0 <= page < self.pages:
            raise IndexError(f"page {page:#x} is outside the range that the RMP covers, {self.pages:#x} pages")
