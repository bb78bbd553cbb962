"""The granule protection table: its words, its walk, and which world may name which address space."""

from collections.abc import Iterator

import pytest

from cloister.emulate.cca.gpt import (
    L1_PAGES,
    MAY_NAME,
    Gpi,
    GranuleProtectionFault,
    GranuleProtectionTable,
    Pas,
    World,
    regions_of,
)
from cloister.emulate.cca.memory import ROOT_KEY, PasMemory
from cloister.emulate.memory.cache import FrameCache
from cloister.emulate.memory.controller import MemoryController
from cloister.emulate.memory.dram_unsafe import Dram
from cloister.measure.image import PAGE

GRANULES = 4096
L1, L0 = 4032, 4064
GPI = {Pas.NON_SECURE: 0x9, Pas.SECURE: 0x8, Pas.REALM: 0xB, Pas.ROOT: 0xA}


@pytest.fixture
def memory() -> Iterator[PasMemory]:
    with Dram(GRANULES) as dram:
        controller = MemoryController(dram)
        yield PasMemory(
            controller, FrameCache([memoryview(bytearray(PAGE)) for _ in range(64)], controller, lambda: None)
        )


@pytest.fixture
def gpt(memory: PasMemory) -> GranuleProtectionTable:
    return GranuleProtectionTable(memory, GRANULES, L0, L1)


def test_level_0_leads_to_a_table_of_128_kib(memory: PasMemory, gpt: GranuleProtectionTable) -> None:
    assert memory.word(L0, ROOT_KEY, 0) == L1 * PAGE | 3
    assert L1_PAGES == 32
    assert gpt.entry(0) == Gpi.NO_ACCESS


@pytest.mark.parametrize(("granules", "regions"), [(1, 1), (1 << 18, 1), ((1 << 18) + 1, 2), (1 << 24, 64)])
def test_one_region_is_a_gib(granules: int, regions: int) -> None:
    assert regions_of(granules) == regions


def test_a_table_that_is_not_aligned_to_its_size_is_refused(memory: PasMemory) -> None:
    with pytest.raises(ValueError, match="aligned"):
        GranuleProtectionTable(memory, GRANULES, L0, L1 + 1)


def test_sixteen_granules_share_a_word(memory: PasMemory, gpt: GranuleProtectionTable) -> None:
    gpt.fill(0, 16, Pas.NON_SECURE)
    assert memory.word(L1, ROOT_KEY, 0) == 0x9999_9999_9999_9999
    assert gpt.transition(5, Pas.NON_SECURE, Pas.REALM)
    assert memory.word(L1, ROOT_KEY, 0) == 0x9999_9999_99B9_9999
    assert not gpt.transition(5, Pas.NON_SECURE, Pas.REALM)
    assert [gpt.entry(page) for page in (4, 5, 6)] == [Gpi.NON_SECURE, Gpi.REALM, Gpi.NON_SECURE]


def test_whole_two_mib_are_one_descriptor_until_one_granule_differs(
    memory: PasMemory, gpt: GranuleProtectionTable
) -> None:
    gpt.fill(0, 1030, Pas.NON_SECURE)
    contiguous = 1 | 0x9 << 4 | 1 << 8
    assert {memory.word(L1, ROOT_KEY, number) for number in range(64)} == {contiguous}
    assert memory.word(L1, ROOT_KEY, 64) == 0x999999
    assert gpt.transition(700, Pas.NON_SECURE, Pas.REALM)
    assert memory.word(L1, ROOT_KEY, 0) == contiguous
    assert memory.word(L1, ROOT_KEY, 32) == 0x9999_9999_9999_9999
    found = [gpt.entry(page) for page in range(1030)]
    assert [page for page, one in enumerate(found) if one != Gpi.NON_SECURE] == [700]


def test_a_block_at_level_0_speaks_for_a_gib(memory: PasMemory, gpt: GranuleProtectionTable) -> None:
    memory.set_word(L0, ROOT_KEY, 0, 1 | 0xF << 4)
    assert gpt.entry(4000) == Gpi.ANY
    for world in World:
        gpt.check(4000, world, Pas.NON_SECURE)


@pytest.mark.parametrize("head", [0, 2, 3 | (GRANULES - 1) * PAGE, (1 << 64) - 1])
def test_a_level_0_word_that_is_no_descriptor_gives_no_access(
    memory: PasMemory, gpt: GranuleProtectionTable, head: int
) -> None:
    gpt.fill(0, 16, Pas.NON_SECURE)
    memory.set_word(L0, ROOT_KEY, 0, head)
    assert gpt.entry(0) == Gpi.NO_ACCESS


@pytest.mark.parametrize("page", [-1, GRANULES, 1 << 40])
def test_beyond_memory_there_is_no_access(gpt: GranuleProtectionTable, page: int) -> None:
    with pytest.raises(GranuleProtectionFault, match="nobody's"):
        gpt.check(page, World.ROOT, Pas.ROOT)


@pytest.mark.parametrize("world", World)
@pytest.mark.parametrize("pas", Pas)
@pytest.mark.parametrize("owner", Pas)
def test_an_access_needs_a_world_that_may_name_the_space_and_a_granule_that_is_in_it(
    gpt: GranuleProtectionTable, world: World, pas: Pas, owner: Pas
) -> None:
    gpt.fill(0, 16, owner)
    if pas in MAY_NAME[world] and pas is owner:
        gpt.check(3, world, pas)
    else:
        with pytest.raises(GranuleProtectionFault) as raised:
            gpt.check(3, world, pas)
        assert (raised.value.page, raised.value.world, raised.value.pas) == (3, world, pas)


def test_the_table_of_the_architecture_who_may_reach_what() -> None:
    assert {world: set(spaces) for world, spaces in MAY_NAME.items()} == {
        World.ROOT: set(Pas),
        World.REALM: {Pas.REALM, Pas.NON_SECURE},
        World.SECURE: {Pas.SECURE, Pas.NON_SECURE},
        World.NON_SECURE: {Pas.NON_SECURE},
    }


def test_reserved_information_is_named_in_the_fault(memory: PasMemory, gpt: GranuleProtectionTable) -> None:
    memory.set_word(L1, ROOT_KEY, 0, 0x4 << 4)
    with pytest.raises(GranuleProtectionFault, match="GPI 0x4, which is reserved"):
        gpt.check(1, World.ROOT, Pas.ROOT)


@pytest.mark.parametrize(("pas", "gpi"), GPI.items())
def test_the_codes_are_those_of_the_architecture(gpt: GranuleProtectionTable, pas: Pas, gpi: int) -> None:
    gpt.fill(0, 1, pas)
    assert gpt.entry(0) == gpi
