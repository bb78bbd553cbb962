"""What all firmware commands stand on: the platform's state, the history, and the checks of pages and guests.

AMD 56860, SEV Secure Nested Paging Firmware ABI.
"""

import contextlib
from collections import deque
from collections.abc import Iterator
from typing import Final

from cloister.emulate.memory.cache import FrameCache
from cloister.emulate.memory.controller import MemoryController
from cloister.emulate.paging import HOST_KEY
from cloister.emulate.snp import context as contexts
from cloister.emulate.snp.chip import ASIDS, Chip
from cloister.emulate.snp.commands import Command, CommandFailed, Done, GuestState, Status
from cloister.emulate.snp.context import GuestContext
from cloister.emulate.snp.rmp import PageState, ReverseMap, RmpEntry
from cloister.errors import ParseError
from cloister.measure.image import PAGE

__all__ = ["FIRMWARE_PAGE", "FirmwareCore"]

REMEMBERED: Final = 4096
FIRMWARE_PAGE: Final = RmpEntry(assigned=True, immutable=True)


class FirmwareCore:
    """One security processor. `cache` and `controller` are how it reaches memory, `rmp` the table that it guards.

    `history` holds the last commands with their status, `running` whether SNP_INIT was given.
    """

    def __init__(self, chip: Chip, rmp: ReverseMap, cache: FrameCache, controller: MemoryController) -> None:
        self.chip, self.rmp, self._cache, self._controller = chip, rmp, cache, controller
        self.asids = ASIDS[chip.product]
        controller.slots = self.asids + 1
        self.running = False
        self.history: deque[Done] = deque(maxlen=REMEMBERED)

    def _read(self, page: int, key: int) -> bytes:
        """A page as one key decrypts it."""
        return bytes(self._cache.frames[self._cache.frame(page, key, write=False, fetch=False)])

    def _answer(self, page: int, content: bytes) -> None:
        """Write where the host can read, zeros behind it."""
        self._cache.put(page, HOST_KEY, content.ljust(PAGE, b"\0"))

    @contextlib.contextmanager
    def _command(self, command: Command, about: str = "") -> Iterator[None]:
        """Write a command into the history, however it ends."""
        status = Status.SUCCESS
        try:
            yield
        except CommandFailed as failed:
            status = failed.status
            raise
        finally:
            self.history.append(Done(command, about, status))

    def _require_init(self, command: Command) -> None:
        if not self.running:
            raise CommandFailed(command, Status.INVALID_PLATFORM_STATE, "SNP_INIT comes first")

    def _require_state(self, command: Command, page: int, *allowed: PageState) -> None:
        self._require_init(command)
        if not 0 <= page < self.rmp.pages:
            raise CommandFailed(command, Status.INVALID_ADDRESS, f"there is no page {page:#x}")
        state = self.rmp.state(page)
        if state not in allowed:
            wanted = ", ".join(sorted(allowed))
            raise CommandFailed(command, Status.INVALID_PAGE_STATE, f"page {page:#x} is {state}, not {wanted}")

    def _guest(self, command: Command, page: int, *allowed: GuestState) -> GuestContext:
        """The guest whose context stands on a page, in one of these states."""
        self._require_state(command, page, PageState.CONTEXT)
        try:
            guest = contexts.load(self._cache, page)
        except ParseError as error:
            raise CommandFailed(command, Status.INVALID_GUEST, f"the context is damaged: {error}") from error
        if guest.state not in allowed:
            wanted = " or ".join(state.name for state in allowed)
            raise CommandFailed(
                command, Status.INVALID_GUEST_STATE, f"the guest is in state {guest.state}, not {wanted}"
            )
        return guest
