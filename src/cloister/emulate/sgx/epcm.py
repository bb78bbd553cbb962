"""The EPCM: what the processor knows of every EPC page, and the check at each TLB fill (SDM 3D, 38.19, page 38-2).

It is on die in this model; the manual says only that software cannot reach it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from cloister.emulate.paging import NEEDED, Access, MemoryFault, Stage
from cloister.emulate.sgx.structures import PageType
from cloister.measure.image import PAGE, Permission
from cloister.measure.sgx import EnclaveMeasurement

__all__ = ["Enclave", "EpcPage", "Epcm"]

IN_PAGE = PAGE - 1


@dataclass(eq=False, slots=True)
class Enclave:
    """What the processor keeps of an enclave besides its SECS page, in fields that the manual leaves to it.

    `secs` is the SECS's physical page, `base` and `size` are in bytes, `children` its pages in the EPC, `epoch` the
    tracking epoch (ETRACK), `inside` the epoch in which each thread entered that is inside now, by its TCS page.
    """

    eid: int
    secs: int
    base: int
    size: int
    measurement: EnclaveMeasurement
    children: int = 0
    initialised: bool = False
    epoch: int = 1
    inside: dict[int, int] = field(default_factory=dict)

    def left_since(self, epoch: int) -> bool:
        """Whether ETRACK came after that epoch, and every thread that was inside then has left."""
        return self.epoch > epoch and all(entered > epoch for entered in self.inside.values())

    def holds(self, address: int) -> bool:
        """Whether a linear address is in ELRANGE."""
        return self.base <= address < self.base + self.size


@dataclass(eq=False, slots=True)
class EpcPage:
    """One valid EPCM entry. `address` is the linear address, 0 for SECS and VA pages, which have none.

    `enclave` is None for VA pages. `epoch` is when the page was blocked, modified or restricted.
    """

    type: PageType
    enclave: Enclave | None
    address: int
    permission: Permission
    blocked: bool = False
    pending: bool = False
    modified: bool = False
    restricted: bool = False
    epoch: int = 0

    @property
    def tracked(self) -> bool:
        """Whether no thread can still have a translation from before `epoch`."""
        return self.enclave is None or self.enclave.left_since(self.epoch)


class Epcm:
    """The entries of the EPC's pages, `first` to `first + count`. A page without an entry is not valid."""

    def __init__(self, first: int, count: int) -> None:
        self.first, self.count = first, count
        self._entries: dict[int, EpcPage] = {}

    def __contains__(self, page: int) -> bool:
        return self.first <= page < self.first + self.count

    def __getitem__(self, page: int) -> EpcPage | None:
        return self._entries.get(page)

    def __iter__(self) -> Iterator[int]:
        return iter(self._entries)

    def set(self, page: int, entry: EpcPage) -> None:
        """Make a page valid."""
        self._entries[page] = entry
        if entry.enclave is not None and entry.type is not PageType.SECS:
            entry.enclave.children += 1

    def clear(self, page: int) -> None:
        """Make a page free."""
        entry = self._entries.pop(page)
        if entry.enclave is not None and entry.type is not PageType.SECS:
            entry.enclave.children -= 1

    def check(self, page: int, address: int, access: Access, enclave: Enclave) -> Permission:
        """The permissions of a page that an enclave reaches at an address of ELRANGE. MemoryFault at stage TEE.

        SDM page 38-2: the entry is valid, a regular page of this enclave, at this linear address, and not BLOCKED,
        PENDING or MODIFIED. Otherwise a page fault with bit 15 (SGX) in its error code.
        """
        entry = self._entries.get(page)
        if (
            entry is None
            or entry.type is not PageType.REG
            or entry.enclave is not enclave
            or entry.address != address & ~IN_PAGE
            or entry.blocked
            or entry.pending
            or entry.modified
            or not int.__and__(entry.permission, NEEDED[access])  # Flag.__and__ takes six times as long
        ):
            raise MemoryFault(address, access, Stage.TEE, f"#PF (SGX): {self.why(page, address, access, enclave)}")
        return entry.permission

    def why(self, page: int, address: int, access: Access, enclave: Enclave) -> str:
        """Which part of the check a page fails, in words."""
        entry = self._entries.get(page)
        if page not in self:
            return f"an address of ELRANGE is mapped to page {page:#x}, which is not in the EPC"
        if entry is None:
            return f"EPC page {page:#x} is free"
        if entry.enclave is not enclave:
            return f"EPC page {page:#x} is not this enclave's"
        if entry.type is not PageType.REG:
            return f"EPC page {page:#x} is a {entry.type.name} page"
        if entry.address != address & ~IN_PAGE:
            return f"EPC page {page:#x} belongs at {entry.address:#x} (EPCM.ENCLAVEADDRESS)"
        states = {"BLOCKED": entry.blocked, "PENDING": entry.pending, "MODIFIED": entry.modified}
        return next((name for name, on in states.items() if on), f"EPCM has no {NEEDED[access].name} permission")
