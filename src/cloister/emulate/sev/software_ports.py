"""What a hypervisor and its devices can do to a SEV guest: nearly everything but read its memory."""

from typing import Final

from cloister.emulate.nested_ports import NestedTablePorts
from cloister.emulate.paging import Refused
from cloister.emulate.ports import require_memory
from cloister.emulate.sev.commands import CommandFailed
from cloister.emulate.sev.firmware import Firmware
from cloister.emulate.sev.generations import Generation
from cloister.emulate.sev.hypervisor import Hypervisor
from cloister.emulate.sev.save_area import OFFSETS
from cloister.measure.image import PAGE

__all__ = ["SevPorts"]

CACHE_WARP: Final = frozenset({"naples", "rome", "milan"})
"""Generations whose INVD drops a guest's modified lines."""


class SevPorts(NestedTablePorts):
    """The administrator's ports. A guest that is led to another page reads it under its own key (SEVered, 2018)."""

    generation: Generation
    firmware: Firmware
    hypervisor: Hypervisor
    trusted_pages: range
    """The firmware's trusted memory region, in physical page numbers: empty without SEV-ES."""

    def host_read(self, page: int) -> bytes:
        """With the C-bit clear: a guest's page is ciphertext."""
        self._not_trusted(page)
        return bytes(self.host_frame(page, write=False))

    def host_write(self, page: int, data: bytes) -> None:
        """Written as it is. The guest decrypts it, to garbage, and nobody notices."""
        self._not_trusted(page)
        self.host_frame(page, write=True)[:] = data

    def device_read(self, page: int) -> bytes:
        """A device has no guest's key: it reads what the host reads."""
        return self.host_read(page)

    def device_write(self, page: int, data: bytes) -> None:
        """A device writes what the host writes."""
        self.host_write(page, data)

    def debug_read(self, host_address: int) -> bytes:
        """DBG_DECRYPT into a page of the host's. The firmware refuses under a policy with NODBG."""
        buffer, source = self.pages.allocate(), self.physical_page(host_address) * PAGE
        try:
            self.firmware.dbg_decrypt(self.hypervisor.handle, source, buffer * PAGE, PAGE)
            return self.host_read(buffer)
        except CommandFailed as failure:
            raise Refused(str(failure)) from failure
        finally:
            self.pages.free(buffer)

    def debug_write(self, host_address: int, data: bytes) -> None:
        """DBG_ENCRYPT of one page, the reverse of `debug_read`."""
        buffer, target = self.pages.allocate(), self.physical_page(host_address) * PAGE
        try:
            self.host_write(buffer, data)
            self.firmware.dbg_encrypt(self.hypervisor.handle, buffer * PAGE, target, PAGE)
        except CommandFailed as failure:
            raise Refused(str(failure)) from failure
        finally:
            self.pages.free(buffer)

    def invd(self, host_address: int) -> None:
        """INVD, after all other lines were written back: what the guest wrote to a page since then never happened.

        CacheWarp (CVE-2023-20592), on the first three generations; Refused on later ones.
        """
        if self.generation.name not in CACHE_WARP:
            raise Refused(f"INVD writes modified lines back on {self.generation.name}")
        self.cache.drop(self.physical_page(host_address))

    def set_register(self, name: str, value: int) -> None:
        """Between exit and entry, the hypervisor changes a register. Refused with SEV-ES: it has none in its hands."""
        if self.hypervisor.encrypted_state:
            raise Refused("the VMCB of a SEV-ES guest holds no registers: they are in the VMSA, under the guest's key")
        offset = OFFSETS[name]
        frame = self.host_frame(self.hypervisor.state_page, write=True)
        frame[offset : offset + 8] = value.to_bytes(8, "little")

    def _not_trusted(self, page: int) -> None:
        require_memory(page, self.dram.pages)
        if page in self.trusted_pages:
            raise Refused(f"physical page {page:#x} is the firmware's trusted memory region: closed to all software")
