"""Where on a disk a file's data lies, and what stands there: FIEMAP, and reads of the device itself."""

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path

__all__ = ["BLOCK", "device_of", "physical_extents", "read_device"]

FS_IOC_FIEMAP = 0xC020660B
FLAG_SYNC = 1
REQUEST = struct.Struct("=QQIIII")
EXTENT = struct.Struct("=QQQ16xI12x")
LAST, UNKNOWN, DELAYED, ENCODED, INLINE = 0x1, 0x2, 0x4, 0x8, 0x200
AT_ONCE = 64
BLOCK = 4096
PIECE = 1 << 20


def physical_extents(descriptor: int) -> list[tuple[int, int]]:
    """(offset on the device, bytes) of each extent of a file, written out first: Documentation/filesystems/fiemap.rst.

    OSError where the file system cannot tell, ENODATA where an extent has no place of its own (packed, not yet placed).
    """
    found: list[tuple[int, int]] = []
    start = 0
    while True:
        request = bytearray(REQUEST.pack(start, (1 << 64) - 1 - start, FLAG_SYNC, 0, AT_ONCE, 0))
        request += bytes(EXTENT.size * AT_ONCE)
        fcntl.ioctl(descriptor, FS_IOC_FIEMAP, request)
        count = REQUEST.unpack_from(request)[3]
        last = count == 0
        for index in range(count):
            logical, physical, size, flags = EXTENT.unpack_from(request, REQUEST.size + index * EXTENT.size)
            if flags & (UNKNOWN | DELAYED | ENCODED | INLINE):
                raise OSError(61, "an extent without a place of its own on the disk")
            found.append((physical, size))
            start, last = logical + size, bool(flags & LAST)
        if last:
            return found


def device_of(number: int) -> Path:
    """The device file of a block device by its number. OSError where it has none, as for tmpfs and overlays."""
    text = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/uevent").read_text()
    name = next(line.partition("=")[2] for line in text.splitlines() if line.startswith("DEVNAME="))
    path = Path("/dev", name)
    if path.stat().st_rdev != number:
        raise OSError(19, f"{path} is another device")
    return path


def read_device(device: Path, extents: list[tuple[int, int]]) -> Iterator[tuple[int, bytes]]:
    """What stands on the disk itself, past every cache (O_DIRECT): pieces with their offsets. OSError."""
    descriptor = os.open(device, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    try:
        with mmap.mmap(-1, PIECE) as buffer:
            for first, size in extents:
                position, end = first // BLOCK * BLOCK, -(-(first + size) // BLOCK) * BLOCK
                while position < end:
                    count = os.preadv(descriptor, [memoryview(buffer)[: min(PIECE, end - position)]], position)
                    if count == 0:
                        break
                    yield position, buffer[:count]
                    position += count
    finally:
        os.close(descriptor)
