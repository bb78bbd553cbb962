"""EENTER, ERESUME, EEXIT and the asynchronous exit: what the host sees, and what stands in the SSA frame."""

from collections.abc import Callable

import pytest
from tests.machines.sgx import BASE, Bench, draft, tcs

from cloister.emulate.paging import MemoryFault
from cloister.emulate.sgx import paging
from cloister.emulate.sgx.enter import NAMES, Registers, aex, eenter, eexit, eresume, pack_registers, unpack_registers
from cloister.emulate.sgx.outcomes import Code, Fault
from cloister.emulate.sgx.structures import GprArea
from cloister.measure.image import PAGE

AEP = 1 << 48
OUTSIDE = {**dict.fromkeys(NAMES, 7), "rsp": 0xAAAA, "rbp": 0xBBBB, "fs_base": 0xF5, "gs_base": 0x65}
SECRETS = {name: 0x5EC0_0000 + number for number, name in enumerate(NAMES)} | {"rflags": 0x2D7}
Enter = Callable[..., Registers]


@pytest.fixture
def bench() -> Bench:
    return Bench().thread()


def enter(bench: Bench, how: Enter = eenter) -> Registers:
    return how(bench.cpu, bench.walk, BASE, AEP, OUTSIDE)


def frame(bench: Bench, number: int) -> GprArea:
    page = bench.table[(BASE + 0x2000 + number * PAGE) >> 12]
    return GprArea.parse(bytes(bench.memory.pages[page][-GprArea.SIZE :]))


def cssa(bench: Bench) -> int:
    page = bench.memory.pages[bench.table[BASE >> 12]]
    return int.from_bytes(page[24:28], "little")


def busy(bench: Bench) -> bool:
    return bool(bench.memory.pages[bench.table[BASE >> 12]][0] & 1)


# ---------------------------------------------------------------- in


def test_eenter_goes_to_the_entry_point(bench: Bench) -> None:
    inside = enter(bench)
    assert (inside["rip"], inside["rax"], inside["rcx"]) == (BASE + 0x40, 0, AEP)
    assert (inside["fs_base"], inside["gs_base"]) == (BASE + 0x5000, BASE + 0x6000)
    assert busy(bench)


def test_eenter_changes_no_other_register(bench: Bench) -> None:
    inside = enter(bench)
    changed = {"rip", "rax", "rcx", "fs_base", "gs_base"}
    assert {name for name in NAMES if inside[name] != OUTSIDE[name]} == changed


def test_eenter_keeps_the_hosts_stack_in_the_frame(bench: Bench) -> None:
    enter(bench)
    assert (frame(bench, 0).ursp, frame(bench, 0).urbp) == (0xAAAA, 0xBBBB)


def test_nobody_enters_twice(bench: Bench) -> None:
    enter(bench)
    with pytest.raises(Fault, match="already inside"):
        enter(bench)
    bench.cpu.thread = None  # as if another processor tried
    with pytest.raises(Fault, match="in use"):
        enter(bench)


def test_an_enclave_is_not_entered_before_einit() -> None:
    bench = Bench()
    bench.create()
    bench.add(BASE, 0x100, tcs().serialize())
    bench.add(BASE + 0x2000, 0x203)
    with pytest.raises(Fault, match="EINIT"):
        enter(bench)


@pytest.mark.parametrize(
    ("address", "aep", "word"),
    [
        (BASE + 8, AEP, "aligned"),
        (BASE, 1 << 60, "canonical"),
        (BASE + 0x5000, AEP, "REG, not TCS"),
        (0, AEP, "nothing at"),
    ],
)
def test_eenter_refuses(bench: Bench, address: int, aep: int, word: str) -> None:
    with pytest.raises(Fault, match=word):
        eenter(bench.cpu, bench.walk, address, aep, OUTSIDE)
    assert bench.cpu.thread is None


def test_the_host_cannot_pass_a_tcs_off_at_another_address(bench: Bench) -> None:
    bench.table[(BASE + 0x8000) >> 12] = bench.table[BASE >> 12]
    with pytest.raises(Fault, match="no usable TCS"):
        eenter(bench.cpu, bench.walk, BASE + 0x8000, AEP, OUTSIDE)


def test_the_host_cannot_pass_another_page_off_as_the_frame(bench: Bench) -> None:
    bench.table[(BASE + 0x2000) >> 12] = bench.table[(BASE + 0x6000) >> 12]
    with pytest.raises(MemoryFault, match="ENCLAVEADDRESS"):
        enter(bench)
    assert not busy(bench)


def test_a_blocked_tcs_is_not_entered(bench: Bench) -> None:
    paging.eblock(bench.cpu, bench.table[BASE >> 12] * PAGE)
    with pytest.raises(Fault, match="no usable TCS"):
        enter(bench)


def test_a_frame_outside_elrange_is_refused() -> None:
    bench = Bench()
    bench.create(draft(size=0x4000))
    bench.add(BASE, 0x100, tcs(ossa=0x4000).serialize())
    bench.initialise()
    with pytest.raises(Fault, match="outside ELRANGE"):
        enter(bench)


