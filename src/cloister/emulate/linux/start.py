"""A program's first stack: arguments, environment and auxiliary vector as the System V ABI and Linux lay them out.

System V ABI for x86-64, 3.4.1; for arm64 and riscv64 the layout is the same. Constants: include/uapi/linux/auxvec.h.
"""

import os
import struct
from collections.abc import Sequence
from typing import Final

from cloister.errors import CannotEnclave
from cloister.measure.image import PAGE, Architecture, Image, Permission

from .process import LAYOUTS, Process
from .process_calls import USER
from .regions import Region

__all__ = ["lay_out"]

HARDWARE: Final = {Architecture.X86_64: 0, Architecture.ARM64: 0x3, Architecture.RISCV64: 0x112D}
"""AT_HWCAP: nothing on x86-64, which asks cpuid; FP and ASIMD; the letters I, M, A, F, D, C as bits."""

AT_PHDR, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_BASE, AT_FLAGS, AT_ENTRY = 3, 4, 5, 6, 7, 8, 9
AT_UID, AT_EUID, AT_GID, AT_EGID, AT_HWCAP, AT_CLKTCK, AT_SECURE = 11, 12, 13, 14, 16, 17, 23
AT_RANDOM, AT_EXECFN = 25, 31
PROGRAM_HEADER: Final = 56
"""Bytes of an Elf64_Phdr."""


def lay_out(process: Process, image: Image, arguments: Sequence[bytes], environment: Sequence[bytes]) -> int:
    """Enter the image into the books, map the stack and fill it: the first stack pointer.

    CannotEnclave if the program stands where the stack must be, or its arguments do not fit a quarter of the stack.
    """
    top, size = LAYOUTS[process.space.architecture].stack_top, process.options.stack_size
    _book(process, image)
    if not process.regions.is_free(top - size, top):
        raise CannotEnclave(f"the program stands at {top - size:#x}, where its stack must be; link it lower")
    if sum(len(one) + 9 for one in (*arguments, *environment)) > size // 4:
        raise CannotEnclave(f"arguments and environment do not fit a quarter of the stack of {size:,} bytes")
    both = Permission.READ | Permission.WRITE
    process.space.map(top - size, size, both)
    process.regions.add(Region(top - size, top, both))
    start, content = _content(image, arguments, environment, top)
    process.space.write(start, content)
    return start


def _book(process: Process, image: Image) -> None:
    for page in image.pages:
        if not process.regions.is_free(page.address, page.address + PAGE):
            raise CannotEnclave(f"the program wants memory at {page.address:#x}, where none may be; link it elsewhere")
        process.regions.add(Region(page.address, page.address + PAGE, page.permission, anonymous=False))


def _content(image: Image, arguments: Sequence[bytes], environment: Sequence[bytes], top: int) -> tuple[int, bytes]:
    """The stack's first bytes and where they start: words, then the strings that they point to, up to `top`."""
    strings = [
        os.urandom(16),
        *(one + b"\0" for one in (*arguments, *environment)),
        (arguments[:1] or [b""])[0] + b"\0",
    ]
    block = b"".join(strings)
    base = (top - 16 - len(block)) & -16
    addresses: list[int] = []
    at = base
    for one in strings:
        addresses.append(at)
        at += len(one)
    split = 1 + len(arguments)
    auxiliary = _auxiliary(image, random=addresses[0], name=addresses[-1])
    words = [len(arguments), *addresses[1:split], 0, *addresses[split:-1], 0, *auxiliary]
    start = base - whole_sixteen(8 * len(words))
    return start, struct.pack(f"<{len(words)}Q", *words).ljust(base - start, b"\0") + block


def whole_sixteen(size: int) -> int:
    """Rounded up to 16 bytes, to which the stack pointer is aligned."""
    return -(-size // 16) * 16


def _auxiliary(image: Image, *, random: int, name: int) -> list[int]:
    pairs = {
        AT_PHDR: image.headers,
        AT_PHENT: PROGRAM_HEADER,
        AT_PHNUM: image.header_count,
        AT_PAGESZ: PAGE,
        AT_BASE: 0,
        AT_FLAGS: 0,
        AT_ENTRY: image.entry,
        **dict.fromkeys((AT_UID, AT_EUID, AT_GID, AT_EGID), USER),
        AT_HWCAP: HARDWARE[image.architecture],
        AT_CLKTCK: 100,
        AT_SECURE: 0,
        AT_RANDOM: random,
        AT_EXECFN: name,
    }
    return [word for pair in pairs.items() for word in pair] + [0, 0]
