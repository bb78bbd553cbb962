"""The granule protection table (GPT): for every granule of 4 KiB, which physical address space it belongs to.

Arm ARM, chapter D9 (Granule Protection Checks); Arm DEN0129; TF-A, include/lib/gpt_rme and lib/gpt_rme. Each access, of
a processor or through an SMMU, names a physical address space (PAS). It goes on only if the granule's entry (GPI) says
the same, else it is a granule protection fault (GPF). Only Root, the monitor at EL3, changes the table.

    level 0   a word for each GiB: 3 and the address of a level-1 table, or 1 and a GPI in bits 7 to 4 (block)
    level 1   a word for 16 granules, a GPI of four bits each; or 1, a GPI in bits 7 to 4, and in bits 9 to 8 the size
              of a range with that GPI throughout (1: 2 MiB, 2: 32 MiB, 3: 512 MiB)

The table lies in DRAM, in Root memory, encrypted under the key of Root.
"""

from enum import IntEnum, StrEnum
from typing import Final

from cloister.emulate.cca.memory import ROOT_KEY, PasMemory
from cloister.emulate.paging import Refused
from cloister.measure.image import PAGE

__all__ = ["L1_PAGES", "Gpi", "GranuleProtectionFault", "GranuleProtectionTable", "Pas", "World", "regions_of"]


class Pas(StrEnum):
    """The four physical address spaces."""

    NON_SECURE = "non-secure"
    SECURE = "secure"
    REALM = "realm"
    ROOT = "root"


class World(StrEnum):
    """What a processor runs: EL3 is Root, the other worlds are below."""

    NON_SECURE = "non-secure"
    SECURE = "secure"
    REALM = "realm"
    ROOT = "root"


MAY_NAME: Final = {
    World.NON_SECURE: frozenset({Pas.NON_SECURE}),
    World.SECURE: frozenset({Pas.NON_SECURE, Pas.SECURE}),
    World.REALM: frozenset({Pas.NON_SECURE, Pas.REALM}),
    World.ROOT: frozenset(Pas),
}
"""The address spaces that a world's accesses can name at all."""


class Gpi(IntEnum):
    """Granule protection information."""

    NO_ACCESS = 0
    SECURE = 0x8
    NON_SECURE = 0x9
    ROOT = 0xA
    REALM = 0xB
    ANY = 0xF


GPI_OF: Final = {
    Pas.NON_SECURE: Gpi.NON_SECURE, Pas.SECURE: Gpi.SECURE, Pas.REALM: Gpi.REALM, Pas.ROOT: Gpi.ROOT,
}  # fmt: skip
TABLE, BLOCK, CONTIGUOUS = 3, 1, 1
GPIS: Final = 16
"""GPIs in one word."""

REGION: Final = 1 << 18
"""Granules under one level-0 entry: 1 GiB (GPCCR_EL3.L0GPTSZ = 0)."""

L1_PAGES: Final = REGION // GPIS * 8 // PAGE
"""Pages of a level-1 table; it is aligned to its size."""

WORDS: Final = PAGE // 8
ADDRESS: Final = (1 << 52) - PAGE
RANGES: Final = {1: 1 << 9, 2: 1 << 13, 3: 1 << 17}
"""Granules of a contiguous descriptor, by its size field."""

SMALLEST: Final = 1


class GranuleProtectionFault(Refused):
    """An access that the granule protection check refuses: `page`, `world`, `pas`, and what the table says."""

    def __init__(self, page: int, world: World, pas: Pas, reason: str) -> None:
        super().__init__(f"granule protection fault: {world} access to granule {page:#x} as {pas}: {reason}")
        self.page, self.world, self.pas = page, world, pas


