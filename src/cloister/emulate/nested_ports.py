"""The ports of machines whose nested page table is the hypervisor's own: SEV, SEV-ES, SEV-SNP.

Whether what the hypervisor makes of it is noticed is another matter, which each machine's checks decide.
"""

from typing import Protocol

from cloister.emulate.guest import GuestMachine
from cloister.emulate.ports import require_memory
from cloister.measure.image import PAGE

__all__ = ["NestedTablePorts", "NestedTables"]


class NestedTables(Protocol):
    """`table` goes from guest-physical page number to physical page number; `withheld` are entries not present."""

    table: dict[int, int]
    withheld: dict[int, int]


class NestedTablePorts(GuestMachine):
    """Addresses of the program are guest-physical here."""

    hypervisor: NestedTables

    def physical_page(self, host_address: int) -> int:
        """Where the nested table leads; KeyError if nowhere. Pages that were withheld are still there."""
        return self._entries(host_address)[host_address // PAGE]

    def remap(self, host_address: int, page: int) -> None:
        """The hypervisor's own table may lead anywhere. Refused where there is no memory."""
        require_memory(page, self.dram.pages)
        self._entries(host_address)[host_address // PAGE] = page
        self.forget_translations()

    def withhold(self, host_address: int) -> None:
        """Clear the present bit: the next access is a nested page fault, which the host sees. KeyError if no page."""
        guest_page = host_address // PAGE
        if guest_page not in self.hypervisor.withheld:
            self.hypervisor.withheld[guest_page] = self.hypervisor.table.pop(guest_page)
            self.forget_translations()

    def give_back(self, host_address: int) -> None:
        """Set it again."""
        page = self.hypervisor.withheld.pop(host_address // PAGE, None)
        if page is not None:
            self.hypervisor.table[host_address // PAGE] = page
            self.forget_translations()

    def _entries(self, host_address: int) -> dict[int, int]:
        """The entries that are present, or those that are not, by where this address stands."""
        hypervisor = self.hypervisor
        return hypervisor.withheld if host_address // PAGE in hypervisor.withheld else hypervisor.table
