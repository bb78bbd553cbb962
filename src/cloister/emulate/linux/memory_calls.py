"""brk, mmap and their family: decided inside the TEE alone, so that the host never chooses an address."""

from dataclasses import replace
from typing import Final

from cloister.measure.image import PAGE, Permission

from .descriptors import Descriptors
from .outcome import Failed
from .process import LAYOUTS, Process
from .regions import Region, whole_pages

__all__ = ["MemoryCalls"]

ENOMEM, EACCES, EEXIST, ENODEV, EINVAL = 12, 13, 17, 19, 22
MAP_SHARED: Final = 0x01
MAP_FIXED: Final = 0x10
MAP_ANONYMOUS: Final = 0x20
MAP_FIXED_NOREPLACE: Final = 0x100000
MREMAP_MAYMOVE: Final = 1
MADV_DONTNEED: Final = 4
LAST_ADVICE: Final = 25
LARGEST: Final = 1 << 40
CHUNK: Final = 16 * PAGE


def _permission(protection: int) -> Permission:
    """PROT_READ 1, PROT_WRITE 2, PROT_EXEC 4; what may be written or executed may also be read."""
    if protection & ~7:
        raise Failed(EINVAL)
    return Permission(protection) | (Permission.READ if protection else Permission.NONE)


class MemoryCalls:
    """The system calls that change the address space. Shared writable mappings of files do not exist: ENODEV."""

    def __init__(self, process: Process, descriptors: Descriptors) -> None:
        self._space, self._regions, self._descriptors = process.space, process.regions, descriptors
        self._top = LAYOUTS[process.space.architecture].mmap_top
        self._heap = self._end = 0

    def begin_heap(self, address: int) -> None:
        """Where brk memory starts."""
        self._heap = self._end = whole_pages(address)

    def brk(self, address: int) -> int:
        """Move the heap's end; the end as it then is, which tells failure (brk(2), notes)."""
        old, new = whole_pages(self._end), whole_pages(address)
        if address < self._heap or address > self._regions.high:
            return self._end
        if new > old:
            if new - old > self._space.free_memory() or not self._regions.is_free(old, new):
                return self._end
            self._back(Region(old, new, Permission.READ | Permission.WRITE))
        elif new < old:
            self._remove(new, old)
        self._end = address
        return address

    def mmap(self, address: int, length: int, protection: int, flags: int, descriptor: int, offset: int) -> int:
        """Anonymous memory, or a private copy of a part of a file."""
        permission, size = _permission(protection), whole_pages(length)
        if not length or offset % PAGE or offset >> 63:
            raise Failed(EINVAL)
        source = None if flags & MAP_ANONYMOUS else self._descriptors.file(descriptor)
        if source is not None and flags & MAP_SHARED and permission & Permission.WRITE:
            raise Failed(ENODEV)
        if size > LARGEST or ((permission or source is not None) and size > self._space.free_memory()):
            raise Failed(ENOMEM)  # of a file, even without permissions: a device has as many bytes as are asked for
        content = b"" if source is None else source.snapshot(offset, length)
        start = self._place(address, size, flags)
        region = Region(start, start + size, permission, anonymous=source is None)
        if content:
            writable = replace(region, permission=Permission.READ | Permission.WRITE)
            self._back(writable)
            self._space.write(start, content)
            self._change(writable, permission)
        else:
            self._back(region)
        return start

    def munmap(self, address: int, length: int) -> int:
        """Holes in the range are no error (munmap(2))."""
        size = whole_pages(length)
        if address % PAGE or not length or address + size > self._regions.high:
            raise Failed(EINVAL)
        self._remove(address, address + size)
        return 0

    def mprotect(self, address: int, length: int, protection: int) -> int:
        """Change permissions; memory comes behind a reservation when it gets its first."""
        permission, end = _permission(protection), address + whole_pages(length)
        if address % PAGE:
            raise Failed(EINVAL)
        parts = self._regions.over(address, end)
        if not self._regions.is_covered(address, end):
            raise Failed(ENOMEM)
        wanted = sum(part.size for part in parts if not part.backed) if permission else 0
        if wanted > self._space.free_memory():
            raise Failed(ENOMEM)
        for part in parts:
            self._change(part, permission)
        return 0

    def mremap(self, address: int, old_length: int, length: int, flags: int) -> int:
        """Shrink or grow in place, or move by copying. Fixed destinations are refused (EINVAL)."""
        old, new = whole_pages(old_length), whole_pages(length)
        if address % PAGE or not old or not new or flags & ~MREMAP_MAYMOVE:
            raise Failed(EINVAL)
        parts = self._regions.over(address, address + old)
        if len(parts) != 1 or parts[0].size != old:
            raise Failed(14)  # EFAULT, as mremap(2) says for a range that is not one mapping
        part = parts[0]
        if new <= old:
            self._remove(address + new, address + old)
            return address
        if new > LARGEST or (part.backed and new - old > self._space.free_memory()):
            raise Failed(ENOMEM)
        if self._regions.is_free(address + old, address + new):
            self._back(Region(address + old, address + new, part.permission, anonymous=part.anonymous))
            return address
        if not flags & MREMAP_MAYMOVE or (part.backed and new > self._space.free_memory()):
            raise Failed(ENOMEM)
        return self._move(part, new)

    def madvise(self, address: int, length: int, advice: int) -> int:
        """MADV_DONTNEED gives anonymous pages back as zeros, which allocators rely on; other advice changes nothing."""
        end = address + whole_pages(length)
        if address % PAGE or advice > LAST_ADVICE:
            raise Failed(EINVAL)
        if advice == MADV_DONTNEED:
            parts = self._regions.over(address, end)
            if not all(part.anonymous for part in parts):
                raise Failed(EINVAL)
            for part in parts:
                if part.backed:
                    self._remove(part.start, part.end)
                    self._back(part)
        return 0

    def nothing_to_do(self) -> int:
        """msync, mlock and the like: there is no file behind, and no swapping."""
        return 0

    def _place(self, address: int, size: int, flags: int) -> int:
        """Where a mapping goes; with MAP_FIXED what was there goes away."""
        regions = self._regions
        if not flags & (MAP_FIXED | MAP_FIXED_NOREPLACE):
            hint = address & -PAGE
            return hint if address and regions.is_free(hint, hint + size) else regions.place(size, self._top)
        if address % PAGE:
            raise Failed(EINVAL)
        if address < regions.low or address + size > regions.high:
            raise Failed(ENOMEM)
        if flags & MAP_FIXED_NOREPLACE and not regions.is_free(address, address + size):
            raise Failed(EEXIST)
        self._remove(address, address + size)
        return address

    def _back(self, region: Region) -> None:
        """Map a region and write it into the books."""
        if region.permission:
            self._space.map(region.start, region.size, region.permission)
        self._regions.add(replace(region, backed=bool(region.permission)))

    def _remove(self, start: int, end: int) -> None:
        for part in self._regions.cut(start, end):
            if part.backed:
                self._space.unmap(part.start, part.size)

    def _change(self, part: Region, permission: Permission) -> None:
        changed = replace(part, permission=permission)
        if part.backed:
            self._space.protect(part.start, part.size, permission)
        self._regions.cut(part.start, part.end)
        if part.backed:
            self._regions.add(changed)
        else:
            self._back(changed)

    def _move(self, part: Region, size: int) -> int:
        """Copy a mapping to where there is room for its new size, and give the old one back."""
        if part.backed and not part.permission & Permission.WRITE:
            raise Failed(EACCES)  # the copy is made by writing: only writable mappings move
        start = self._regions.place(size, self._top)
        self._back(Region(start, start + size, part.permission, anonymous=part.anonymous))
        if part.backed:
            for offset in range(0, part.size, CHUNK):
                data = self._space.read(part.start + offset, min(CHUNK, part.size - offset))
                self._space.write(start + offset, data)
        self._remove(part.start, part.end)
        return start
