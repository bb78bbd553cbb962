"""What the machines that protect a whole guest have in common: SEV, SEV-ES, SEV-SNP, TDX, CCA.

The guest's own page tables lead to guest-physical pages; they are inside the TEE, nobody else changes them. From there
the hypervisor's nested table (or the secure EPT, or the realm translation table) leads to physical pages.
"""

from abc import abstractmethod
from typing import Final

from cloister.emulate.machine import Machine, Shape
from cloister.emulate.paging import Access, Stage, Translation
from cloister.emulate.tables import PageTable
from cloister.emulate.terminal import Terminal
from cloister.measure.guest import GuestLayout
from cloister.measure.image import PAGE, Image, Permission

__all__ = ["GuestMachine"]


ZEROS: Final = bytes(PAGE)


class GuestMachine(Machine):
    """A machine whose TEE is a guest: two stages of translation."""

    def __init__(self, shape: Shape, console: Terminal) -> None:
        super().__init__(shape, console)
        self.guest = PageTable(Stage.PROGRAM)
        self._next_guest_page = 0
        self._free_guest_pages: list[int] = []

    # ---- what each TEE defines

    @abstractmethod
    def nested(self, guest_page: int, address: int, access: Access) -> tuple[int, int]:
        """Guest-physical page -> (physical page, key id), with the TEE's checks. `address` is for the fault."""

    @abstractmethod
    def accept(self, guest_page: int) -> None:
        """Let the guest use one more guest-physical page, as PVALIDATE, TDG.MEM.PAGE.ACCEPT or RIPAS do."""

    def leave_unused(self, guest_page: int) -> None:
        """The guest no longer uses a page; it keeps it for the next `accept`, unless a TEE says otherwise."""
        self._free_guest_pages.append(guest_page)

    # ---- translation

    def translate(self, address: int, access: Access) -> Translation:
        """Both stages."""
        entry = self.guest.walk(address, access)
        page, key = self.nested(entry.target, address, access)
        return Translation(page, entry.permission, key)

    def host_address(self, address: int) -> int:
        """The hypervisor knows guest-physical addresses, from faults and from the launch."""
        return self.guest.entries[address >> 12].target * PAGE

    # ---- memory for the program

    def adopt(self, image: Image, layout: GuestLayout) -> None:
        """After launch: the guest's page tables as the measured boot parameters say; the rest of memory is free."""
        for page, place in zip(image.pages, layout.image_places, strict=True):
            self.guest.set(page.address, place // PAGE, page.permission)
        self._next_guest_page = len(layout.pages)

    def commit(self, address: int, permission: Permission) -> None:
        """Accept a page, zero it, map it. The host may have taken it away: nothing is mapped before it is zeroed."""
        begun = self.guest.entries.get(address >> 12)
        guest_page = self._guest_page() if begun is None else begun.target
        self.guest.set(address, guest_page, Permission.NONE)
        page, key = self.nested(guest_page, address, Access.WRITE)
        self.cache.put(page, key, ZEROS)
        self.guest.set(address, guest_page, permission)

    def _guest_page(self) -> int:
        if self._free_guest_pages:
            return self._free_guest_pages.pop()
        guest_page, self._next_guest_page = self._next_guest_page, self._next_guest_page + 1
        self.accept(guest_page)
        return guest_page

    def release(self, address: int) -> None:
        """Take a page out of the guest's tables."""
        entry = self.guest.take(address)
        if entry is not None:
            self.leave_unused(entry.target)

    def change(self, address: int, permission: Permission) -> None:
        """Change the guest's tables."""
        self.guest.allow(address, permission)

    def free_memory(self) -> int:
        """Bytes that the hypervisor can still give."""
        return (self.pages.left + len(self._free_guest_pages)) * PAGE
