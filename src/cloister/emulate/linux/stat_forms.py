"""struct stat and struct statx as programs of each architecture expect them, from what the host said."""

import struct
from typing import Final

from cloister.measure.image import Architecture

from .messages import FileStatus

__all__ = ["stat_of", "statx_of"]

SECOND: Final = 1_000_000_000
X86_64: Final = struct.Struct("<QQQIIIIQqqqQQQQQQ24x")
"""arch/x86/include/uapi/asm/stat.h: 144 bytes."""

GENERIC: Final = struct.Struct("<QQIIIIQQqiiqQQQQQQ8x")
"""include/uapi/asm-generic/stat.h: 128 bytes; arm64 and riscv64."""

STATX: Final = struct.Struct("<IIQIIIHHQQQQ" + "qII" * 4 + "IIII" + "112x")
"""include/uapi/linux/stat.h, struct statx: 256 bytes."""

STATX_BASIC: Final = 0x7FF


def _times(status: FileStatus) -> list[int]:
    """Seconds and nanoseconds of the three times, in stat's order."""
    times = (status.accessed, status.modified, status.changed)
    return [part for time in times for part in divmod(time, SECOND)]


def stat_of(status: FileStatus, architecture: Architecture) -> bytes:
    """The bytes of struct stat."""
    one = status
    if architecture == Architecture.X86_64:
        first = (one.device, one.inode, one.links, one.mode, one.user, one.group, 0, one.special_device)
        return X86_64.pack(*first, one.size, one.block_size, one.blocks, *_times(one))
    first = (one.device, one.inode, one.mode, one.links & 0xFFFF_FFFF, one.user, one.group, one.special_device, 0)
    return GENERIC.pack(*first, one.size, one.block_size, 0, one.blocks, *_times(one))


def _device(number: int) -> tuple[int, int]:
    """Major and minor number of a dev_t (makedev(3))."""
    return (number >> 8 & 0xFFF) | (number >> 32 & ~0xFFF & 0xFFFF_FFFF), (number & 0xFF) | (number >> 12 & 0xFFFF_FF00)


def statx_of(status: FileStatus) -> bytes:
    """The bytes of struct statx with the basic fields."""
    one = status
    seconds = _times(one)
    accessed, modified, changed = ((*seconds[at : at + 2], 0) for at in (0, 2, 4))
    return STATX.pack(
        *(STATX_BASIC, one.block_size, 0, one.links & 0xFFFF_FFFF, one.user, one.group, one.mode, 0),
        *(one.inode, one.size, one.blocks, 0),
        *(*accessed, 0, 0, 0, *changed, *modified),
        *(*_device(one.special_device), *_device(one.device)),
    )
