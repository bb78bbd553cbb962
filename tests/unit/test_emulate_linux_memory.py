"""brk, mmap and their family, against the books and against a memory that refuses impossible requests."""

import errno
import os
import struct
from pathlib import Path

import pytest
from tests.unit.emulate_linux_space import READ_WRITE, SCRATCH, Bench, honest

from cloister.emulate.linux.regions import Region, Regions
from cloister.emulate.paging import Access, MemoryFault, Stage
from cloister.measure.image import PAGE, Architecture, Permission

PRIVATE_ANONYMOUS = 0x22
FIXED = 0x10
NOBODY = (1 << 64) - 1


@pytest.fixture(params=list(Architecture))
def bench(request: pytest.FixtureRequest) -> Bench:
    return honest(architecture=request.param)[0]


def mapped(bench: Bench, size: int, protection: int = 3, address: int = 0, flags: int = PRIVATE_ANONYMOUS) -> int:
    return bench.call("mmap", address, size, protection, flags, NOBODY, 0)


def test_anonymous_memory_is_zero_and_comes_from_below_the_stack(bench: Bench) -> None:
    first = mapped(bench, 5000)
    second = mapped(bench, PAGE)
    assert bench.memory(2 * PAGE, first) == bytes(2 * PAGE)
    assert second + PAGE == first < bench.stack
    assert first < 1 << 38 or bench.space.architecture != Architecture.RISCV64


def test_unmapped_memory_is_gone_and_its_place_is_found_again(bench: Bench) -> None:
    first = mapped(bench, 3 * PAGE)
    bench.space.write(first, b"secret")
    assert bench.call("munmap", first + PAGE, PAGE) == 0
    with pytest.raises(MemoryFault):
        bench.memory(1, first + PAGE)
    assert mapped(bench, PAGE) == first + PAGE
    assert bench.memory(6, first) == b"secret"


def test_more_than_there_is_fails_and_changes_nothing(bench: Bench) -> None:
    left = bench.space.left
    assert mapped(bench, (left + 1) * PAGE) == -errno.ENOMEM
    assert mapped(bench, 1 << 62) == -errno.ENOMEM
    heap = bench.call("brk", 0)
    assert bench.call("brk", heap + (left + 1) * PAGE) == heap
    assert bench.space.left == left


def test_a_reservation_has_no_memory_until_it_gets_a_permission(bench: Bench) -> None:
    left = bench.space.left
    place = mapped(bench, (left + 100) * PAGE, protection=0)
    assert place > 0
    assert bench.space.left == left
    assert bench.call("mprotect", place + PAGE, PAGE, 3) == 0
    bench.space.write(place + PAGE, b"x")
    assert bench.space.left == left - 1
    assert bench.call("mprotect", place, (left + 100) * PAGE, 3) == -errno.ENOMEM


def test_fixed_mappings_replace_what_is_there_only_when_told_so(bench: Bench) -> None:
    place = mapped(bench, 2 * PAGE)
    bench.space.write(place, b"old")
    assert mapped(bench, PAGE, address=place, flags=PRIVATE_ANONYMOUS | 0x100000) == -errno.EEXIST
    assert mapped(bench, PAGE, address=place, flags=PRIVATE_ANONYMOUS | FIXED) == place
    assert bench.memory(3, place) == bytes(3)
    assert mapped(bench, PAGE, address=place + 1, flags=PRIVATE_ANONYMOUS | FIXED) == -errno.EINVAL
    assert mapped(bench, PAGE, address=0, flags=PRIVATE_ANONYMOUS | FIXED) == -errno.ENOMEM
    assert mapped(bench, PAGE, address=place) not in {place, -errno.ENOMEM}


