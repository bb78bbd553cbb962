"""The Reverse Map Table: its layout, the page states, and the instructions that change it."""

import itertools
import struct

import pytest

from cloister.emulate.memory.dram_unsafe import Dram
from cloister.emulate.paging import Refused
from cloister.emulate.snp.rmp import ALL, FIRST_VMPL, LARGE, Allow, PageState, ReverseMap, RmpEntry, rmp_pages, state_of
from cloister.emulate.snp.rmp_instructions import (
    Caller,
    GeneralProtection,
    Result,
    Validation,
    psmash,
    pvalidate,
    rmpadjust,
    rmpupdate,
)
from cloister.measure.image import PAGE

PAGES = 2048
GUEST = Caller(asid=3, vmpl=0)
MINE = RmpEntry(assigned=True, gpa=0x77, asid=3)


@pytest.fixture
def rmp() -> ReverseMap:
    return ReverseMap(Dram(PAGES))


# ---------------------------------------------------------------- layout and states


def test_an_entry_is_laid_out_as_linux_reads_it() -> None:
    dram = Dram(PAGES)
    rmp = ReverseMap(dram)
    rmp[0x321] = RmpEntry(
        assigned=True, immutable=True, gpa=0x12345, asid=0x2A5, vmsa=True, validated=True, permissions=(15, 7, 3, 1)
    )
    # struct rmpentry_raw: after 16 KiB, 16 bytes a page; bits 0, 2, 12 to 50, 51 to 60, 61, 62
    at = 16384 + 0x321 * 16
    low, high = struct.unpack("<QQ", bytes(dram.page(at // PAGE))[at % PAGE : at % PAGE + 16])
    assert low == 1 | 1 << 2 | 0x12345 << 12 | 0x2A5 << 51 | 1 << 61 | 1 << 62
    assert high == 0x0103070F


def test_the_table_takes_16_bytes_a_page_behind_16_kib() -> None:
    assert rmp_pages(256) == 5
    assert rmp_pages(257) == 6
    assert ReverseMap(Dram(PAGES)).size == 4 + PAGES // 256


@pytest.mark.parametrize(
    ("entry", "state"),
    [
        (RmpEntry(), PageState.HYPERVISOR),
        (RmpEntry(assigned=True, immutable=True), PageState.FIRMWARE),
        (RmpEntry(assigned=True), PageState.RECLAIM),
        (RmpEntry(assigned=True, immutable=True, vmsa=True), PageState.CONTEXT),
        (RmpEntry(assigned=True, immutable=True, gpa=1), PageState.METADATA),
        (RmpEntry(assigned=True, immutable=True, asid=1), PageState.PRE_GUEST),
        (RmpEntry(assigned=True, immutable=True, asid=1, validated=True), PageState.PRE_SWAP),
        (RmpEntry(assigned=True, asid=1), PageState.GUEST_INVALID),
        (RmpEntry(assigned=True, asid=1, validated=True), PageState.GUEST_VALID),
    ],
)
def test_page_states(entry: RmpEntry, state: PageState) -> None:
    assert state_of(entry) is state


def test_numbers_without_room_are_refused(rmp: ReverseMap) -> None:
    with pytest.raises(ValueError, match="39 and 10 bits"):
        rmp[1] = RmpEntry(assigned=True, asid=1024)
    with pytest.raises(ValueError, match="39 and 10 bits"):
        rmp[1] = RmpEntry(assigned=True, gpa=1 << 39)
    for page in (-1, PAGES):
        with pytest.raises(IndexError, match="outside the range"):
            rmp[page]


def test_only_a_hypervisor_s_page_is_written_by_software(rmp: ReverseMap) -> None:
    rmp.check_software_write(40)
    for entry in (MINE, RmpEntry(assigned=True), RmpEntry(assigned=True, immutable=True)):
        rmp[40] = entry
        with pytest.raises(Refused, match="bit 31"):
            rmp.check_software_write(40)


# ---------------------------------------------------------------- RMPUPDATE


def test_rmpupdate_gives_a_page_to_a_guest_unvalidated_and_for_vmpl_0(rmp: ReverseMap) -> None:
    assert rmpupdate(rmp, 40, MINE._replace(validated=True, vmsa=True, permissions=(1, 1, 1, 1))) is Result.SUCCESS
    assert rmp[40] == MINE._replace(permissions=FIRST_VMPL)


def test_every_change_of_owner_or_place_takes_validation_away(rmp: ReverseMap) -> None:
    for changed in (MINE._replace(gpa=0x78), MINE._replace(asid=4), RmpEntry()):
        rmp[40] = MINE._replace(validated=True, permissions=(ALL, ALL, 0, 0))
        assert rmpupdate(rmp, 40, changed) is Result.SUCCESS
        assert not rmp[40].validated
        assert rmp[40].permissions == (FIRST_VMPL if changed.assigned else (0, 0, 0, 0))


def test_making_a_valid_page_immutable_gives_a_pre_swap_page(rmp: ReverseMap) -> None:
    rmp[40] = MINE._replace(validated=True, permissions=FIRST_VMPL)
    assert rmpupdate(rmp, 40, MINE._replace(immutable=True)) is Result.SUCCESS
    assert rmp.state(40) is PageState.PRE_SWAP
    assert rmpupdate(rmp, 40, MINE) is Result.FAIL_PERMISSION


@pytest.mark.parametrize(
    ("entry", "page", "result"),
    [
        (RmpEntry(asid=1), 40, Result.FAIL_INPUT),
        (RmpEntry(gpa=1), 40, Result.FAIL_INPUT),
        (RmpEntry(immutable=True), 40, Result.FAIL_INPUT),
        (RmpEntry(assigned=True, large=True, asid=1), 40, Result.FAIL_INPUT),
        (RmpEntry(assigned=True, large=True, asid=1, gpa=3), 512, Result.FAIL_INPUT),
        (RmpEntry(assigned=True, asid=1), 1030, Result.FAIL_OVERLAP),
        (RmpEntry(assigned=True, large=True, asid=1), 1536, Result.FAIL_OVERLAP),
        (RmpEntry(), 41, Result.FAIL_PERMISSION),
        (RmpEntry(), 1024, Result.SUCCESS),
    ],
)
def test_what_rmpupdate_refuses(rmp: ReverseMap, entry: RmpEntry, page: int, result: Result) -> None:
    rmp[41] = RmpEntry(assigned=True, immutable=True)
    rmp[1024] = RmpEntry(assigned=True, large=True, asid=2)
    rmp[1540] = RmpEntry(assigned=True, asid=2)
    before = rmp[page]
    assert rmpupdate(rmp, page, entry) is result
    if result is not Result.SUCCESS:
        assert rmp[page] == before


# ---------------------------------------------------------------- PSMASH


def test_psmash_splits_a_large_page(rmp: ReverseMap) -> None:
    rmp[512] = RmpEntry(assigned=True, large=True, gpa=0x400, asid=3, validated=True, permissions=FIRST_VMPL)
    assert rmp.covering(700).large
    with pytest.raises(Refused):
        rmp.check_software_write(700)
    assert psmash(rmp, 512) is Result.SUCCESS
    assert [rmp[512 + one].gpa for one in range(LARGE)] == [*range(0x400, 0x600)]
    assert all(rmp[512 + one].validated and not rmp[512 + one].large for one in range(LARGE))


def test_what_psmash_refuses(rmp: ReverseMap) -> None:
    assert psmash(rmp, 513) is Result.FAIL_INPUT
    assert psmash(rmp, 512) is Result.FAIL_INPUT
    rmp[512] = RmpEntry(assigned=True, large=True, immutable=True, asid=3)
    assert psmash(rmp, 512) is Result.FAIL_INUSE


# ---------------------------------------------------------------- PVALIDATE


def test_pvalidate_says_by_carry_whether_anything_changed(rmp: ReverseMap) -> None:
    rmpupdate(rmp, 40, MINE)
    assert pvalidate(rmp, 40, GUEST, gpa=0x77) == Validation(Result.SUCCESS, carry=False)
    assert rmp.state(40) is PageState.GUEST_VALID
    assert pvalidate(rmp, 40, GUEST, gpa=0x77) == Validation(Result.SUCCESS, carry=True)
    assert pvalidate(rmp, 40, GUEST, gpa=0x77, validate=False) == Validation(Result.SUCCESS, carry=False)
    assert rmp.state(40) is PageState.GUEST_INVALID


def test_pvalidate_is_for_vmpl_0_and_the_right_owner(rmp: ReverseMap) -> None:
    rmpupdate(rmp, 40, MINE)
    with pytest.raises(GeneralProtection):
        pvalidate(rmp, 40, GUEST._replace(vmpl=1), gpa=0x77)
    for caller, gpa, page in ((GUEST, 0x78, 40), (Caller(4, 0), 0x77, 40), (GUEST, 0x77, 41)):
        with pytest.raises(Refused, match="RMP bit"):
            pvalidate(rmp, page, caller, gpa=gpa)
    assert not rmp[40].validated


def test_pvalidate_of_4_kib_in_a_large_page_is_a_mismatch(rmp: ReverseMap) -> None:
    rmp[512] = RmpEntry(assigned=True, large=True, gpa=0x400, asid=3)
    assert pvalidate(rmp, 513, GUEST, gpa=0x401) == Validation(Result.FAIL_SIZEMISMATCH, carry=False)


# ---------------------------------------------------------------- RMPADJUST


def adjust(rmp: ReverseMap, vmpl: int, target: int, permissions: int, *, vmsa: bool = False) -> Result:
    caller = Caller(GUEST.asid, vmpl)
    return rmpadjust(rmp, 40, caller, gpa=0x77, target=target, permissions=permissions, vmsa=vmsa)


@pytest.fixture
def valid(rmp: ReverseMap) -> ReverseMap:
    rmp[40] = MINE._replace(validated=True, permissions=(ALL, Allow.READ, 0, 0))
    return rmp


@pytest.mark.parametrize(("vmpl", "target"), [*itertools.product(range(4), range(4))])
def test_rmpadjust_only_gives_to_lesser_vmpls(rmp: ReverseMap, vmpl: int, target: int) -> None:
    rmp[40] = MINE._replace(validated=True, permissions=(ALL, ALL, ALL, ALL))
    expected = Result.SUCCESS if target > vmpl else Result.FAIL_PERMISSION
    assert adjust(rmp, vmpl, target, Allow.READ) is expected
    assert (rmp[40].permissions[target] == Allow.READ) == (target > vmpl)


def test_nobody_gives_more_than_it_has(valid: ReverseMap) -> None:
    assert adjust(valid, 1, 2, Allow.READ) is Result.SUCCESS
    assert adjust(valid, 1, 2, Allow.READ | Allow.WRITE) is Result.FAIL_PERMISSION
    assert valid[40].permissions == (ALL, Allow.READ, Allow.READ, 0)


def test_only_vmpl_0_makes_save_areas(valid: ReverseMap) -> None:
    assert adjust(valid, 1, 2, 0, vmsa=True) is Result.FAIL_PERMISSION
    assert adjust(valid, 0, 2, 0, vmsa=True) is Result.SUCCESS
    assert valid[40].vmsa


def test_what_else_rmpadjust_refuses(valid: ReverseMap) -> None:
    assert adjust(valid, 0, 4, 0) is Result.FAIL_INPUT
    assert adjust(valid, 0, 1, 16) is Result.FAIL_INPUT
    valid[40] = MINE
    with pytest.raises(Refused, match="NOT_VALIDATED"):
        adjust(valid, 0, 1, 0)
    valid[40] = MINE._replace(asid=9, validated=True)
    with pytest.raises(Refused, match="RMP bit"):
        adjust(valid, 0, 1, 0)
    valid[0] = RmpEntry(assigned=True, large=True, gpa=0, asid=3)
    valid[40] = RmpEntry()
    assert adjust(valid, 0, 1, 0) is Result.FAIL_SIZEMISMATCH
