"""EAUG, EACCEPT, EMODPE, EMODPR, EMODT, and EDBGRD; and the EPCM's check, of which they all are about."""

from collections.abc import Callable

import pytest
from tests.machines.sgx import BASE, FIRST, Bench, draft

from cloister.emulate.paging import Access, MemoryFault, Stage
from cloister.emulate.sgx import build, grow, paging
from cloister.emulate.sgx.debug import edbgrd
from cloister.emulate.sgx.enter import NAMES, aex, eenter
from cloister.emulate.sgx.epcm import EpcPage
from cloister.emulate.sgx.outcomes import Code, Fault
from cloister.emulate.sgx.structures import Attribute, Attributes, SecInfo
from cloister.measure.image import PAGE, Permission
from cloister.measure.sigstruct import Product

NEW = BASE + 0x8000
DATA = BASE + 0x5000
REGISTERS = dict.fromkeys(NAMES, 0)
PENDING, MODIFIED, RESTRICTED = 8, 0x10, 0x20
REG_RW = 0x203


@pytest.fixture
def bench() -> Bench:
    return Bench().thread()


def inside(bench: Bench) -> Bench:
    eenter(bench.cpu, bench.walk, BASE, 0, REGISTERS)
    return bench


def augment(bench: Bench, address: int = NEW) -> int:
    page = bench.take()
    grow.eaug(bench.cpu, bench.info(linaddr=address, secs_at=bench.secs), page)
    return page // PAGE


def accept(bench: Bench, flags: int, address: int, page: int) -> Code:
    return grow.eaccept(bench.cpu, SecInfo(flags=flags), address, page)


def reach(bench: Bench, page: int, address: int, access: Access = Access.READ) -> Permission:
    return bench.cpu.epcm.check(page, address, access, bench.cpu.enclave_of("test", bench.secs))


def page_of(bench: Bench, address: int) -> int:
    return bench.table[address >> 12]


def entry_of(bench: Bench, page: int) -> EpcPage:
    entry = bench.cpu.epcm[page]
    assert entry is not None
    return entry


def host(bench: Bench, change: Callable[..., Code], flags: int, page: int) -> Code:
    return change(bench.cpu, bench.put("secinfo", SecInfo(flags=flags).serialize()), page * PAGE)


# ---------------------------------------------------------------- adding


def test_a_page_is_reached_once_it_is_accepted(bench: Bench) -> None:
    bench.memory.fill(bench.page, b"left by another enclave".ljust(PAGE))
    page = augment(bench)
    with pytest.raises(MemoryFault, match="PENDING") as caught:
        reach(bench, page, NEW)
    assert caught.value.stage is Stage.TEE
    inside(bench)
    assert accept(bench, REG_RW | PENDING, NEW, page) is Code.SUCCESS
    assert reach(bench, page, NEW, Access.WRITE) == Permission.READ | Permission.WRITE
    assert bytes(bench.memory.pages[page]) == bytes(PAGE)


@pytest.mark.parametrize(
    "flags", [REG_RW, 0x201 | PENDING, 0x207 | PENDING, REG_RW | PENDING | MODIFIED, 0x103 | PENDING]
)
def test_the_enclave_accepts_exactly_what_it_expects(bench: Bench, flags: int) -> None:
    page = augment(bench)
    inside(bench)
    assert accept(bench, flags, NEW, page) is Code.PAGE_ATTRIBUTES_MISMATCH
    assert entry_of(bench, page).pending


def test_the_enclave_accepts_no_page_of_another_address(bench: Bench) -> None:
    page = augment(bench)
    inside(bench)
    with pytest.raises(Fault, match="not this enclave's page there"):
        accept(bench, REG_RW | PENDING, NEW + PAGE, page)
    with pytest.raises(Fault, match="not this enclave's page there"):
        accept(bench, REG_RW | PENDING, NEW, 3)


def test_an_accepted_page_is_not_accepted_again(bench: Bench) -> None:
    page = augment(bench)
    inside(bench)
    accept(bench, REG_RW | PENDING, NEW, page)
    assert accept(bench, REG_RW | PENDING, NEW, page) is Code.PAGE_ATTRIBUTES_MISMATCH


