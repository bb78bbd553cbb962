"""What the machines with one stage of translation have in common: no TEE, SME, TrustZone, Keystone.

Whose table it is differs: the host's own for a program without a TEE or under SME, the secure world's or the enclave's
for the others.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Final

from cloister.emulate.host import Cause
from cloister.emulate.machine import Machine, Shape
from cloister.emulate.paging import Access, Stage, Translation
from cloister.emulate.tables import PageTable
from cloister.emulate.terminal import Terminal
from cloister.measure.image import PAGE, Permission

__all__ = ["FlatMachine"]


ZEROS: Final = bytes(PAGE)


class FlatMachine(Machine):
    """A machine whose program is mapped by one table, `table`, of the stage that its class names."""

    table_stage: Stage

    def __init__(self, shape: Shape, console: Terminal) -> None:
        super().__init__(shape, console)
        self.table = PageTable(self.table_stage)
        self._registers: list[int] = []

    @abstractmethod
    def key_of(self, page: int, address: int, access: Access) -> int:
        """The key id under which the program reaches a physical page, after the TEE's checks. MemoryFault."""

    @abstractmethod
    def take_page(self) -> int:
        """A free physical page for the program. MemoryError."""

    @abstractmethod
    def drop_page(self, page: int) -> None:
        """The program no longer uses a physical page."""

    def translate(self, address: int, access: Access) -> Translation:
        """Walk the table, then check."""
        entry = self.table.walk(address, access)
        return Translation(entry.target, entry.permission, self.key_of(entry.target, address, access))

    def commit(self, address: int, permission: Permission) -> None:
        """Map a page and zero it."""
        page = self.take_page()
        self.table.set(address, page, Permission.READ | Permission.WRITE)
        self.put_page(address, ZEROS)
        self.table.set(address, page, permission)

    def release(self, address: int) -> None:
        """Unmap a page."""
        entry = self.table.take(address)
        if entry is not None:
            self.drop_page(entry.target)

    def change(self, address: int, permission: Permission) -> None:
        """Change what a page is for."""
        self.table.allow(address, permission)

    def physical_page(self, host_address: int) -> int:
        """Where a page lies. KeyError if nowhere."""
        return self.table.entries[host_address >> 12].target

    def save(self, cause: Cause) -> Mapping[str, int]:
        """All registers, where the operating system keeps them and sees them."""
        del cause
        self._registers = self.engine.registers()
        return dict(zip(self.engine.names, self._registers, strict=True))

    def resume(self, cause: Cause) -> None:
        """What the operating system put back."""
        del cause
        self.engine.set_registers(self._registers)