def test_protection_is_what_was_asked_and_write_means_read(bench: Bench) -> None:
    place = mapped(bench, 2 * PAGE)
    assert bench.call("mprotect", place, PAGE, 1) == 0
    assert bench.space.permissions[place // PAGE] == Permission.READ
    assert bench.call("mprotect", place, PAGE, 2) == 0
    assert bench.space.permissions[place // PAGE] == READ_WRITE
    assert bench.call("mprotect", place, 8, 5) == 0
    assert bench.space.permissions[place // PAGE] == Permission.READ | Permission.EXECUTE
    assert bench.call("mprotect", place, 3 * PAGE, 8) == -errno.EINVAL
    assert bench.call("mprotect", place - 64 * PAGE, 65 * PAGE, 3) == -errno.ENOMEM


def test_brk_grows_shrinks_and_gives_zeros_again(bench: Bench) -> None:
    start = bench.call("brk", 0)
    assert bench.call("brk", start + 5000) == start + 5000
    bench.space.write(start + 4990, b"left over")
    assert bench.call("brk", start + 10) == start + 10
    assert bench.call("brk", start + 5000) == start + 5000
    assert bench.memory(9, start + 4990) == bytes(9)
    assert bench.call("brk", start - PAGE) == start + 5000


def test_mremap_moves_what_cannot_grow(bench: Bench) -> None:
    upper = mapped(bench, PAGE)
    lower = mapped(bench, 2 * PAGE)
    assert lower + 2 * PAGE == upper
    bench.space.write(lower + PAGE, b"kept")
    assert bench.call("mremap", lower, 2 * PAGE, 4 * PAGE, 0) == -errno.ENOMEM
    moved = bench.call("mremap", lower, 2 * PAGE, 4 * PAGE, 1)
    assert bench.memory(4, moved + PAGE) == b"kept"
    with pytest.raises(MemoryFault):
        bench.memory(1, lower)
    assert bench.call("mremap", moved, 4 * PAGE, PAGE, 0) == moved
    assert bench.call("mremap", moved, PAGE, 2 * PAGE, 0) == moved
    assert bench.call("mremap", 0x1000, PAGE, PAGE, 1) == -errno.EFAULT


def test_dontneed_zeroes_anonymous_pages_and_refuses_the_programs_own(bench: Bench) -> None:
    place = mapped(bench, PAGE)
    bench.space.write(place, b"x")
    assert bench.call("madvise", place, PAGE, 4) == 0
    assert bench.memory(1, place) == b"\0"
    assert bench.call("madvise", SCRATCH, PAGE, 4) == -errno.EINVAL


def test_a_file_is_mapped_as_a_private_copy(bench: Bench, tmp_path: Path) -> None:
    content = os.urandom(3 * PAGE + 100)
    path = tmp_path / "file"
    path.write_bytes(content)
    descriptor = bench.call("openat", -100, os.fsencode(path), os.O_RDWR, 0)
    place = bench.call("mmap", 0, 3 * PAGE, 1, 2, descriptor, PAGE)
    assert bench.memory(3 * PAGE, place) == content[PAGE:].ljust(3 * PAGE, b"\0")
    assert bench.space.permissions[place // PAGE] == Permission.READ
    assert bench.call("mmap", 0, PAGE, 3, 1, descriptor, 0) == -errno.ENODEV
    assert bench.call("mmap", 0, PAGE, 3, 2, 77, 0) == -errno.EBADF
    assert bench.call("mmap", 0, PAGE, 3, 2, 0, 0) == -errno.ENODEV
    assert bench.call("mmap", 0, PAGE, 3, 2, descriptor, 1) == -errno.EINVAL


def test_a_bad_pointer_is_the_programs_error_but_a_page_taken_away_is_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bench.call("uname", 0x10) == -errno.EFAULT
    assert bench.call("uname", 0x40_0000) == -errno.EFAULT
    place = mapped(bench, PAGE)

    def refuse(address: int, data: bytes) -> None:
        del data
        raise MemoryFault(address, Access.WRITE, Stage.TEE, "page given away by the host")

    monkeypatch.setattr(bench.space, "write", refuse)
    with pytest.raises(MemoryFault):
        bench.call("uname", place)


def test_what_a_tee_cannot_do_is_an_error_for_the_program(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    place = mapped(bench, PAGE)

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(bench.space, "protect", refuse)
    assert bench.call("mprotect", place, PAGE, 5) == -errno.EACCES
    assert bench.call("mremap", place, PAGE, PAGE // 2, 0) == place

    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(bench.space, "map", full)
    assert mapped(bench, PAGE) == -errno.ENOMEM


def test_regions_split_and_join() -> None:
    regions = Regions(0x1000, 0x100000)
    regions.add(Region(0x2000, 0x4000, READ_WRITE))
    regions.add(Region(0x5000, 0x6000, READ_WRITE))
    regions.add(Region(0x4000, 0x5000, READ_WRITE))
    assert regions.over(0, 1 << 40) == [Region(0x2000, 0x6000, READ_WRITE)]
    assert regions.cut(0x3000, 0x4000) == [Region(0x3000, 0x4000, READ_WRITE)]
    assert regions.over(0x2800, 0x5800) == [Region(0x2800, 0x3000, READ_WRITE), Region(0x4000, 0x5800, READ_WRITE)]
    assert not regions.is_covered(0x2000, 0x6000)
    assert regions.is_free(0x3000, 0x4000)
    assert not regions.is_free(0, 0x1000)
    assert regions.place(0x1000, 0x6000) == 0x3000


def test_vectors_are_limited() -> None:
    bench, _ = honest()
    bench.space.write(SCRATCH, struct.pack("<QQ", SCRATCH + 64, 0))
    assert bench.call("writev", 1, SCRATCH, 1025) == -errno.EINVAL
    assert bench.call("writev", 1, SCRATCH, 1) == 0