def test_only_enclaves_accept(bench: Bench) -> None:
    page = augment(bench)
    with pytest.raises(Fault, match="not inside"):
        accept(bench, REG_RW | PENDING, NEW, page)


def test_a_page_is_accepted_with_a_copy_and_permissions(bench: Bench) -> None:
    bench.memory.fill(page_of(bench, DATA), b"code".ljust(PAGE))
    page = augment(bench)
    inside(bench)
    taken = grow.eacceptcopy(bench.cpu, SecInfo(flags=0x205), NEW, page, page_of(bench, DATA))
    assert taken is Code.SUCCESS
    assert reach(bench, page, NEW, Access.FETCH) == Permission.READ | Permission.EXECUTE
    assert bytes(bench.memory.pages[page]) == b"code".ljust(PAGE)
    again = grow.eacceptcopy(bench.cpu, SecInfo(flags=0x205), NEW, page, page_of(bench, DATA))
    assert again is Code.PAGE_ATTRIBUTES_MISMATCH
    for flags in (0x202, 0x105, 0x20D):
        with pytest.raises(Fault, match="SECINFO"):
            grow.eacceptcopy(bench.cpu, SecInfo(flags=flags), NEW, page, page_of(bench, DATA))


def test_eaug_refuses(bench: Bench) -> None:
    with pytest.raises(Fault, match="ELRANGE"):
        augment(bench, BASE - PAGE)
    with pytest.raises(Fault, match="SRCPGE"):
        grow.eaug(bench.cpu, bench.info(linaddr=NEW, secs_at=bench.secs, source=bytes(PAGE)), bench.take())
    early = Bench()
    early.create()
    with pytest.raises(Fault, match="EINIT"):
        augment(early)


def test_a_pending_page_stays_pending_outside(bench: Bench) -> None:
    page = augment(bench)
    va = bench.take()
    paging.epa(bench.cpu, va)
    assert paging.eblock(bench.cpu, page * PAGE) is Code.SUCCESS
    with pytest.raises(MemoryFault, match="BLOCKED"):
        reach(bench, page, NEW)


# ---------------------------------------------------------------- permissions


def test_permissions_are_restricted_by_the_host_and_accepted(bench: Bench) -> None:
    page = page_of(bench, DATA)
    assert host(bench, grow.emodpr, 1, page) is Code.SUCCESS
    paging.etrack(bench.cpu, bench.secs)
    with pytest.raises(MemoryFault, match="no WRITE permission"):
        reach(bench, page, DATA, Access.WRITE)
    inside(bench)
    assert accept(bench, 0x201, DATA, page) is Code.PAGE_ATTRIBUTES_MISMATCH
    assert accept(bench, 0x201 | RESTRICTED, DATA, page) is Code.SUCCESS
    assert reach(bench, page, DATA) == Permission.READ


def test_a_restriction_is_accepted_when_old_translations_are_gone(bench: Bench) -> None:
    page = page_of(bench, DATA)
    inside(bench)
    host(bench, grow.emodpr, 1, page)
    assert accept(bench, 0x201 | RESTRICTED, DATA, page) is Code.NOT_TRACKED
    paging.etrack(bench.cpu, bench.secs)
    assert accept(bench, 0x201 | RESTRICTED, DATA, page) is Code.NOT_TRACKED
    aex(bench.cpu, REGISTERS)
    inside(bench)
    assert accept(bench, 0x201 | RESTRICTED, DATA, page) is Code.SUCCESS


def test_the_host_gives_no_permissions(bench: Bench) -> None:
    page = page_of(bench, DATA)
    host(bench, grow.emodpr, 7, page)
    assert entry_of(bench, page).permission == Permission.READ | Permission.WRITE
    with pytest.raises(Fault, match="W without R"):
        host(bench, grow.emodpr, 2, page)
    with pytest.raises(Fault, match="more than permissions"):
        host(bench, grow.emodpr, REG_RW, page)


