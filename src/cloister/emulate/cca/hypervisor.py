"""The host of a realm: a hypervisor of the non-secure world, which does everything through the monitor's calls.

As KVM does it (Linux, arch/arm64/kvm/rmi.c). It gives granules, and keeps a mirror of what it gave: all that it knows
of a realm's memory.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from cloister.emulate.cca.realm import RealmParamsPage
from cloister.emulate.cca.rec import Exit, ExitReason, RecParamsPage
from cloister.emulate.cca.rmi import CallFailed, RmiStatus
from cloister.emulate.cca.rmm import Rmm
from cloister.emulate.cca.rtt import PAGE_LEVEL, map_size
from cloister.emulate.host import PhysicalMemory
from cloister.measure.cca import RealmParameters
from cloister.measure.image import PAGE

__all__ = ["ROOT_LEVEL", "Hypervisor"]

ROOT_LEVEL: Final = 0
"""Level of the root table: 40 bits of addresses need it, or concatenated tables of level 1."""

NOWHERE: Final = -1
"""An address that is none: there is no realm, or no processor."""

Answer = Callable[[Exit], tuple[int, ...]]


def _no_answer(_left: Exit) -> tuple[int, ...]:
    """A host that knows no host calls of programs."""
    return ()


class Hypervisor:
    """One host with one realm. `put` writes a page of the host's own memory. `answer` replies to host calls.

    `table` mirrors the realm's memory: page of the realm -> physical page. `rd`, `rec` and `run` are addresses.
    """

    def __init__(self, rmm: Rmm, pages: PhysicalMemory, put: Callable[[int, bytes], None]) -> None:
        self.rmm, self.pages, self._put = rmm, pages, put
        self.table: dict[int, int] = {}
        self.tables: set[tuple[int, int]] = set()
        """Level, and first address, of the tables below the root."""

        self.shared: dict[int, int] = {}
        self._given: set[int] = set()
        self.rd = self.rec = self.root = self.run = NOWHERE
        self.aux: list[int] = []
        self.answer: Answer = _no_answer

    @property
    def has_realm(self) -> bool:
        """Whether there is a realm that `end` would destroy."""
        return self.rd != NOWHERE

    # ---- granules

    def give(self) -> int:
        """A free page becomes a delegated granule: its address. MemoryError."""
        page = self.pages.allocate()
        self.rmm.granule_delegate(page * PAGE)
        self._given.add(page * PAGE)
        return page * PAGE

    def take_back(self, address: int) -> None:
        """A delegated granule becomes a free page."""
        self.rmm.granule_undelegate(address)
        self._given.discard(address)
        self.pages.free(address // PAGE)

    def scratch(self, content: bytes) -> int:
        """A page of the host's own with this content: its page number, to be freed."""
        page = self.pages.allocate()
        self._put(page, content)
        return page

    @contextmanager
    def lent(self, content: bytes) -> Iterator[int]:
        """The same for the time of one call: the page's address."""
        page = self.scratch(content)
        try:
            yield page * PAGE
        finally:
            self.pages.free(page)

    # ---- launch

    def create(self, measured: RealmParameters, *, rpv: bytes = b"", vmid: int = 1) -> None:
        """A realm without anything."""
        rd, self.root = self.give(), self.give()
        params = RealmParamsPage.of(measured, rpv=rpv, vmid=vmid, rtt_base=self.root, rtt_level=ROOT_LEVEL)
        with self.lent(params.serialize()) as page:
            self.rmm.realm_create(rd, page)
        self.rd = rd

    def load(self, contents: Sequence[tuple[int, bytes]]) -> None:
        """Measured memory: (address, 4,096 bytes), in order."""
        for ipa, content in contents:
            self.make_tables(ipa, PAGE_LEVEL)
            data = self.give()
            with self.lent(content) as source:
                self.rmm.data_create(self.rd, data, ipa, source)
            self.table[ipa // PAGE] = data // PAGE

    def set_ram(self, base: int, top: int) -> None:
        """Measured as memory, in as few tables as there can be: nothing stands there yet."""
        while base < top:
            try:
                base = self.rmm.rtt_init_ripas(self.rd, base, top)
            except CallFailed as failed:
                self._deeper(failed, base)

    def add_processor(self, pc: int) -> None:
        """One processor, which begins at `pc`, and the page through which the host sees its exits."""
        self.aux = [self.give() for _ in range(self.rmm.rec_aux_count(self.rd))]
        rec, run = self.give(), self.scratch(bytes(PAGE))
        with self.lent(RecParamsPage.of(pc=pc, aux=self.aux).serialize()) as params:
            self.rmm.rec_create(self.rd, rec, params)
        self.rec, self.run = rec, run * PAGE

    # ---- tables

    def make_tables(self, ipa: int, level: int) -> None:
        """All tables over an address, down to a level."""
        for at in range(ROOT_LEVEL + 1, level + 1):
            first = ipa - ipa % map_size(at - 1)
            if (at, first) not in self.tables:
                self.rmm.rtt_create(self.rd, self.give(), first, at)
                self.tables.add((at, first))

    def _deeper(self, failed: CallFailed, ipa: int) -> None:
        """A call stopped at a table that is not deep enough: make the next one. Raises what it cannot mend."""
        if failed.status is not RmiStatus.ERROR_RTT or failed.index >= PAGE_LEVEL:
            raise failed
        self.make_tables(ipa, failed.index + 1)

    # ---- while it runs

    def populate(self, ipa: int) -> None:
        """A page for the realm, at an address that it touched. CallFailed, MemoryError."""
        self.make_tables(ipa, PAGE_LEVEL)
        data = self.give()
        self.rmm.data_create_unknown(self.rd, data, ipa)
        self.table[ipa // PAGE] = data // PAGE

    def destroy(self, ipa: int) -> int:
        """Take a page of the realm away: its page number. The granule stays delegated."""
        data = self.rmm.data_destroy(self.rd, ipa)
        self.table.pop(ipa // PAGE, None)
        return data // PAGE

    def share(self, ipa: int, page: int) -> None:
        """Lead an unprotected address to a page of the host's own."""
        self.make_tables(ipa, PAGE_LEVEL)
        self.rmm.rtt_map_unprotected(self.rd, ipa, PAGE_LEVEL, page * PAGE)
        self.shared[ipa] = page

    def handle(self, left: Exit) -> tuple[int, ...]:
        """What the realm asked for in an exit: registers of a host call's answer."""
        if left.reason is ExitReason.RIPAS_CHANGE:
            self._set_ripas(left.ripas_base, left.ripas_top)
        return self.answer(left) if left.reason is ExitReason.HOST_CALL else ()

    def _set_ripas(self, base: int, top: int) -> None:
        while base < top:
            try:
                base = self.rmm.rtt_set_ripas(self.rd, self.rec, base, top)
            except CallFailed as failed:
                if failed.index >= PAGE_LEVEL:
                    return  # destroyed memory that the realm does not give up: it learns how far this came
                self._deeper(failed, base)

    # ---- the end

    def end(self) -> None:
        """Destroy the realm, from its leaves up, and take back every granule that was given."""
        if self.rec != NOWHERE:
            self.rmm.rec_destroy(self.rec)
            self.pages.free(self.run // PAGE)
        if self.has_realm:
            self._end_memory()
            self.rmm.realm_destroy(self.rd)
        for address in sorted(self._given):
            self.take_back(address)
        self.rd = self.rec = self.root = self.run = NOWHERE
        self.aux = []

    def _end_memory(self) -> None:
        for number in list(self.table):
            self.destroy(number * PAGE)
        for ipa in self.shared:
            self.rmm.rtt_unmap_unprotected(self.rd, ipa, PAGE_LEVEL)
        self.shared.clear()
        for level, first in sorted(self.tables, reverse=True):
            self.rmm.rtt_destroy(self.rd, first, level)
        self.tables.clear()
