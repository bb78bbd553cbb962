"""The realm management monitor's calls about translation tables and memory."""

from collections.abc import Iterator

import pytest
from tests.unit.test_emulate_cca_rmm import BLOCK, GRANULES, HALF, IPA, ZEROS, Stand, refused

from cloister.emulate.cca.granules import GranuleState
from cloister.emulate.cca.rmi import CallFailed, MonitorPanic, RmiStatus
from cloister.emulate.cca.rtt import Hipas, Ripas, RttEntry
from cloister.emulate.memory.dram_unsafe import Dram
from cloister.measure.image import PAGE


@pytest.fixture
def stand() -> Iterator[Stand]:
    with Dram(GRANULES) as dram:
        yield Stand(dram)


# ---- tables


def test_a_missing_table_is_reported_by_its_level(stand: Stand) -> None:
    rd, data = stand.realm(), stand.host.give()
    for level in range(3):
        refused(RmiStatus.ERROR_RTT, stand.rmm.data_create_unknown, rd, data, IPA, index=level)
        stand.host.make_tables(IPA, level + 1)
    stand.rmm.data_create_unknown(rd, data, IPA)


def test_tables_are_not_made_twice_or_out_of_order(stand: Stand) -> None:
    rd, rtt = stand.realm(), stand.host.give()
    refused(RmiStatus.ERROR_RTT, stand.rmm.rtt_create, rd, rtt, IPA, 3)
    refused(RmiStatus.ERROR_INPUT, stand.rmm.rtt_create, rd, rtt, IPA, 4)
    refused(RmiStatus.ERROR_INPUT, stand.rmm.rtt_create, rd, rtt, IPA, 0)
    refused(RmiStatus.ERROR_INPUT, stand.rmm.rtt_create, rd, rtt, PAGE, 1)
    refused(RmiStatus.ERROR_INPUT, stand.rmm.rtt_create, rd, rtt, 1 << 40, 1)
    stand.host.make_tables(0, 1)
    refused(RmiStatus.ERROR_RTT, stand.rmm.rtt_create, rd, rtt, 0, 1)


def test_a_table_in_use_is_not_destroyed(stand: Stand) -> None:
    rd = stand.running()
    for level in (1, 2, 3):
        refused(RmiStatus.ERROR_RTT, stand.rmm.rtt_destroy, rd, 0, level, index=level)
    stand.host.destroy(0)
    stand.rmm.rtt_destroy(rd, 0, 3)
    assert stand.rmm.rtt_read_entry(rd, 0, 3)[:2] == (2, Hipas.UNASSIGNED)
    assert stand.rmm.rtt_read_entry(rd, 0, 3).ripas is Ripas.DESTROYED


def test_a_new_table_inherits_what_it_stands_under(stand: Stand) -> None:
    rd = stand.realm()
    stand.host.make_tables(IPA, 2)
    stand.rmm.rtt_init_ripas(rd, IPA, IPA + BLOCK)
    stand.host.make_tables(IPA, 3)
    assert stand.rmm.rtt_read_entry(rd, IPA + 17 * PAGE, 3) == (3, Hipas.UNASSIGNED, 0, Ripas.RAM)


@pytest.mark.parametrize(("ipa", "level"), [(1, 3), (PAGE, 2), (0, 4), (1 << 40, 3), (-PAGE, 3)])
def test_entries_that_there_are_not(stand: Stand, ipa: int, level: int) -> None:
    refused(RmiStatus.ERROR_INPUT, stand.rmm.rtt_read_entry, stand.realm(), ipa, level)


@pytest.mark.parametrize(
    "entry",
    [RttEntry(Hipas.UNASSIGNED, ripas) for ripas in Ripas]
    + [RttEntry(Hipas.ASSIGNED, ripas, 0x123) for ripas in Ripas]
    + [RttEntry(Hipas.UNASSIGNED, unprotected=True), RttEntry(Hipas.ASSIGNED, page=5, unprotected=True)],
)
def test_entries_are_read_as_they_were_written(entry: RttEntry) -> None:
    assert RttEntry.read(entry.word(), 3) == entry
    assert bool(entry.word() & 1) == entry.valid


def test_words_that_no_monitor_writes() -> None:
    assert RttEntry.read(RttEntry(Hipas.TABLE, page=9).word(), 2) == RttEntry(Hipas.TABLE, page=9)
    for word in (1, 3 << 2, 3 << 5):
        with pytest.raises(MonitorPanic):
            RttEntry.read(word, 3)


# ---- data


def test_a_granule_is_given_for_one_purpose(stand: Stand) -> None:
    rd = stand.running()
    own = stand.host.table[0] * PAGE
    for used in (rd, stand.host.rec, stand.host.root, own, 3, stand.host_page()):
        refused(RmiStatus.ERROR_INPUT, stand.rmm.data_create_unknown, rd, used, PAGE)
    refused(RmiStatus.ERROR_RTT, stand.rmm.data_create_unknown, rd, stand.host.give(), 0, index=3)
    refused(RmiStatus.ERROR_INPUT, stand.rmm.data_create_unknown, rd, stand.host.give(), HALF)


