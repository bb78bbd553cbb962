"""The on-die frame cache: what is written when, which frames may be given away, and when code is stale."""

import os
from collections.abc import Iterator

import pytest

from cloister.emulate.memory.cache import FrameCache
from cloister.emulate.memory.controller import KeySlotError, MemoryController
from cloister.emulate.memory.dram_unsafe import Dram
from cloister.emulate.memory.owned import OwnedCipher
from cloister.emulate.memory.plain import PlainCipher
from cloister.emulate.memory.xts import XtsCipher
from cloister.emulate.paging import HOST_KEY, IntegrityFault
from cloister.measure.image import PAGE

FRAMES = 16
TD = 1


class Machine:
    """A cache over DRAM, and a soft TLB as the engine has one: page to frame, emptied by the cache's flush."""

    def __init__(self, dram: Dram) -> None:
        self.dram = dram
        self.controller = MemoryController(dram)
        self.controller.install(HOST_KEY, PlainCipher(dram))
        self.controller.install(TD, XtsCipher(dram, mac=True))
        self.tlb: dict[tuple[int, int], int] = {}
        pool = memoryview(bytearray(FRAMES * PAGE))
        frames = [pool[at : at + PAGE] for at in range(0, FRAMES * PAGE, PAGE)]
        self.cache = FrameCache(frames, self.controller, self.tlb.clear, refresh=100)

    def access(self, page: int, *, key: int = TD, write: bool = False, fetch: bool = False) -> memoryview:
        frame = self.cache.frame(page, key, write=write, fetch=fetch)
        assert all(other != frame for where, other in self.tlb.items() if where != (page, key)), "two pages, one frame"
        self.tlb[page, key] = frame
        return self.cache.frames[frame]

    def start(self, *pages: int) -> None:
        for page in pages:
            self.controller.store(page, TD, bytes([page & 255]) * PAGE)


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Dram(256) as dram:
        yield Machine(dram)


def test_a_page_is_loaded_once(machine: Machine) -> None:
    machine.start(5)
    assert machine.access(5)[0] == 5
    assert machine.access(5)[-1] == 5
    assert (machine.cache.fills, machine.cache.misses, machine.controller.loads) == (2, 1, 1)


def test_only_written_frames_are_dirty_and_only_they_are_written_back(machine: Machine) -> None:
    machine.start(5, 6)
    clean = machine.cache.frame(5, TD, write=False, fetch=False)
    dirty = machine.cache.frame(6, TD, write=True, fetch=False)
    assert (machine.cache.is_dirty(clean), machine.cache.is_dirty(dirty)) == (False, True)
    stores = machine.controller.stores
    machine.cache.write_back()
    assert machine.controller.stores == stores + 1
    assert not machine.cache.is_dirty(dirty)
    assert machine.cache.cached(6) == TD


def test_write_back_takes_leave_to_write_away(machine: Machine) -> None:
    """Else the engine would go on writing to a frame that counts as clean, and the writes would be lost."""
    machine.start(5)
    machine.access(5, write=True)
    machine.cache.write_back()
    assert not machine.tlb
    flushes = machine.cache.flushes
    machine.cache.write_back()
    assert machine.cache.flushes == flushes