# ---------------------------------------------------------------- out because of the world


def test_the_host_sees_synthetic_registers(bench: Bench) -> None:
    enter(bench)
    seen = aex(bench.cpu, SECRETS)
    assert seen == {
        **dict.fromkeys(NAMES, 0), "rax": 3, "rbx": BASE, "rcx": AEP, "rip": AEP, "rsp": 0xAAAA, "rbp": 0xBBBB,
        "fs_base": 0xF5, "gs_base": 0x65, "rflags": 0x2D7 & ~0xD5,
    }  # fmt: skip


def test_what_was_in_registers_is_in_the_frame_and_comes_back(bench: Bench) -> None:
    enter(bench)
    aex(bench.cpu, SECRETS)
    saved = frame(bench, 0)
    assert (saved.rax, saved.r15, saved.rip, saved.fsbase) == (
        SECRETS["rax"], SECRETS["r15"], SECRETS["rip"], SECRETS["fs_base"],
    )  # fmt: skip
    assert (cssa(bench), busy(bench)) == (1, False)
    assert enter(bench, eresume) == SECRETS
    assert (cssa(bench), busy(bench)) == (0, True)


def test_who_changes_the_frame_changes_the_registers(bench: Bench) -> None:
    enter(bench)
    aex(bench.cpu, SECRETS)
    page = bench.memory.pages[bench.table[(BASE + 0x2000) >> 12]]
    page[-GprArea.SIZE] ^= 0xFF
    assert enter(bench, eresume)["rax"] == SECRETS["rax"] ^ 0xFF


def test_exits_nest_until_frames_run_out(bench: Bench) -> None:
    for depth in range(3):
        assert enter(bench)["rax"] == depth
        aex(bench.cpu, {**SECRETS, "rax": depth})
    with pytest.raises(Fault, match="no SSA frame is left"):
        enter(bench)
    for depth in (2, 1, 0):
        assert enter(bench, eresume)["rax"] == depth
        eexit(bench.cpu, {**SECRETS, "rbx": AEP})
    with pytest.raises(Fault, match="nothing to go on with"):
        enter(bench, eresume)


@pytest.mark.parametrize(
    ("vector", "expected"),
    [(None, 0), (14, 0), (13, 0), (32, 0), (0, 0x8000_0300), (6, 0x8000_0306), (3, 0x8000_0603)],
)
def test_exit_info_tells_of_some_exceptions_only(bench: Bench, vector: int | None, expected: int) -> None:
    enter(bench)
    aex(bench.cpu, SECRETS, vector=vector)
    assert frame(bench, 0).exitinfo == expected


def test_an_exit_ends_tracking(bench: Bench) -> None:
    enclave = bench.cpu.enclave_of("test", bench.secs)
    enter(bench)
    assert list(enclave.inside.values()) == [1]
    aex(bench.cpu, SECRETS)
    assert enclave.inside == {}


def test_no_exit_without_an_entry(bench: Bench) -> None:
    for leave in (aex, eexit):
        with pytest.raises(Fault, match="not inside"):
            leave(bench.cpu, SECRETS)


# ---------------------------------------------------------------- out because the enclave wants to


def test_eexit_shows_what_was_not_cleared(bench: Bench) -> None:
    enter(bench)
    seen = eexit(bench.cpu, {**SECRETS, "rbx": AEP + 64})
    assert (seen["rip"], seen["rcx"], seen["fs_base"], seen["gs_base"]) == (AEP + 64, AEP, 0xF5, 0x65)
    assert all(seen[name] == SECRETS[name] for name in ("rax", "rdx", "rsp", "r8", "r15", "rflags"))
    assert (cssa(bench), busy(bench)) == (0, False)


def test_eexit_goes_to_canonical_addresses_only(bench: Bench) -> None:
    enter(bench)
    with pytest.raises(Fault, match="canonical"):
        eexit(bench.cpu, {**SECRETS, "rbx": 1 << 57})
    assert bench.cpu.thread is not None


def test_the_area_is_laid_out_as_the_manual_says() -> None:
    page = bytearray(PAGE)
    pack_registers(memoryview(page), SECRETS, (1, 2), 3)
    record = GprArea.parse(bytes(page[-184:]))
    names = {"fs_base": "fsbase", "gs_base": "gsbase"}
    assert all(getattr(record, names.get(name, name)) == SECRETS[name] for name in NAMES)
    assert (record.ursp, record.urbp, record.exitinfo, record.aexnotify) == (1, 2, 3, 0)
    assert (GprArea.OFFSETS["rflags"], GprArea.OFFSETS["exitinfo"], GprArea.OFFSETS["fsbase"]) == (128, 160, 168)
    assert unpack_registers(memoryview(page)) == SECRETS


def test_codes_are_the_manuals() -> None:
    assert str(Code.NOT_TRACKED) == "SGX_NOT_TRACKED (11)"
    assert (Code.CHILD_PRESENT, Code.INVALID_EINITTOKEN, Code.INVALID_KEYNAME) == (13, 16, 256)
