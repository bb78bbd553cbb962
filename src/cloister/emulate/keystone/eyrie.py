"""The enclave's runtime, in supervisor mode: page tables, free memory, and its own calls beside Linux's.

Keystone, runtime/ (Eyrie). It starts where the monitor says, reads the boot parameters from the enclave's memory, and
maps the program where they say: never from what the host says. Free memory is cut in two: pages for the program from
its beginning, pages for tables from its end, so that the two never mix.
"""

from typing import Final

from cloister.emulate.host import PhysicalMemory
from cloister.emulate.keystone.bus import Bus, address_of, page_of
from cloister.emulate.keystone.monitor import A1, SecurityMonitor
from cloister.emulate.keystone.sbi import Function
from cloister.emulate.keystone.sv39 import Sv39
from cloister.emulate.paging import Access, MemoryFault, Stage
from cloister.evidence.keystone import KeystoneReport
from cloister.measure.guest import BootParameters, parameter_pages
from cloister.measure.image import PAGE, Image, Permission

__all__ = ["SEALING_KEY", "Runtime", "tables_for"]

SEALING_KEY: Final = 192
"""`struct sealing_key`: a key of 128 bytes, and the monitor's signature of 64."""
DATA: Final = 2048
"""Where in the runtime's buffer the data for a report stands; the report is in front."""


def tables_for(pages: int) -> int:
    """How many pages are kept for page tables and the runtime's buffer: one a 512 mapped, and some for sparse ones."""
    return 24 + pages // 256


class Runtime:
    """One enclave's runtime, from the first entry on. `monitor.frame` is what the monitor hands over.

    ParseError if there are no boot parameters, MemoryError if the enclave's memory is too small.
    """

    def __init__(self, monitor: SecurityMonitor, bus: Bus) -> None:
        self._monitor, self._bus = monitor, bus
        start, size, _, user, free = monitor.frame[A1 : A1 + 5]
        self.start, self.end = page_of(start), page_of(start + size)
        first = page_of(free)
        kept = tables_for(self.end - first)
        if self.end - first <= kept:
            raise MemoryError(f"an enclave with {self.end - first} free pages has none left behind its page tables")
        self._next_table = self.end
        self.free = PhysicalMemory(first, self.end - first - kept)
        self._last_table = self.end - kept
        bus.zero(address_of(self._last_table), kept * PAGE)
        self._buffer = self.take_table()
        self.tables = Sv39(bus, monitor.hart, self.take_table(), self.take_table)
        self.image = self._map(page_of(user))

    def _map(self, user: int) -> Image:
        """What the loader does: page tables as the boot parameters say. The image's pages stay where they are."""
        count = parameter_pages(self._own(self.start))
        parameters = BootParameters.parse(b"".join(self._own(self.start + number) for number in range(count)))
        contents = []
        for number, (address, permission) in enumerate(parameters.mapping):
            self.tables.set(address, user + number, permission)
            contents.append(self._own(user + number))
        return parameters.image(contents)

    def _own(self, page: int) -> bytes:
        """One page of the enclave as supervisor mode reads it. MemoryFault."""
        verdict = self._monitor.hart.check(address_of(page), PAGE, Access.READ)
        if not verdict.allowed:
            raise MemoryFault(address_of(page), Access.READ, Stage.TEE, verdict.fault(Access.READ))
        return bytes(self._bus.page(page, write=False))

    # ---- memory

    def take_table(self) -> int:
        """A zeroed page for the runtime itself. MemoryError."""
        if self._next_table == self._last_table:
            raise MemoryError("no page left for the enclave's page tables")
        self._next_table -= 1
        return self._next_table

    def map(self, address: int, permission: Permission) -> int:
        """Map a free page; what it held is still there. MemoryError."""
        page = self.free.allocate()
        self.tables.set(address, page, permission)
        return page

    def unmap(self, address: int) -> None:
        """Unmap a page, if it is mapped."""
        page = self.tables.take(address)
        if page is not None and self.free.first <= page < self._last_table:
            self.free.free(page)

    def protect(self, address: int, permission: Permission) -> None:
        """Change what a page is for, if it is mapped."""
        page = self.tables.page_at(address)
        if page is not None:
            self.tables.set(address, page, permission)

    # ---- the monitor's services

    def attest(self, data: bytes) -> bytes:
        """A report of 1,352 bytes over at most 1,024 bytes of data. SbiError."""
        buffer = address_of(self._buffer)
        self._bus.write(buffer + DATA, data[:DATA])
        self._monitor.ecall(Function.ATTEST, buffer, buffer + DATA, len(data))
        return self._bus.read(buffer, KeystoneReport.SIZE)

    def sealing_key(self, identifier: bytes) -> bytes:
        """`struct sealing_key` for at most 2,048 bytes of identifier. SbiError."""
        buffer = address_of(self._buffer)
        self._bus.write(buffer + DATA, identifier[:DATA])
        self._monitor.ecall(Function.GET_SEALING_KEY, buffer, buffer + DATA, len(identifier))
        made = self._bus.read(buffer, SEALING_KEY)
        self._bus.zero(buffer, PAGE)
        return made
