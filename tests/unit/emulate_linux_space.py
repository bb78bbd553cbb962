"""A program's memory without a machine, for driving the shim by hand: pages in a dictionary."""

from collections.abc import Callable
from dataclasses import dataclass, field

from cloister.emulate.linux.console import PlainConsole
from cloister.emulate.linux.host import LinuxHost
from cloister.emulate.linux.messages import HostCall, HostReply
from cloister.emulate.linux.numbers import NAMES
from cloister.emulate.linux.outcome import Ended
from cloister.emulate.linux.process import ShimOptions
from cloister.emulate.linux.shim import Shim
from cloister.emulate.paging import NEEDED, Access, MemoryFault, Stage
from cloister.measure.image import PAGE, Architecture, Image, ImagePage, Permission


def join(header: HostCall | HostReply, data: bytes) -> bytes:
    """A whole message, also one whose header lies about the data."""
    return header.serialize() + data


READ_WRITE = Permission.READ | Permission.WRITE
CODE = 0x40_0000
SCRATCH = 0x41_0000
"""Sixteen writable pages of the program's, for what a test hands to system calls."""


class PagedSpace:
    """Pages, permissions, and a check that the shim only maps what is free and unmaps what is mapped."""

    def __init__(self, architecture: Architecture = Architecture.X86_64, pages: int = 4096) -> None:
        self.architecture = architecture
        self.pages: dict[int, bytearray] = {}
        self.permissions: dict[int, Permission] = {}
        self.left = pages
        self.thread_pointer = 0

    def _part(self, address: int, access: Access) -> tuple[bytearray, int]:
        number, offset = divmod(address, PAGE)
        if not self.permissions.get(number, Permission.NONE) & NEEDED[access]:
            raise MemoryFault(address, access, Stage.PROGRAM, "not mapped so")
        return self.pages[number], offset

    def read(self, address: int, size: int) -> bytes:
        found = b""
        while len(found) < size:
            page, offset = self._part(address + len(found), Access.READ)
            found += bytes(page[offset : offset + size - len(found)])
        return found

    def write(self, address: int, data: bytes) -> None:
        done = 0
        while done < len(data):
            page, offset = self._part(address + done, Access.WRITE)
            part = data[done : done + PAGE - offset]
            page[offset : offset + len(part)] = part
            done += len(part)

    def map(self, address: int, size: int, permission: Permission) -> None:
        for number in self._numbers(address, size):
            assert number not in self.pages
            self.pages[number], self.permissions[number] = bytearray(PAGE), permission
            self.left -= 1
        assert self.left >= 0

    def unmap(self, address: int, size: int) -> None:
        for number in self._numbers(address, size):
            del self.pages[number], self.permissions[number]
            self.left += 1

    def protect(self, address: int, size: int, permission: Permission) -> None:
        for number in self._numbers(address, size):
            assert number in self.pages
            self.permissions[number] = permission

    @staticmethod
    def _numbers(address: int, size: int) -> range:
        assert address % PAGE == size % PAGE == 0
        assert size > 0
        return range(address // PAGE, (address + size) // PAGE)

    def set_thread_pointer(self, value: int) -> None:
        self.thread_pointer = value

    def free_memory(self) -> int:
        return self.left * PAGE


def image(architecture: Architecture = Architecture.X86_64) -> Image:
    """A program of one page of code and the scratch pages; its instructions never run."""
    pages = [ImagePage(CODE, Permission.READ | Permission.EXECUTE, bytes(PAGE))]
    pages += [ImagePage(SCRATCH + at * PAGE, READ_WRITE, bytes(PAGE)) for at in range(16)]
    return Image(
        architecture=architecture,
        entry=CODE + 64,
        headers=CODE + 0x40,
        header_count=3,
        end=SCRATCH + 16 * PAGE,
        pages=tuple(pages),
    )


@dataclass
class Bench:
    """A shim whose program is the test: `call` by name, with what a program would have in memory."""

    space: PagedSpace
    shim: Shim
    stack: int
    output: bytearray = field(default_factory=bytearray)

    def call(self, name: str, *arguments: int | bytes) -> int:
        """A system call that does not end the program. Bytes are put into memory, with a final zero, for it."""
        result = self.outcome(name, *arguments)
        assert isinstance(result, int), result
        return result

    def outcome(self, name: str, *arguments: int | bytes) -> int | Ended:
        registers: list[int] = []
        at = SCRATCH + 8 * PAGE
        for one in arguments:
            if isinstance(one, bytes):
                self.space.write(at, one + b"\0")
                registers.append(at)
                at += len(one) + 16
            else:
                registers.append(one % (1 << 64))
        numbers = {known: number for number, known in NAMES[self.space.architecture].items()}
        return self.shim.call(numbers[name], registers + [0] * (6 - len(registers)))

    def memory(self, size: int, address: int = SCRATCH) -> bytes:
        return self.space.read(address, size)


def bench(
    gate: Callable[[bytes], bytes],
    options: ShimOptions | None = None,
    architecture: Architecture = Architecture.X86_64,
    pages: int = 4096,
) -> Bench:
    """A started program; without options the console is plain."""
    space = PagedSpace(architecture, pages)
    program = image(architecture)
    for page in program.pages:
        space.map(page.address, PAGE, page.permission)
    shim = Shim(space, gate, options or ShimOptions(unsafe_plain_console=True, stack_size=16 * PAGE))
    _, stack = shim.start(program, [b"/bin/program", b"one"], [b"HOME=/"])
    return Bench(space, shim, stack)


def honest(typed: bytes = b"", architecture: Architecture = Architecture.X86_64) -> tuple[Bench, LinuxHost]:
    """A program on an honest host with a plain console whose input is `typed`."""
    output = bytearray()
    rest = [typed]
    host = LinuxHost(PlainConsole(lambda _size: rest.pop() if rest else b"", output.extend))
    made = bench(host.serve, architecture=architecture)
    made.output = output
    return made, host
