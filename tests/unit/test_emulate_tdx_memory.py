"""Private memory of a running TD, as its host deals with it: blocking, tracking, removing, adding, relocating."""

from collections.abc import Iterator

import pytest
from tests.forge.emulated_tdx import CONTENT, SPARE, ZERO, Platform, platform, refused

from cloister.emulate.paging import HOST_KEY, IntegrityFault
from cloister.emulate.tdx.calls import Operand, Seamcall, Status
from cloister.emulate.tdx.keyed_memory import Integrity
from cloister.emulate.tdx.pamt import PageType
from cloister.emulate.tdx.sept import SeptState
from cloister.emulate.tdx.td import VcpuState
from cloister.emulate.tdx.tdvps import Exit, ExitReason
from cloister.measure.image import PAGE


@pytest.fixture
def tdx() -> Iterator[Platform]:
    made = platform()
    yield made
    made.dram.close()


def state(tdx: Platform, gpa: int) -> SeptState:
    """The secure EPT's word about a page."""
    return tdx.td.sept.leaves[gpa // PAGE].state


def test_blocking_tracking_and_unblocking(tdx: Platform) -> None:
    tdx.running()
    module, tdr = tdx.module, tdx.vmm.tdr
    assert refused(lambda: module.mem_range_unblock(tdr, 0))[1] is Status.EPT_ENTRY_STATE_INCORRECT
    module.mem_range_block(tdr, 0)
    assert state(tdx, 0) is SeptState.BLOCKED
    assert refused(lambda: module.mem_range_block(tdr, 0))[1] is Status.EPT_ENTRY_STATE_INCORRECT
    assert refused(lambda: module.mem_range_unblock(tdr, 0))[1] is Status.TLB_TRACKING_NOT_DONE
    assert refused(lambda: module.mem_page_remove(tdr, 0))[1] is Status.TLB_TRACKING_NOT_DONE
    module.mem_track(tdr)
    module.mem_range_unblock(tdr, 0)
    assert state(tdx, 0) is SeptState.MAPPED
    assert tdx.memory.read(tdx.vmm.table[0], tdx.td.hkid) == CONTENT


def test_a_running_processor_holds_tracking_up(tdx: Platform) -> None:
    tdx.running()
    module, tdr, tdvpr = tdx.module, tdx.vmm.tdr, tdx.vmm.tdvpr
    registers, _ = module.vp_enter(tdvpr)
    module.mem_range_block(tdr, 0)
    module.mem_track(tdr)
    assert refused(lambda: module.mem_page_remove(tdr, 0))[1] is Status.TLB_TRACKING_NOT_DONE
    assert refused(lambda: module.mem_track(tdr))[1] is Status.PREVIOUS_TLB_EPOCH_BUSY
    module.td_exit(tdx.td.vcpus[0], registers, Exit(ExitReason.EXTERNAL_INTERRUPT))
    _, flush = module.vp_enter(tdvpr)
    assert flush
    module.mem_page_remove(tdr, 0)


def test_a_removed_page_comes_back_pending_and_zeroed(tdx: Platform) -> None:
    tdx.running()
    old = tdx.vmm.table[0]
    new = tdx.vmm.replace(0)
    entry = tdx.td.sept.leaves[0]
    assert (entry.state, entry.page) == (SeptState.PENDING, new)
    assert new != old
    assert tdx.module.pamt.type_of(old) is PageType.NDA
    assert tdx.memory.read(old, HOST_KEY) == ZERO  # what a TD wrote last stays hidden


def test_relocation_keeps_the_content_and_frees_the_old_page(tdx: Platform) -> None:
    tdx.running()
    old = tdx.vmm.table[0]
    new = tdx.vmm.relocate(0)
    assert new != old
    assert tdx.memory.read(new, tdx.td.hkid) == CONTENT
    assert tdx.td.sept.leaves[0].state is SeptState.MAPPED
    assert tdx.module.pamt.type_of(old) is PageType.NDA


def test_a_pending_page_can_be_blocked_too(tdx: Platform) -> None:
    tdx.running()
    tdx.vmm.augment(PAGE)
    tdx.vmm.block(PAGE)
    assert state(tdx, PAGE) is SeptState.PENDING_BLOCKED
    tdx.vmm.unblock(PAGE)
    assert state(tdx, PAGE) is SeptState.PENDING


def test_a_mapped_entry_takes_no_other_page(tdx: Platform) -> None:
    tdx.running()
    found = refused(lambda: tdx.module.mem_page_aug(tdx.vmm.tdr, 0, SPARE))
    assert found == (Seamcall.MEM_PAGE_AUG, Status.EPT_ENTRY_STATE_INCORRECT, Operand.RCX)
    assert tdx.module.pamt.type_of(SPARE) is PageType.NDA


@pytest.mark.parametrize("integrity", ["ci", "li"])
def test_a_write_under_the_hosts_key_poisons_the_page(integrity: Integrity) -> None:
    tdx = platform(integrity).running()
    page = tdx.vmm.table[0]
    tdx.memory.write(page, HOST_KEY, 0, b"x")
    with pytest.raises(IntegrityFault, match="#MC"):
        tdx.memory.read(page, tdx.td.hkid)
    tdx.dram.close()


def test_a_machine_check_is_the_end_of_the_td(tdx: Platform) -> None:
    tdx.running()
    tdx.module.machine_check(tdx.td)
    assert tdx.td.vcpus[0].state is VcpuState.DISABLED
    assert refused(lambda: tdx.module.vp_enter(tdx.vmm.tdvpr))[1] is Status.TD_FATAL
    assert refused(lambda: tdx.module.mem_range_block(tdx.vmm.tdr, 0))[1] is Status.TD_FATAL
    tdx.vmm.end()  # its memory can still be had back
