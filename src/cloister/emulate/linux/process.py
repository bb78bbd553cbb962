"""What all system calls of one program share: its memory, its link to the host, its books."""

import struct
from dataclasses import dataclass, field
from typing import Final

from cloister.measure.image import PAGE, Architecture

from .console import Line, PlainLine, SealedLine
from .link import HostLink
from .outcome import Failed
from .provided import ProvidedFiles
from .regions import Regions
from .space import Space

__all__ = ["LAYOUTS", "LONGEST_PATH", "Layout", "Process", "ShimOptions"]

EINVAL: Final = 22
ENAMETOOLONG: Final = 36
LONGEST_PATH: Final = 4095
"""Bytes of a path without its end, Linux PATH_MAX."""

LOWEST: Final = 0x1_0000
"""Nothing is mapped below: a null pointer with an offset must fault (Linux, vm.mmap_min_addr)."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things go: the end of the stack, and the end of the region for mmap, below which it grows down."""

    stack_top: int
    mmap_top: int


LAYOUTS: Final = {
    Architecture.X86_64: Layout(0x7FFF_FFFF_F000, 0x7FFF_F000_0000),
    Architecture.ARM64: Layout(0x7F_FFFF_F000, 0x7F_F000_0000),
    Architecture.RISCV64: Layout(0x3F_FFFF_F000, 0x3F_F000_0000),
}
"""47 bits for x86-64, 39 bits for arm64, and for riscv64 the lower half of Sv39. Addresses are not randomised: the same
launch gives the same addresses, which is what a lesson about page faults wants and a hardened system would not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShimOptions:
    """How a program is served.

    `console_key`: 32 bytes that only the owner's terminal shares, fresh for this run. `unsafe_plain_console`: the host
    reads along, no key. `directory`: the program's first working directory. `interactive`: whether descriptors 0 to 2
    look like a terminal. `stack_size` in bytes, whole pages. ValueError if neither key nor plain console is given.
    """

    console_key: bytes | None = field(default=None, repr=False)
    unsafe_plain_console: bool = False
    directory: str = "/"
    interactive: bool = False
    stack_size: int = 8 << 20

    def __post_init__(self) -> None:
        if (self.console_key is None) != self.unsafe_plain_console:
            raise ValueError("give a console_key of 32 bytes, or unsafe_plain_console=True and no key")
        if not self.directory.startswith("/"):
            raise ValueError(f"the working directory {self.directory!r} is not an absolute path")
        if self.stack_size % PAGE or self.stack_size < 4 * PAGE:
            raise ValueError(f"a stack of {self.stack_size} bytes; give whole pages of {PAGE}, at least 4")

    def line(self) -> Line:
        """The program's end of the console."""
        return PlainLine() if self.console_key is None else SealedLine(self.console_key)


class Process:
    """One program's state inside the TEE, as far as more than one group of system calls needs it."""

    def __init__(self, space: Space, link: HostLink, options: ShimOptions) -> None:
        self.space, self.link, self.options = space, link, options
        layout = LAYOUTS[space.architecture]
        self.regions = Regions(LOWEST, layout.stack_top)
        self.provided = ProvidedFiles()
        self.executable = b""
        self.directory = options.directory.encode()

    def text(self, address: int) -> bytes:
        """The path at an address, without its final zero. Failed with ENAMETOOLONG if it is longer than a path."""
        found = b""
        while len(found) <= LONGEST_PATH:
            part = self.space.read(address + len(found), PAGE - (address + len(found)) % PAGE)
            end = part.find(b"\0")
            if end >= 0:
                found += part[:end]
                break
            found += part
        if len(found) > LONGEST_PATH:
            raise Failed(ENAMETOOLONG)
        return found

    def vectors(self, address: int, count: int) -> list[tuple[int, int]]:
        """Address and size of each part of a struct iovec array. Failed with EINVAL if there are too many."""
        if count > 1024:
            raise Failed(EINVAL)
        return list(struct.iter_unpack("<QQ", self.space.read(address, 16 * count))) if count else []