def test_the_enclave_gives_itself_permissions(bench: Bench) -> None:
    page = page_of(bench, DATA)
    inside(bench)
    grow.emodpe(bench.cpu, SecInfo(flags=0x204), DATA, page)
    assert reach(bench, page, DATA, Access.FETCH) == Permission.READ | Permission.WRITE | Permission.EXECUTE


def test_emodpe_is_for_pages_in_use(bench: Bench) -> None:
    page = augment(bench)
    inside(bench)
    with pytest.raises(Fault, match="not a regular one in use"):
        grow.emodpe(bench.cpu, SecInfo(flags=0x204), NEW, page)


# ---------------------------------------------------------------- giving back


def test_a_page_is_trimmed_accepted_and_removed(bench: Bench) -> None:
    page = page_of(bench, DATA)
    assert host(bench, grow.emodt, 0x400, page) is Code.SUCCESS
    paging.etrack(bench.cpu, bench.secs)
    with pytest.raises(MemoryFault, match="TRIM"):
        reach(bench, page, DATA)
    inside(bench)
    assert accept(bench, 0x400 | MODIFIED, DATA, page) is Code.SUCCESS
    aex(bench.cpu, REGISTERS)
    assert build.eremove(bench.cpu, page * PAGE) is Code.SUCCESS


def test_emodt_refuses(bench: Bench) -> None:
    page = page_of(bench, DATA)
    with pytest.raises(Fault, match="PT_TRIM or PT_TCS"):
        host(bench, grow.emodt, 0x200, page)
    with pytest.raises(Fault, match="PT_TRIM or PT_TCS"):
        host(bench, grow.emodt, 0x401, page)
    assert host(bench, grow.emodt, 0x100, page_of(bench, BASE)) is Code.PAGE_NOT_MODIFIABLE
    assert host(bench, grow.emodt, 0x400, augment(bench)) is Code.PAGE_NOT_MODIFIABLE
    with pytest.raises(Fault, match="is SECS"):
        host(bench, grow.emodt, 0x400, bench.secs // PAGE)


# ---------------------------------------------------------------- the check


def test_every_reason_for_which_the_check_fails(bench: Bench) -> None:
    data, secs = page_of(bench, DATA), bench.secs // PAGE
    other = Bench()
    other.thread()
    enclave = other.cpu.enclave_of("test", other.secs)
    cases = [
        (3, DATA, "not in the EPC"),
        (bench.take() // PAGE, DATA, "is free"),
        (secs, DATA, "SECS page"),
        (page_of(bench, BASE), BASE, "TCS page"),
        (data, DATA + PAGE, "belongs at"),
    ]
    for page, address, word in cases:
        with pytest.raises(MemoryFault, match=word) as caught:
            reach(bench, page, address)
        assert caught.value.stage is Stage.TEE
    with pytest.raises(MemoryFault, match="not this enclave's"):
        bench.cpu.epcm.check(data, DATA, Access.READ, enclave)
    with pytest.raises(MemoryFault, match="no EXECUTE permission"):
        reach(bench, data, DATA, Access.FETCH)
    assert FIRST in bench.cpu.epcm
    assert FIRST - 1 not in bench.cpu.epcm


# ---------------------------------------------------------------- debugging


def test_debug_enclaves_are_read_others_not(bench: Bench) -> None:
    page = page_of(bench, DATA) * PAGE
    with pytest.raises(Fault, match="lack DEBUG"):
        edbgrd(bench.cpu, page)
    attributes = Attributes(flags=Attribute.MODE64BIT | Attribute.DEBUG, xfrm=3)
    open_one = Bench()
    open_one.create(draft(attributes=attributes))
    page = open_one.add(BASE, REG_RW, b"readable" + bytes(PAGE - 8))
    assert open_one.initialise(Product(attributes=attributes.serialize())) is Code.SUCCESS
    assert edbgrd(open_one.cpu, page) == b"readable"
    assert edbgrd(open_one.cpu, augment(open_one) * PAGE) is Code.PAGE_NOT_DEBUGGABLE
    with pytest.raises(Fault, match="not aligned"):
        edbgrd(open_one.cpu, page + 4)
    with pytest.raises(Fault, match="SECS"):
        edbgrd(open_one.cpu, open_one.secs)