def regions_of(granules: int) -> int:
    """How many level-0 entries a memory of so many granules needs."""
    return -(-granules // REGION)


class GranuleProtectionTable:
    """The table of one machine: `l0` is its level-0 page, `l1` the first of its level-1 tables, which follow it."""

    def __init__(self, memory: PasMemory, granules: int, l0: int, l1: int) -> None:
        if l1 % L1_PAGES:
            raise ValueError(f"a level-1 table of {L1_PAGES} pages is aligned to its size; it cannot be at {l1:#x}")
        self.granules = granules
        self._memory, self._l0 = memory, l0
        for page in (l0, *range(l1, l1 + L1_PAGES * regions_of(granules))):
            memory.put(page, ROOT_KEY)
        for region in range(regions_of(granules)):
            memory.set_word(l0, ROOT_KEY, region, (l1 + region * L1_PAGES) * PAGE | TABLE)

    def check(self, page: int, world: World, pas: Pas) -> None:
        """One granule protection check. GranuleProtectionFault."""
        if pas not in MAY_NAME[world]:
            raise GranuleProtectionFault(page, world, pas, f"the {world} world cannot name that address space")
        found = self.entry(page)
        if found not in (GPI_OF[pas], Gpi.ANY):
            raise GranuleProtectionFault(page, world, pas, f"it is {name_of(found)}")

    def entry(self, page: int) -> int:
        """The GPI of a granule, as the hardware's walk finds it; NO_ACCESS where the table says nothing."""
        if not 0 <= page < self.granules:
            return Gpi.NO_ACCESS
        head = self._memory.word(self._l0, ROOT_KEY, page // REGION)
        if head & 0xF == BLOCK:
            return head >> 4 & 0xF
        if head & 0xF != TABLE or not self._inside(head):
            return Gpi.NO_ACCESS
        word = self._memory.word(*self._place(head, page))
        if word & 0xF == CONTIGUOUS:
            return word >> 4 & 0xF
        return word >> 4 * (page % GPIS) & 0xF

    def _inside(self, head: int) -> bool:
        """Whether a level-1 table stands in memory: not if DRAM's contents were changed from outside."""
        return (head & ADDRESS) // PAGE + L1_PAGES <= self.granules

    def _place(self, head: int, page: int) -> tuple[int, int, int]:
        """Page, key and number of the level-1 word of a granule."""
        row, number = divmod(page % REGION // GPIS, WORDS)
        return (head & ADDRESS) // PAGE + row, ROOT_KEY, number

    # ---- what Root does

    def fill(self, first: int, end: int, pas: Pas) -> None:
        """Give a range to an address space, with contiguous descriptors of 2 MiB where it is whole ones."""
        gpi, page, whole = GPI_OF[pas], first, RANGES[SMALLEST]
        while page < end:
            if page % whole == 0 and page + whole <= end:
                for at in range(page, page + whole, GPIS):
                    self._memory.set_word(*self._word_of(at), CONTIGUOUS | gpi << 4 | SMALLEST << 8)
                page += whole
            else:
                self._set(page, gpi)
                page += 1

    def transition(self, page: int, before: Pas, after: Pas) -> bool:
        """SMC of the realm monitor to EL3: a granule goes from one address space to another. Whether it did."""
        if self.entry(page) != GPI_OF[before]:
            return False
        self._set(page, GPI_OF[after])
        return True

    def _word_of(self, page: int) -> tuple[int, int, int]:
        return self._place(self._memory.word(self._l0, ROOT_KEY, page // REGION), page)

    def _set(self, page: int, gpi: Gpi) -> None:
        place = self._word_of(page)
        word = self._memory.word(*place)
        if word & 0xF == CONTIGUOUS:
            self._shatter(page, word)
            word = self._memory.word(*place)
        shift = 4 * (page % GPIS)
        self._memory.set_word(*place, word & ~(0xF << shift) | gpi << shift)

    def _shatter(self, page: int, word: int) -> None:
        """A contiguous range becomes words of 16 single granules (TF-A, gpt_rme.c)."""
        whole = RANGES[word >> 8 & 3]
        single = sum((word >> 4 & 0xF) << 4 * place for place in range(GPIS))
        for at in range(page - page % whole, page - page % whole + whole, GPIS):
            self._memory.set_word(*self._word_of(at), single)


NAMES: Final = {int(Gpi.NO_ACCESS): "nobody's", int(Gpi.ANY): "everybody's"} | {
    int(gpi): f"{pas}" for pas, gpi in GPI_OF.items()
}


def name_of(gpi: int) -> str:
    """What an entry says, in words."""
    return NAMES.get(gpi, f"GPI {gpi:#x}, which is reserved")
