"""The physical address metadata table: what each page of memory that can be a TD's is used for now.

Intel TDX Module 1.5 base specification, chapter "Physical memory management"; page types as in intel/tdx-module,
src/common/memory_handlers/pamt_manager.h. Every page that the host hands in must be nobody's, so that no page is ever
two things at once: this is what makes remapping impossible. Model: the table stands on die. On real machines it takes
1/256 of memory, encrypted under the module's own key.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from cloister.emulate.tdx.calls import CallFailed, Operand, Seamcall, Status

__all__ = ["NOBODY", "PageType", "Pamt", "PamtEntry"]

NOBODY: Final = -1
"""The owner of a page that belongs to no TD, or of a TDR."""


class PageType(IntEnum):
    """PAMT.PT."""

    NDA = 0  # not the module's: the host may use it, or hand it in
    REG = 3  # a TD's private memory
    TDR = 4  # the root of a TD
    TDCX = 5  # a part of TDCS or of TDVPS
    TDVPR = 6  # the root of a virtual processor
    EPT = 8  # a page of a secure EPT


@dataclass(slots=True)
class PamtEntry:
    """One page: `owner` is the physical page of its TD's TDR, `epoch` that TD's epoch when the page was blocked."""

    kind: PageType
    owner: int
    epoch: int = 0


class Pamt:
    """The table for `pages` physical pages, all of them the host's at first."""

    def __init__(self, pages: int) -> None:
        self._pages = pages
        self._entries: dict[int, PamtEntry] = {}

    def type_of(self, page: int) -> PageType:
        """What a page is."""
        entry = self._entries.get(page)
        return entry.kind if entry else PageType.NDA

    def take(self, call: Seamcall, page: int, kind: PageType, owner: int, operand: Operand) -> None:
        """The host hands a page in. CallFailed unless it is nobody's."""
        if not 0 <= page < self._pages:
            reason = f"physical page {page:#x} is not in a trust domain memory region; there are {self._pages:#x} pages"
            raise CallFailed(call, Status.OPERAND_ADDR_RANGE_ERROR, reason, operand)
        self.expect(call, page, PageType.NDA, operand)
        self._entries[page] = PamtEntry(kind, owner)

    def expect(self, call: Seamcall, page: int, kind: PageType, operand: Operand) -> PamtEntry:
        """The entry of a page. CallFailed if it is not of this type."""
        found = self._entries.get(page, PamtEntry(PageType.NDA, NOBODY))
        if found.kind is not kind:
            reason = f"physical page {page:#x} is {found.kind.name} in the PAMT, not {kind.name}"
            raise CallFailed(call, Status.PAGE_METADATA_INCORRECT, reason, operand)
        return found

    def entry(self, page: int) -> PamtEntry:
        """The entry of a page that is not the host's. KeyError."""
        return self._entries[page]

    def free(self, page: int) -> None:
        """A page is the host's again."""
        del self._entries[page]

    def owned(self, owner: int) -> list[int]:
        """All pages of a TD but its TDR."""
        return [page for page, entry in self._entries.items() if entry.owner == owner]
