"""A machine without a TEE: what every attack succeeds against, and what the others are compared with."""

from cloister.emulate.flat import FlatMachine
from cloister.emulate.machine import Shape
from cloister.emulate.memory.cipher import MemoryCipher
from cloister.emulate.memory.plain import PlainCipher
from cloister.emulate.paging import HOST_KEY, Access, Stage
from cloister.emulate.ports import require_memory
from cloister.emulate.tables import Entry
from cloister.emulate.terminal import Terminal
from cloister.errors import UsageError
from cloister.measure.image import Architecture, Image, Permission
from cloister.model import Digest

__all__ = ["NativeArmMachine", "NativeMachine", "NativeRiscvMachine"]

EVERYTHING = Permission.READ | Permission.WRITE | Permission.EXECUTE


class NativeMachine(FlatMachine):
    """Memory in the clear, tables and registers in the operating system's hands."""

    tee = None
    architecture = Architecture.X86_64
    shielded = False
    table_stage = Stage.HOST

    def __init__(self, shape: Shape, console: Terminal) -> None:
        super().__init__(shape, console)
        self.controller.install(HOST_KEY, self.memory_cipher())
        self._withheld: dict[int, Entry] = {}

    def memory_cipher(self) -> MemoryCipher:
        """How memory is kept: in the clear."""
        return PlainCipher(self.dram)

    def key_of(self, page: int, address: int, access: Access) -> int:
        """Nothing is checked."""
        del page, address, access
        return HOST_KEY

    def take_page(self) -> int:
        """Any free page."""
        return self.pages.allocate()

    def drop_page(self, page: int) -> None:
        """Free for anybody, as it is."""
        self.pages.free(page)

    def launch(self, image: Image) -> None:
        """Load the program as an operating system does; nobody measures it."""
        self.image = image
        for one in image.pages:
            page = self.pages.allocate()
            self.host_frame(page, write=True)[:] = one.content
            self.table.set(one.address, page, one.permission)

    @property
    def measurement(self) -> Digest:
        """There is none."""
        raise UsageError("a program without a TEE is not measured: nothing could vouch for it")

    def evidence(self, report_data: bytes) -> bytes:
        """There is none."""
        del report_data
        raise UsageError("a program without a TEE has no evidence: nothing could vouch for it")

    # ---- the operating system reaches everything

    def host_read(self, page: int) -> bytes:
        """The content of any page."""
        require_memory(page, self.dram.pages)
        return bytes(self.host_frame(page, write=False))

    def host_write(self, page: int, data: bytes) -> None:
        """Write to any page."""
        require_memory(page, self.dram.pages)
        self.host_frame(page, write=True)[:] = data

    def device_read(self, page: int) -> bytes:
        """Devices read through the same controller."""
        return self.host_read(page)

    def device_write(self, page: int, data: bytes) -> None:
        """Devices write through the same controller."""
        self.host_write(page, data)

    def debug_read(self, host_address: int) -> bytes:
        """What a debugger reads: everything."""
        return self.host_read(self.physical_page(host_address))

    def remap(self, host_address: int, page: int) -> None:
        """Change the page table."""
        require_memory(page, self.dram.pages)
        number = host_address >> 12
        if number in self._withheld:
            self._withheld[number] = self._withheld[number]._replace(target=page)
        else:
            self.table.set(host_address, page, self.table.entries[number].permission)
        self.forget_translations()

    def withhold(self, host_address: int) -> None:
        """Clear the present bit."""
        entry = self.table.take(host_address)
        if entry is not None:
            self._withheld[host_address >> 12] = entry
        self.forget_translations()

    def give_back(self, host_address: int) -> None:
        """Set the present bit."""
        entry = self._withheld.pop(host_address >> 12, None)
        if entry is not None:  # else the program has given it up meanwhile
            self.table.set(host_address, *entry)
            self.forget_translations()

    def physical_page(self, host_address: int) -> int:
        """Pages that were withheld are still there. KeyError if there is none."""
        entry = self._withheld.get(host_address >> 12)
        return super().physical_page(host_address) if entry is None else entry.target

    def release(self, address: int) -> None:
        """Unmap a page, though it be withheld."""
        entry = self._withheld.pop(address >> 12, None)
        if entry is not None:
            self.drop_page(entry.target)
        super().release(address)

    def change(self, address: int, permission: Permission) -> None:
        """Change what a page is for, though it be withheld."""
        entry = self._withheld.get(address >> 12)
        if entry is not None:
            self._withheld[address >> 12] = entry._replace(permission=permission)
        super().change(address, permission)


class NativeArmMachine(NativeMachine):
    """The same for arm64."""

    architecture = Architecture.ARM64


class NativeRiscvMachine(NativeMachine):
    """The same for riscv64."""

    architecture = Architecture.RISCV64
