"""The frames of an emulated machine's on-die memory: what its caches hold in plaintext.

Ordinary anonymous memory: where the whole emulator runs in the software enclave, as `cloister run --tee` has it, that
is secret memory. Elsewhere whoever may read the emulator's memory reads the frames.
"""

import ctypes
import mmap

from cloister.measure.image import PAGE

__all__ = ["FramePool"]


class FramePool:
    """`count` frames of 4,096 bytes in one piece, touched once so that no run pays for first touch."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._memory = mmap.mmap(-1, count * PAGE)
        for offset in range(0, count * PAGE, PAGE):
            self._memory[offset] = 0
        self._whole = memoryview(self._memory)
        self.views = [self._whole[index * PAGE : (index + 1) * PAGE] for index in range(count)]
        self._anchor = (ctypes.c_char * (count * PAGE)).from_buffer(self._memory)

    @property
    def address(self) -> int:
        """Where the first frame stands in this process: what the CPU engine maps."""
        return ctypes.addressof(self._anchor)

    def wipe(self) -> None:
        """Zero every frame."""
        ctypes.memset(self.address, 0, self.count * PAGE)

    def close(self) -> None:
        """Wipe the frames and give the memory back. The engine that maps them must be gone."""
        self.wipe()
        del self._anchor
        for view in self.views:
            view.release()
        self.views.clear()
        self._whole.release()
        self._memory.close()
