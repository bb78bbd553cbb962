"""EPA, EBLOCK, ETRACK, EWB, ELDU and ELDB: pages that go to ordinary memory and come back."""

import pytest
from tests.machines.sgx import BASE, SPOTS, Bench

from cloister.emulate.sgx import build, paging
from cloister.emulate.sgx.enter import NAMES, aex, eenter, eresume
from cloister.emulate.sgx.outcomes import Code, Fault
from cloister.emulate.sgx.structures import PageType, Pcmd
from cloister.measure.image import PAGE, Permission

DATA = BASE + 0x5000
CONTENT = b"a page of the enclave".ljust(PAGE, b".")
REGISTERS = dict.fromkeys(NAMES, 0)


class Swapping(Bench):
    """An enclave with a page of data, and a VA page."""

    def __init__(self) -> None:
        super().__init__()
        self.thread()
        self.data = self.table[DATA >> 12] * PAGE
        self.memory.fill(self.data // PAGE, CONTENT)
        self.va = self.take()
        paging.epa(self.cpu, self.va)

    def ready(self) -> "Swapping":
        """EBLOCK and ETRACK of the data page."""
        assert paging.eblock(self.cpu, self.data) is Code.SUCCESS
        assert paging.etrack(self.cpu, self.secs) is Code.SUCCESS
        return self

    def write(self, page: int | None = None, *, slot: int = 0) -> Code:
        """EWB, to the places for sources and PCMDs."""
        info = self.info(source=bytes(PAGE))
        whole = bytearray(self.cpu.read("test", info, 32))
        whole[16:24] = SPOTS["pcmd"].to_bytes(8, "little")
        return paging.ewb(self.cpu, self.put("info", bytes(whole)), page or self.data, self.va + slot)

    def stored(self) -> tuple[bytes, bytes]:
        """What ordinary memory holds: ciphertext and PCMD."""
        return self.cpu.read("test", SPOTS["source"], PAGE), self.cpu.read("test", SPOTS["pcmd"], Pcmd.SIZE)

    def load(
        self,
        stored: tuple[bytes, bytes],
        *,
        at: int = DATA,
        slot: int = 0,
        to: int = 0,
        secs: int = 0,
        blocked: bool = False,
    ) -> Code:
        """ELDU or ELDB of something."""
        content, pcmd = stored
        info = self.info(linaddr=at, source=content, secs_at=secs or self.secs)
        whole = bytearray(self.cpu.read("test", info, 32))
        whole[16:24] = self.put("pcmd", pcmd).to_bytes(8, "little")
        load = paging.eldb if blocked else paging.eldu
        return load(self.cpu, self.put("info", bytes(whole)), to or self.data, self.va + slot)


@pytest.fixture
def swap() -> Swapping:
    return Swapping()


def test_a_page_goes_and_comes_back(swap: Swapping) -> None:
    before = swap.cpu.epcm[swap.data // PAGE]
    assert swap.ready().write() is Code.SUCCESS
    assert swap.cpu.epcm[swap.data // PAGE] is None
    sealed, _ = swap.stored()
    assert sealed != CONTENT
    assert b"enclave" not in sealed
    elsewhere = swap.take()
    assert swap.load(swap.stored(), to=elsewhere) is Code.SUCCESS
    entry = swap.cpu.epcm[elsewhere // PAGE]
    assert bytes(swap.memory.pages[elsewhere // PAGE]) == CONTENT
    assert entry is not None
    assert before is not None
    assert (entry.address, entry.permission, entry.type, entry.enclave, entry.blocked) == (
        DATA, Permission.READ | Permission.WRITE, PageType.REG, before.enclave, False,
    )  # fmt: skip


def test_eldb_brings_it_back_blocked(swap: Swapping) -> None:
    swap.ready().write()
    assert swap.load(swap.stored(), blocked=True) is Code.SUCCESS
    entry = swap.cpu.epcm[swap.data // PAGE]
    assert entry is not None
    assert entry.blocked


def test_equal_pages_are_never_equal_outside(swap: Swapping) -> None:
    seen = set()
    for _ in range(5):
        assert swap.ready().write() is Code.SUCCESS
        seen.add(swap.stored())
        assert swap.load(swap.stored()) is Code.SUCCESS
    assert len(seen) == 5


# ---------------------------------------------------------------- order


def test_only_blocked_and_tracked_pages_go(swap: Swapping) -> None:
    assert swap.write() is Code.PAGE_NOT_BLOCKED
    paging.eblock(swap.cpu, swap.data)
    assert swap.write() is Code.NOT_TRACKED
    paging.etrack(swap.cpu, swap.secs)
    assert swap.write() is Code.SUCCESS


def test_a_thread_inside_holds_its_pages(swap: Swapping) -> None:
    eenter(swap.cpu, swap.walk, BASE, 0, REGISTERS)
    swap.ready()
    assert swap.write() is Code.NOT_TRACKED
    assert paging.etrack(swap.cpu, swap.secs) is Code.PREV_TRK_INCMPL
    aex(swap.cpu, REGISTERS)
    eresume(swap.cpu, swap.walk, BASE, 0, REGISTERS)  # it entered after ETRACK: it cannot have old translations
    assert swap.write() is Code.SUCCESS


def test_what_can_be_blocked(swap: Swapping) -> None:
    assert paging.eblock(swap.cpu, swap.secs) is Code.PG_IS_SECS
    assert paging.eblock(swap.cpu, swap.va) is Code.NOTBLOCKABLE
    assert paging.eblock(swap.cpu, swap.take()) is Code.PG_INVLD
    paging.eblock(swap.cpu, swap.data)
    assert paging.eblock(swap.cpu, swap.data) is Code.BLKSTATE


def test_a_slot_is_used_once(swap: Swapping) -> None:
    swap.ready().write()
    second = swap.table[(BASE + 0x6000) >> 12] * PAGE
    paging.eblock(swap.cpu, second)
    paging.etrack(swap.cpu, swap.secs)
    assert swap.write(second) is Code.VA_SLOT_OCCUPIED
    assert swap.write(second, slot=8) is Code.SUCCESS


def test_the_secs_goes_last_and_comes_back_first(swap: Swapping) -> None:
    assert swap.write(swap.secs) is Code.CHILD_PRESENT
    lonely = Swapping()
    for page in lonely.table.values():
        assert build.eremove(lonely.cpu, page * PAGE) is Code.SUCCESS
    before = lonely.cpu.secs(lonely.cpu.enclave_of("test", lonely.secs))
    assert lonely.write(lonely.secs) is Code.SUCCESS
    elsewhere = lonely.take()
    assert lonely.load(lonely.stored(), at=0, to=elsewhere, secs=lonely.va) is Code.SUCCESS
    assert lonely.cpu.secs(lonely.cpu.enclave_of("test", elsewhere)) == before


def test_a_va_page_goes_too(swap: Swapping) -> None:
    other = swap.take()
    paging.epa(swap.cpu, other)
    swap.memory.fill(other // PAGE, b"v" * PAGE)
    assert swap.write(other) is Code.SUCCESS
    assert swap.load(swap.stored(), at=0, to=other) is Code.SUCCESS
    assert bytes(swap.memory.pages[other // PAGE]) == b"v" * PAGE
    with pytest.raises(Fault, match="its own version"):
        swap.write(swap.va)


# ---------------------------------------------------------------- what comes back is what went last


@pytest.mark.parametrize("place", [0, 2000, 4095])
def test_a_changed_page_does_not_come_back(swap: Swapping, place: int) -> None:
    swap.ready().write()
    sealed, pcmd = swap.stored()
    changed = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
    assert swap.load((changed, pcmd)) is Code.MAC_COMPARE_FAIL
    assert swap.load((sealed, pcmd)) is Code.SUCCESS


def test_an_older_version_does_not_come_back(swap: Swapping) -> None:
    swap.ready().write()
    old = swap.stored()
    swap.load(old)
    swap.memory.fill(swap.data // PAGE, b"newer".ljust(PAGE))
    swap.ready().write()
    assert swap.load(old) is Code.MAC_COMPARE_FAIL


def test_no_version_comes_back_twice(swap: Swapping) -> None:
    swap.ready().write()
    stored = swap.stored()
    assert swap.load(stored) is Code.SUCCESS
    assert swap.load(stored, to=swap.take()) is Code.MAC_COMPARE_FAIL


def test_a_page_comes_back_at_its_address_only(swap: Swapping) -> None:
    swap.ready().write()
    assert swap.load(swap.stored(), at=DATA + 0x1000) is Code.MAC_COMPARE_FAIL
    assert swap.load(swap.stored(), slot=8) is Code.MAC_COMPARE_FAIL


def test_a_page_comes_back_to_its_enclave_only(swap: Swapping) -> None:
    swap.ready().write()
    stored, own = swap.stored(), swap.secs
    other = swap.create()
    assert swap.load(stored, secs=other) is Code.MAC_COMPARE_FAIL
    assert swap.load(stored, secs=own) is Code.SUCCESS


@pytest.mark.parametrize("flags", [0x207, 0x103, 0x20B])
def test_permissions_and_type_come_back_as_they_were(swap: Swapping, flags: int) -> None:
    swap.ready().write()
    sealed, pcmd = swap.stored()
    assert swap.load((sealed, flags.to_bytes(8, "little") + pcmd[8:])) is Code.MAC_COMPARE_FAIL


def test_operands_are_checked(swap: Swapping) -> None:
    swap.ready().write()
    with pytest.raises(Fault, match="aligned to 8"):
        swap.load(swap.stored(), slot=4)
    with pytest.raises(Fault, match="not VA"):
        paging.eldu(swap.cpu, swap.info(source=bytes(PAGE), secinfo=0), swap.data, swap.secs)
    with pytest.raises(Fault, match="in use"):
        swap.load(swap.stored(), to=swap.va)
    sealed, pcmd = swap.stored()
    with pytest.raises(Fault, match="PCMD names page type 9"):
        swap.load((sealed, (0x903).to_bytes(8, "little") + pcmd[8:]))
    with pytest.raises(Fault, match="reserved"):
        swap.load((sealed, pcmd[:80] + b"\1" + pcmd[81:]))
    with pytest.raises(Fault, match="no enclave 77"):
        swap.load((sealed, bytes(64) + (77).to_bytes(8, "little") + pcmd[72:]))
