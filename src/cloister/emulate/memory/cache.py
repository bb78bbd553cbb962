"""The on-die cache of an emulated processor: the frames that hold plaintext, and when they go to DRAM and come back.

The engine's soft TLB points straight into frames, so a frame may only be given to another page when no translation
points at it. Frames used since the last TLB flush are called live. Victims are frames that are not live and have not
been hot; when three quarters are live, one flush makes all of them candidates. A flush every `refresh` fills lets the
engine's TLB grow, which it does on flushes only.

Pages are granted read-only until they are written: the refill with `write` is what marks a frame dirty. In the same
way leave to execute waits for the first fetch, so that it is known which frames instructions were translated from.
"""

from collections.abc import Callable, Sequence
from typing import Final

from cloister.emulate.memory.controller import MemoryController
from cloister.measure.image import PAGE, Permission

__all__ = ["FrameCache"]

HOTTEST: Final = 3
FEWEST: Final = 8
"""Frames that a cache needs: one instruction can touch several pages."""

ZEROS: Final = bytes(PAGE)
NOTHING: Final = -1
WRITE: Final = Permission.WRITE.value
EXECUTE: Final = Permission.EXECUTE.value


class FrameCache:
    """`frames` are writable views of 4,096 bytes, the on-die memory. `flush` empties the engine's soft TLB.

    Frames are named by their index. A physical page is cached under one key id at a time: an access under another
    writes it back and loads it again, so that other keys see ciphertext. `stale_code` says that a frame which
    instructions were fetched from has other contents now: the engine must flush translated blocks before the next
    fetch, and set it back. Counters: `fills`, `misses`, `evictions` (dirty frames written for want of room), `flushes`.

    Raises ValueError for fewer than 8 frames, or frames of another size.
    """

    def __init__(
        self,
        frames: Sequence[memoryview],
        controller: MemoryController,
        flush: Callable[[], None],
        *,
        refresh: int = 4096,
    ) -> None:
        count = len(frames)
        if count < FEWEST or any(len(frame) != PAGE or frame.readonly for frame in frames):
            raise ValueError(f"a cache needs at least {FEWEST} writable frames of {PAGE} bytes")
        self.frames = list(frames)
        self.stale_code = False
        self.fills = self.misses = self.evictions = self.flushes = 0
        self._controller = controller
        self._flush = flush
        self._refresh = self._next_refresh = refresh
        self._where: dict[int, int] = {}
        self._pages = [NOTHING] * count
        self._keys = [NOTHING] * count
        self._dirty = bytearray(count)
        self._fetched = bytearray(count)
        self._hot = bytearray(count)
        self._free = list(range(count - 1, -1, -1))
        self._epoch = 1
        self._seen = [0] * count
        self._live = 0
        self._most_live = count - count // 4
        self._hand = 0
        self._last = 0

    def frame(self, page: int, key_id: int, *, write: bool, fetch: bool) -> int:
        """The frame that holds a physical page as `key_id` decrypts it, for an access that writes or fetches code.

        Called for each soft TLB fill. Raises what MemoryController.load and store raise; the page is then not cached.
        """
        self.fills = fills = self.fills + 1
        if fills >= self._next_refresh:
            self.flush()
        frame = self._where.get(page)
        if frame is None or self._keys[frame] != key_id:
            frame = self._load(page, key_id)
        if write:
            self._dirty[frame] = 1
            if self._fetched[frame]:
                self.stale_code = True
        if fetch:
            self._fetched[frame] = 1
        if self._seen[frame] != self._epoch:
            self._touch(frame)
        self._last = frame
        return frame

    def put(self, page: int, key_id: int, data: bytes | bytearray | memoryview) -> int:
        """Write a whole page without loading it first, as launches and page zeroing do. Returns its frame, dirty.

        Raises KeySlotError, IndexError where there is no memory, ValueError for another size than 4,096 bytes.
        """
        self._controller.cipher(key_id)
        self._controller.dram.page(page)
        if len(data) != PAGE:
            raise ValueError(f"a page is written with {PAGE} bytes, not {len(data)}")
        frame = self._where.get(page)
        if frame is None:
            frame = self._room()
            self._where[page] = frame
            self._pages[frame] = page
        elif self._fetched[frame]:
            self.stale_code = True
        if self._keys[frame] != key_id:
            self._not_live(frame)  # a translation must not outlive the key that it was made for
            self._keys[frame] = key_id
        self.frames[frame][:] = data
        self._dirty[frame] = 1
        return frame

    def flush(self) -> None:
        """Empty the engine's soft TLB: no frame is live any more, except the last one given."""
        self._flush()
        self.flushes += 1
        self._next_refresh = self.fills + self._refresh
        self._epoch += 1
        # An instruction across two pages may hold the first frame's address while it asks for the second.
        self._seen[self._last] = self._epoch
        self._live = 1

    def is_dirty(self, frame: int) -> bool:
        """Whether a frame is newer than DRAM. Only then may the soft TLB be given leave to write."""
        return self._dirty[frame] == 1

    def granted(self, frame: int, permission: int) -> int:
        """What the soft TLB may be given leave to, of some permission bits: see the module's first words."""
        if not self._dirty[frame]:
            permission &= ~WRITE
        return permission if self._fetched[frame] else permission & ~EXECUTE

    def cached(self, page: int) -> int | None:
        """The key id that a page is cached under, or None. Changes nothing."""
        frame = self._where.get(page)
        return None if frame is None else self._keys[frame]

    def write_back(self) -> None:
        """Write all dirty frames to DRAM; they stay cached, clean. Raises what MemoryController.store raises."""
        wrote = False
        frame = self._dirty.find(1)
        while frame >= 0:
            self._store(frame)
            wrote = True
            frame = self._dirty.find(1, frame + 1)
        if wrote:
            self._flush_all()  # leave to write must be asked for again

    def drop(self, page: int | None = None) -> None:
        """Forget a page, or all, without writing: after `write_back`, or to lose what was written (INVD)."""
        pages = list(self._where) if page is None else [page]
        for one in pages:
            frame = self._where.get(one)
            if frame is not None:
                self._not_live(frame)
                self._forget(frame)

    def drop_key(self, key_id: int) -> None:
        """Forget all pages of a key without writing: before its key is removed."""
        for page in [page for page, frame in self._where.items() if self._keys[frame] == key_id]:
            self.drop(page)

    def invalidate(self, page: int) -> bool:
        """DRAM of a page was changed from outside: whether the next access loads it.

        A dirty frame stays, and overwrites the change later, as a processor's cache does: `write_back` first.
        """
        frame = self._where.get(page)
        if frame is None:
            return True
        if self._dirty[frame]:
            return False
        self.drop(page)
        return True

    def wipe(self) -> None:
        """Forget everything and zero the frames. Nothing is written."""
        self.drop()
        for frame in self.frames:
            frame[:] = ZEROS

    def _touch(self, frame: int) -> None:
        """First use since the last flush."""
        self._seen[frame] = self._epoch
        self._live += 1
        if self._hot[frame] < HOTTEST:
            self._hot[frame] += 1

    def _load(self, page: int, key_id: int) -> int:
        """A miss: the frame of `page`, loaded under `key_id`."""
        self.misses += 1
        frame = self._where.get(page)
        if frame is None:
            frame = self._room()
        else:  # cached under another key
            self._not_live(frame)
            if self._dirty[frame]:
                self._store(frame)
            self._forget(frame)
            self._free.pop()
        try:
            self._controller.load(page, key_id, self.frames[frame])
        except BaseException:
            self._free.append(frame)
            raise
        self._where[page] = frame
        self._pages[frame] = page
        self._keys[frame] = key_id
        return frame

    def _room(self) -> int:
        """A frame that holds nothing, and that no translation points at; it belongs to the caller."""
        if self._free:
            return self._free.pop()
        if self._live >= self._most_live:
            self.flush()
        seen, hot, epoch, count = self._seen, self._hot, self._epoch, len(self.frames)
        frame = self._hand
        while seen[frame] == epoch or hot[frame]:
            if seen[frame] != epoch:
                hot[frame] -= 1
            frame = (frame + 1) % count
        self._hand = (frame + 1) % count
        if self._dirty[frame]:
            self._store(frame)
            self.evictions += 1
        self._forget(frame)
        return self._free.pop()

    def _store(self, frame: int) -> None:
        self._controller.store(self._pages[frame], self._keys[frame], self.frames[frame])
        self._dirty[frame] = 0

    def _forget(self, frame: int) -> None:
        """Make a frame free that no translation points at."""
        if self._fetched[frame]:
            self._fetched[frame] = 0
            self.stale_code = True
        del self._where[self._pages[frame]]
        self._pages[frame] = self._keys[frame] = NOTHING
        self._dirty[frame] = self._hot[frame] = 0
        self._free.append(frame)

    def _not_live(self, frame: int) -> None:
        """Flush if a translation may point at this frame."""
        if self._seen[frame] == self._epoch:
            self._flush_all()

    def _flush_all(self) -> None:
        """Flush between instructions, where no frame's address is held any more."""
        self.flush()
        self._seen[self._last] = 0
        self._live = 0