def test_what_is_taken_is_wiped_and_destroyed_for_the_realm(stand: Stand) -> None:
    rd = stand.realm()
    stand.host.load([(0, b"secret".ljust(PAGE, b"s"))])
    page = stand.host.destroy(0)
    assert stand.rmm.granules.state(page) is GranuleState.DELEGATED
    assert stand.memory.read(page, 4) == ZEROS
    assert stand.rmm.rtt_read_entry(rd, 0, 3) == (3, Hipas.UNASSIGNED, 0, Ripas.DESTROYED)
    stand.rmm.data_create_unknown(rd, page * PAGE, 0)
    assert stand.rmm.rtt_read_entry(rd, 0, 3) == (3, Hipas.ASSIGNED, page * PAGE, Ripas.DESTROYED)
    assert stand.shootdowns
    refused(RmiStatus.ERROR_RTT, stand.rmm.data_destroy, rd, PAGE, index=3)


def test_what_the_realm_never_wanted_is_taken_without_harm(stand: Stand) -> None:
    rd = stand.realm()
    stand.host.make_tables(0, 3)
    stand.rmm.data_create_unknown(rd, stand.host.give(), 0)
    assert stand.rmm.rtt_read_entry(rd, 0, 3).ripas is Ripas.EMPTY
    stand.rmm.data_destroy(rd, 0)
    assert stand.rmm.rtt_read_entry(rd, 0, 3).ripas is Ripas.EMPTY


@pytest.mark.parametrize(("base", "top"), [(0, 0), (PAGE, 0), (1, PAGE), (0, 1), (0, HALF + PAGE), (-PAGE, PAGE)])
def test_ranges_that_are_none(stand: Stand, base: int, top: int) -> None:
    refused(RmiStatus.ERROR_INPUT, stand.rmm.rtt_init_ripas, stand.realm(), base, top)


def test_unprotected_addresses_lead_where_the_host_says(stand: Stand) -> None:
    rd, page = stand.realm(), stand.host_page()
    refused(RmiStatus.ERROR_RTT, stand.rmm.rtt_map_unprotected, rd, HALF, 3, page)
    stand.host.share(HALF, page // PAGE)
    assert stand.rmm.rtt_read_entry(rd, HALF, 3) == (3, Hipas.ASSIGNED, page, Ripas.EMPTY)
    refused(RmiStatus.ERROR_RTT, stand.rmm.rtt_map_unprotected, rd, HALF, 3, page, index=3)
    for ipa, level, target in ((0, 3, page), (HALF + PAGE, 2, page), (HALF + PAGE, 3, page | 1), (HALF + PAGE, 3, -1)):
        refused(RmiStatus.ERROR_INPUT, stand.rmm.rtt_map_unprotected, rd, ipa, level, target)
    stand.rmm.rtt_unmap_unprotected(rd, HALF, 3)
    refused(RmiStatus.ERROR_RTT, stand.rmm.rtt_unmap_unprotected, rd, HALF, 3, index=3)


def test_a_host_without_tables_makes_them_as_calls_fail(stand: Stand) -> None:
    """RMI_RTT_INIT_RIPAS says at which level the walk ended: the host goes one deeper until it does not fail."""
    rd = stand.realm()
    stand.host.set_ram(IPA + PAGE, IPA + 2 * PAGE)
    assert sorted(level for level, _ in stand.host.tables) == [1, 2, 3]
    assert stand.rmm.rtt_read_entry(rd, IPA + PAGE, 3).ripas is Ripas.RAM
    stand.rmm.data_create_unknown(rd, stand.host.give(), IPA + 2 * PAGE)
    with pytest.raises(CallFailed) as raised:
        stand.host.set_ram(IPA + 2 * PAGE, IPA + 3 * PAGE)
    assert (raised.value.status, raised.value.index) == (RmiStatus.ERROR_RTT, 3)


def test_flags_and_places_that_are_wrong(stand: Stand) -> None:
    rd, data, source = stand.realm(), stand.host.give(), stand.host_page()
    refused(RmiStatus.ERROR_INPUT, stand.rmm.data_create, rd, data, IPA, source, 2)
    refused(RmiStatus.ERROR_INPUT, stand.rmm.data_create, rd, data, IPA + 1, source)
    refused(RmiStatus.ERROR_INPUT, stand.rmm.data_create, rd, data, IPA, data)
    refused(RmiStatus.ERROR_RTT, stand.rmm.rtt_destroy, rd, 0, 1, index=0)


def test_a_change_that_the_realm_asked_for_waits_until_the_processor_is_left(stand: Stand) -> None:
    rd = stand.running()
    stand.rmm.rec_enter(stand.host.rec, stand.host.run)
    stand.rmm.context(stand.host.rec // PAGE).begin_ripas(PAGE, 2 * PAGE, Ripas.RAM, destroyed=False)
    refused(RmiStatus.ERROR_REC, stand.rmm.rtt_set_ripas, rd, stand.host.rec, PAGE, 2 * PAGE)
    second = stand.realm(vmid=2)
    refused(RmiStatus.ERROR_REC, stand.rmm.rtt_set_ripas, second, stand.host.rec, PAGE, 2 * PAGE)
