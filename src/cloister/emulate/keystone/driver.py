"""The host's side of an enclave's life: Keystone's Linux driver. It owns memory until the monitor closes it.

Keystone, linux-keystone-driver. It picks memory, loads the images, and asks the monitor. Nothing here is trusted.
"""

from collections.abc import Callable
from typing import Final

from cloister.emulate.host import PhysicalMemory
from cloister.emulate.keystone.bus import address_of
from cloister.emulate.keystone.monitor import SecurityMonitor
from cloister.emulate.keystone.sbi import CreateArguments, Function
from cloister.emulate.shared import BOUNCE_PAGES
from cloister.measure.guest import GuestLayout
from cloister.measure.image import PAGE

__all__ = ["UTM_PAGES", "Driver"]

UTM_PAGES: Final = 1 << (BOUNCE_PAGES - 1).bit_length()
"""The shared buffer is one NAPOT region: a power of two."""

Store = Callable[[int, bytes], None]
"""Write a page of physical memory with the host's rights. Refused."""


class Driver:
    """Enclaves out of the pages from `first` to `end`. `pages` is the host's own memory, `store` how it writes.

    The shared buffer is aligned to its size. `number` is the enclave's, once it is created.
    """

    def __init__(self, monitor: SecurityMonitor, store: Store, pages: PhysicalMemory, first: int, end: int) -> None:
        self._monitor, self._store, self._pages = monitor, store, pages
        self.first, self.end = first, end
        taken = [pages.allocate() for _ in range(2 * UTM_PAGES)]
        start = -(-taken[0] // UTM_PAGES) * UTM_PAGES
        self.shared = range(start, start + UTM_PAGES)
        for page in taken:
            if page not in self.shared:
                pages.free(page)
        self.number = -1

    def load(self, layout: GuestLayout) -> None:
        """Lay the images into the enclave's memory, which is still the host's. MemoryError if it is too small."""
        contents = [content for _, content in layout.pages]
        if len(contents) > self.end - self.first:
            raise MemoryError(f"the program has {len(contents):,} pages, the enclave {self.end - self.first:,}")
        for page, content in enumerate(contents, self.first):
            self._store(page, content)

    def create(self, layout: GuestLayout) -> int:
        """CREATE with the arguments in a page of the host's; the enclave's number. SbiError."""
        user = self.first + layout.parameters.start.parameter_pages
        free = user + len(layout.contents)
        arguments = CreateArguments(
            epm_start=address_of(self.first),
            epm_size=(self.end - self.first) * PAGE,
            utm_start=address_of(self.shared.start),
            utm_size=len(self.shared) * PAGE,
            runtime=address_of(user),
            user=address_of(user),
            free=address_of(free),
            free_requested=(self.end - free) * PAGE,
        )
        page = self._pages.allocate()
        try:
            self._store(page, arguments.serialize().ljust(PAGE, b"\0"))
            self.number = self._monitor.ecall(Function.CREATE, address_of(page))
        finally:
            self._pages.free(page)
        return self.number
