"""What the administrator of a TDX machine can try: each port does what the hardware and the module do.

Reading and writing go through the host's own key id. The TD-owner bit makes such reads zeros, and turns a page that was
written so into poison, which the TD meets as a machine check (Intel TDX Module 1.5 base specification, memory
integrity). The secure EPT is changed by the module's functions alone, with their checks.
"""

from cloister.emulate.guest import GuestMachine
from cloister.emulate.paging import Refused
from cloister.emulate.ports import require_memory
from cloister.emulate.tdx.calls import CallFailed
from cloister.emulate.tdx.debugging import WORD
from cloister.emulate.tdx.vmm import Vmm
from cloister.measure.image import PAGE

__all__ = ["TdxPorts"]


class TdxPorts(GuestMachine):
    """The ports of a machine whose hypervisor is `vmm`. Addresses are guest-physical."""

    vmm: Vmm

    def host_read(self, page: int) -> bytes:
        """Zeros where a TD owns the page."""
        require_memory(page, self.dram.pages)
        return bytes(self.host_frame(page, write=False))

    def host_write(self, page: int, data: bytes) -> None:
        """Not refused: the page is the host's content then, and poison to a TD that owned it."""
        require_memory(page, self.dram.pages)
        self.host_frame(page, write=True)[:] = data

    def device_read(self, page: int) -> bytes:
        """Devices have no private key ids: they read as the host does."""
        return self.host_read(page)

    def device_write(self, page: int, data: bytes) -> None:
        """Devices write as the host does."""
        self.host_write(page, data)

    def debug_read(self, host_address: int) -> bytes:
        """TDH.MEM.RD, eight bytes at a time. Refused for a TD without the DEBUG attribute."""
        gpa = host_address - host_address % PAGE
        try:
            words = [self.vmm.module.mem_rd(self.vmm.tdr, place) for place in range(gpa, gpa + PAGE, WORD)]
        except CallFailed as failed:
            raise Refused(str(failed)) from failed
        return b"".join(words)

    def physical_page(self, host_address: int) -> int:
        """From the hypervisor's mirror of the secure EPT."""
        return self.vmm.table[host_address // PAGE]

    def remap(self, host_address: int, page: int) -> None:
        """TDH.MEM.PAGE.AUG over an entry that is in use, with a page that is in use: the module refuses both.

        What a host can do is `vmm.replace`: then the page is PENDING and its content gone.
        """
        try:
            self.vmm.module.mem_page_aug(self.vmm.tdr, host_address, page)
        except CallFailed as failed:
            raise Refused(str(failed)) from failed
        self.vmm.table[host_address // PAGE] = page

    def withhold(self, host_address: int) -> None:
        """TDH.MEM.RANGE.BLOCK and TDH.MEM.TRACK: the next access exits to the host with the page's address."""
        try:
            self.vmm.block(host_address)
        except CallFailed as failed:
            raise Refused(str(failed)) from failed

    def give_back(self, host_address: int) -> None:
        """TDH.MEM.RANGE.UNBLOCK."""
        try:
            self.vmm.unblock(host_address)
        except CallFailed as failed:
            raise Refused(str(failed)) from failed
