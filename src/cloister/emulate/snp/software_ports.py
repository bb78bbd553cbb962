"""What an SNP machine's administrator gets: reads give ciphertext, writes fault, remapping is noticed."""

from typing import Final

from cloister.emulate.nested_ports import NestedTablePorts
from cloister.emulate.paging import Refused
from cloister.emulate.ports import require_memory
from cloister.emulate.snp.commands import CommandFailed
from cloister.emulate.snp.hypervisor import Hypervisor
from cloister.emulate.snp.rmp import ReverseMap
from cloister.measure.image import PAGE

__all__ = ["SnpPorts"]

HIDDEN: Final = b"\xff" * PAGE
"""What a host reads of a guest's memory with ciphertext hiding (Linux names it a constant of all ones)."""


class SnpPorts(NestedTablePorts):
    """The ports of `SnpMachine` that need no more than hypervisor and RMP, which decides at the next access."""

    hypervisor: Hypervisor
    rmp: ReverseMap
    hiding: bool

    def host_read(self, page: int) -> bytes:
        """Ciphertext of a guest's page, or all ones with ciphertext hiding: the RMP does not stop reads."""
        require_memory(page, self.dram.pages)
        return HIDDEN if self.hiding and self.rmp.covering(page).asid else self.hypervisor.read(page)

    def host_write(self, page: int, data: bytes) -> None:
        """Refused by the RMP unless the page is the hypervisor's own."""
        require_memory(page, self.dram.pages)
        self.hypervisor.write(page, data)

    def device_read(self, page: int) -> bytes:
        """As the host: devices have no key."""
        return self.host_read(page)

    def device_write(self, page: int, data: bytes) -> None:
        """Refused by the IOMMU, which looks into the RMP too."""
        try:
            self.host_write(page, data)
        except Refused as refused:
            raise Refused(f"IOMMU: {refused}") from refused

    def debug_read(self, host_address: int) -> bytes:
        """SNP_DBG_DECRYPT: refused unless the guest's policy has DEBUG."""
        try:
            return self.hypervisor.debug_page(self.physical_page(host_address))
        except CommandFailed as failed:
            raise Refused(str(failed)) from failed
