"""What operating system and devices of a Keystone machine can do: what PMP, and an IOPMP if there is one, let through.

The host cannot ask for anything about an enclave's page tables: they are in the enclave. `remap` and `withhold` are the
stores to them that it would need, and go the way of any store.
"""

from cloister.emulate.keystone.bus import Bus, address_of, page_of
from cloister.emulate.keystone.eyrie import Runtime
from cloister.emulate.keystone.pmp import Pmp
from cloister.emulate.keystone.sv39 import entry_for
from cloister.emulate.machine import Machine
from cloister.emulate.paging import Access, Refused
from cloister.measure.image import PAGE, Permission

__all__ = ["KeystonePorts"]


class KeystonePorts(Machine):
    """`host_hart` is a hart on which the operating system runs all the time, `iopmp` checks devices, if it is there."""

    bus: Bus
    host_hart: Pmp
    iopmp: Pmp | None
    runtime: Runtime

    def host_read(self, page: int) -> bytes:
        """A load in supervisor mode, from another hart. Refused: PMP."""
        _pass(self.host_hart, page, Access.READ)
        return bytes(self.host_frame(page, write=False))

    def host_write(self, page: int, data: bytes) -> None:
        """A store in supervisor mode. Refused: PMP."""
        _pass(self.host_hart, page, Access.WRITE)
        self.host_frame(page, write=True)[:] = data

    def device_read(self, page: int) -> bytes:
        """PMP is in the harts: a device passes it by, unless there is an IOPMP. Refused."""
        if self.iopmp:
            _pass(self.iopmp, page, Access.READ)
        return bytes(self.bus.page(page, write=False))

    def device_write(self, page: int, data: bytes) -> None:
        """The same for writing."""
        if self.iopmp:
            _pass(self.iopmp, page, Access.WRITE)
        self.bus.page(page, write=True)[:] = data

    def debug_read(self, host_address: int) -> bytes:
        """Refused."""
        raise Refused(f"Keystone has no debug mode: nothing of the enclave at {host_address:#x} is shown")

    def physical_page(self, host_address: int) -> int:
        """Where the enclave's own tables lead. The host can only guess: the runtime gives pages out in order."""
        page = self.runtime.tables.page_at(host_address)
        if page is None:
            raise KeyError(host_address)
        return page

    def remap(self, host_address: int, page: int) -> None:
        """A store to the enclave's page table. Refused: PMP."""
        place, entry = self._entry(host_address)
        self._store(place, entry_for(page, Permission(entry >> 1 & 7)))

    def withhold(self, host_address: int) -> None:
        """A store that clears the valid bit. Refused: PMP."""
        place, entry = self._entry(host_address)
        self._store(place, entry & ~1)

    def give_back(self, host_address: int) -> None:
        """A store that sets it again. Refused: PMP."""
        place, entry = self._entry(host_address)
        self._store(place, entry | 1)

    def page_table_entry(self, address: int) -> int:
        """The physical address of the entry that maps an address of the program. KeyError."""
        place = self.runtime.tables.last_place(address)
        if not place:
            raise KeyError(address)
        return place

    def _entry(self, address: int) -> tuple[int, int]:
        place = self.page_table_entry(address)
        return place, int.from_bytes(self.bus.read(place, 8), "little")

    def _store(self, place: int, entry: int) -> None:
        page, offset = page_of(place), place % PAGE
        _pass(self.host_hart, page, Access.WRITE)
        self.host_frame(page, write=True)[offset : offset + 8] = entry.to_bytes(8, "little")
        self.forget_translations()


def _pass(unit: Pmp, page: int, access: Access) -> None:
    """Refused, in the architecture's words."""
    verdict = unit.check(address_of(page), PAGE, access)
    if not verdict.allowed:
        raise Refused(f"physical page {page:#x}: {verdict.fault(access)}")