def test_pages_come_back_as_they_were_written(machine: Machine) -> None:
    """Ten times more pages than frames, in random order: the model is a plain dictionary."""
    pages = range(10 * FRAMES)
    machine.start(*pages)
    model = {page: bytes([page & 255]) * PAGE for page in pages}
    for step in range(3000):
        choice = os.urandom(2)
        page = choice[0] % len(pages)
        write = choice[1] < 100
        view = machine.access(page, write=write)
        assert view == model[page]
        if write:
            view[:] = model[page] = step.to_bytes(2, "little") * (PAGE // 2)
    assert machine.cache.evictions > 0
    assert machine.cache.misses > FRAMES
    # A flush frees many frames: far fewer flushes than misses.
    assert machine.cache.flushes < machine.cache.misses // 2 + 3000 // 100


def test_live_frames_are_not_given_away(machine: Machine) -> None:
    """`Machine.access` checks each time that no other translation points at the frame."""
    machine.start(*range(64))
    for page in (*range(64), *range(63, -1, -1)):
        machine.access(page)
        machine.access(page - 1 if page else 1)


def test_the_frame_given_last_survives_the_flush_of_the_next_fill(machine: Machine) -> None:
    """An instruction across two pages holds the first frame's address while it asks for the second."""
    machine.start(*range(FRAMES + 1))
    for page in range(FRAMES):
        machine.access(page)
    first = machine.cache.frame(0, TD, write=False, fetch=False)  # next in turn to be given away
    assert machine.cache.frame(FRAMES, TD, write=False, fetch=False) != first
    assert machine.cache.flushes == 1
    assert machine.cache.cached(0) == TD


def test_another_key_sees_ciphertext_and_what_it_writes_is_what_dram_has(machine: Machine) -> None:
    machine.start(5)
    machine.access(5, write=True)[:] = b"secret! " * 512
    host = bytes(machine.access(5, key=HOST_KEY))
    assert host == bytes(machine.dram.page(5))
    assert b"secret! " not in host
    assert machine.cache.cached(5) == HOST_KEY
    assert machine.access(5) == b"secret! " * 512
    machine.access(5, key=HOST_KEY, write=True)[0] ^= 1
    with pytest.raises(IntegrityFault):
        machine.access(5)
    assert machine.cache.cached(5) is None


def test_a_translation_does_not_outlive_the_key_it_was_made_for(machine: Machine) -> None:
    machine.start(5)
    machine.access(5)
    machine.access(5, key=HOST_KEY)
    assert set(machine.tlb) == {(5, HOST_KEY)}
    machine.cache.put(5, TD, b"x" * PAGE)
    assert not machine.tlb


def test_a_tds_write_after_the_hosts_makes_poison() -> None:
    with Dram(64) as dram:
        machine = Machine(dram)
        machine.controller.remove(HOST_KEY)
        machine.controller.remove(TD)
        machine.controller.install(HOST_KEY, OwnedCipher(PlainCipher(dram), dram, td=False))
        machine.controller.install(TD, OwnedCipher(XtsCipher(dram), dram, td=True))
        machine.cache.put(5, TD, b"t" * PAGE)
        assert machine.access(5, key=HOST_KEY) == bytes(PAGE)
        assert machine.access(5) == b"t" * PAGE
        machine.access(5, key=HOST_KEY, write=True)
        with pytest.raises(IntegrityFault, match="owner bit"):
            machine.access(5)


def test_drop_loses_what_was_not_written_back(machine: Machine) -> None:
    machine.start(5, 6)
    for page in (5, 6):
        machine.access(page, write=True)[:] = b"new " * 1024
    machine.cache.drop(5)
    assert machine.access(5)[0] == 5
    machine.cache.drop()
    assert not machine.tlb
    assert machine.access(6)[0] == 6


def test_invalidate_shows_what_was_done_to_dram_unless_the_frame_is_newer(machine: Machine) -> None:
    machine.controller.store(5, HOST_KEY, b"a" * PAGE)
    machine.access(5, key=HOST_KEY)
    machine.dram.page(5)[:] = b"b" * PAGE
    assert machine.access(5, key=HOST_KEY)[0] == ord("a")
    assert machine.cache.invalidate(5)
    assert machine.access(5, key=HOST_KEY, write=True)[0] == ord("b")
    machine.dram.page(5)[:] = b"c" * PAGE
    assert not machine.cache.invalidate(5)
    assert machine.access(5, key=HOST_KEY)[0] == ord("b")
    assert machine.cache.invalidate(99)


def became_stale(cache: FrameCache) -> bool:
    """Whether code is stale; set back, as the engine does after it has flushed translated blocks."""
    stale, cache.stale_code = cache.stale_code, False
    return stale


def test_code_is_stale_when_its_frame_has_other_contents(machine: Machine) -> None:
    cache = machine.cache
    machine.start(*range(100))
    machine.access(5, fetch=True)
    machine.access(6)
    cache.invalidate(6)
    assert not became_stale(cache), "nothing was fetched from page 6"
    cache.invalidate(5)
    assert became_stale(cache)
    machine.access(5, fetch=True)
    machine.access(5, write=True)
    assert became_stale(cache)
    cache.put(5, TD, b"n" * PAGE)
    assert became_stale(cache)
    for page in range(10, 100):
        machine.access(page)
    assert cache.cached(5) is None
    assert became_stale(cache)


def test_put_does_not_load(machine: Machine) -> None:
    frame = machine.cache.put(9, TD, b"p" * PAGE)
    assert machine.controller.loads == 0
    assert machine.cache.is_dirty(frame)
    assert machine.access(9) == b"p" * PAGE
    machine.cache.write_back()
    machine.cache.drop()
    assert machine.access(9) == b"p" * PAGE
    with pytest.raises(ValueError, match="not 3"):
        machine.cache.put(9, TD, b"abc")
    with pytest.raises(IndexError):
        machine.cache.put(256, TD, bytes(PAGE))
    with pytest.raises(KeySlotError):
        machine.cache.put(9, 7, bytes(PAGE))


def test_a_page_that_cannot_be_loaded_costs_no_frame(machine: Machine) -> None:
    machine.start(1)
    for _ in range(3 * FRAMES):
        with pytest.raises(IntegrityFault):
            machine.access(200)  # never written: no tag fits
        with pytest.raises(KeySlotError):
            machine.access(1, key=9)
    assert machine.access(1)[0] == 1


def test_a_keys_pages_are_dropped_before_it_is_removed(machine: Machine) -> None:
    machine.start(1, 2)
    machine.access(1, write=True)
    machine.access(3, key=HOST_KEY, write=True)
    machine.cache.drop_key(TD)
    machine.controller.remove(TD)
    machine.cache.write_back()
    assert machine.cache.cached(1) is None
    assert machine.cache.cached(3) == HOST_KEY


def test_frames_are_zeroed_by_wipe_only(machine: Machine) -> None:
    machine.start(5)
    machine.access(5, write=True)
    machine.cache.drop()
    assert any(any(frame) for frame in machine.cache.frames)
    machine.cache.wipe()
    assert not any(any(frame) for frame in machine.cache.frames)
    assert machine.access(5)[0] == 5


def test_the_soft_tlb_is_flushed_now_and_then(machine: Machine) -> None:
    machine.start(5)
    for _ in range(1000):
        machine.access(5)
    assert machine.cache.flushes == 10


def test_a_cache_has_writable_frames_of_a_page(machine: Machine) -> None:
    good = [memoryview(bytearray(PAGE)) for _ in range(8)]
    for frames in (good[:7], [*good, memoryview(bytearray(16))], [*good, memoryview(bytes(PAGE))]):
        with pytest.raises(ValueError, match="at least 8 writable frames"):
            FrameCache(frames, machine.controller, lambda: None)
