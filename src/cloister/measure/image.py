"""A static ELF program as the pages that a launch loads and measures: the same image for every TEE, and for `measure`.

The shapes of the ELF file are in the System V ABI, chapters 4 and 5. Position-independent static programs are placed at
a fixed base: an address chosen at random would be a different measurement at each launch.

Only the file header and the program headers are read, here and not with a library: whatever a file says, reading it
takes bounded time and memory, and ends in an Image or in CannotEnclave.
"""

from dataclasses import dataclass, replace
from enum import IntFlag, StrEnum
from typing import Final

from cloister.errors import CannotEnclave, ParseError
from cloister.measure.elf import ElfHeader, ProgramHeader

__all__ = ["HIGHEST", "PAGE", "PIE_BASE", "Architecture", "Image", "ImagePage", "Permission", "read_image", "with_page"]

PAGE: Final = 4096
ZEROS: Final = bytes(PAGE)
"""Shared by all pages without file content, so that a large .bss costs no memory here."""

PIE_BASE: Final = 0x10_0000_0000
"""Where a position-independent program is loaded: inside 39-bit address spaces, which are RISC-V's Sv39."""

HIGHEST: Final = 1 << 38
"""No segment may reach this address: here ends the half of Sv39's address space that programs have."""

LARGEST: Final = 1 << 30
"""Bytes that a program may ask for at its start; more than any emulated machine has."""

MOST_HEADERS: Final = 65536 // 56
"""Program headers that Linux accepts: at most 64 KiB of them (fs/binfmt_elf.c, load_elf_phdrs)."""

CLASS_64, LITTLE_ENDIAN = 2, 1
"""ELFCLASS64 and ELFDATA2LSB."""

EXECUTABLE, SHARED = 2, 3
"""e_type: ET_EXEC, and ET_DYN, which position-independent programs are."""

LOAD, INTERPRETER = 1, 3
"""p_type: PT_LOAD and PT_INTERP."""

SHOWN_NAME: Final = 256
"""Bytes of an interpreter's name that a message shows at most."""


class Permission(IntFlag):
    """What a page may be used for. The values are those of ELF program headers turned round: read is bit 0."""

    NONE = 0
    READ = 1
    WRITE = 2
    EXECUTE = 4


class Architecture(StrEnum):
    """The instruction sets of the emulated machines."""

    X86_64 = "x86-64"
    ARM64 = "arm64"
    RISCV64 = "riscv64"


MACHINES: Final = {62: Architecture.X86_64, 183: Architecture.ARM64, 243: Architecture.RISCV64}
"""e_machine: EM_X86_64, EM_AARCH64, EM_RISCV."""


@dataclass(frozen=True, slots=True)
class ImagePage:
    """One page of 4,096 bytes at a page-aligned virtual address."""

    address: int
    permission: Permission
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What is loaded before the program's first instruction.

    `pages` ascend by address and never overlap. `entry` is the address of the first instruction, `headers` where the
    program headers stand in memory (0 if they are not loaded), `header_count` their number, `end` the first address
    behind the last segment, where brk memory begins.
    """

    architecture: Architecture
    entry: int
    headers: int
    header_count: int
    end: int
    pages: tuple[ImagePage, ...]


def read_image(data: bytes, name: str = "the program") -> Image:
    """The image of a static ELF program. CannotEnclave if it is something else; `name` is for that message."""
    header = _header(data, name)
    headers = _program_headers(data, header, name)
    base = PIE_BASE if header.type == SHARED else 0
    loads = [one for one in headers if one.type == LOAD and one.memsz]
    _check_loads(loads, base, len(data), name)
    pages = _pages(data, loads, base)
    entry = header.entry + base
    if not any(one.address <= entry < one.address + PAGE and one.permission & Permission.EXECUTE for one in pages):
        raise CannotEnclave(f"{name} begins at {entry:#x}, where it has no code: it is a library, or damaged")
    return Image(
        architecture=MACHINES[header.machine],
        entry=entry,
        headers=_address_of(loads, header.phoff, base),
        header_count=header.phnum,
        end=loads[-1].vaddr + loads[-1].memsz + base,
        pages=pages,
    )


def with_page(image: Image, page: ImagePage) -> Image:
    """The image with one more page. ValueError if that page is taken, or is none."""
    if page.address % PAGE or len(page.content) != PAGE:
        raise ValueError(f"{len(page.content)} bytes at {page.address:#x}: a page has {PAGE}, at a multiple of them")
    if any(other.address == page.address for other in image.pages):
        raise ValueError(f"{page.address:#x} is part of the program")
    return replace(image, pages=tuple(sorted((*image.pages, page), key=lambda one: one.address)))


def _header(data: bytes, name: str) -> ElfHeader:
    try:
        header = ElfHeader.parse(data[: ElfHeader.SIZE])
    except ParseError as error:
        raise CannotEnclave(f"{name} is not an ELF program ({error.field}: {error.reason})") from error
    if (header.elf_class, header.encoding) != (CLASS_64, LITTLE_ENDIAN) or header.machine not in MACHINES:
        raise CannotEnclave(
            f"{name} is for ELF machine {header.machine}, class {header.elf_class}, encoding {header.encoding}; "
            "emulated machines run x86-64 (62), arm64 (183) and riscv64 (243), 64 bits (2), little-endian (1)"
        )
    if header.type not in {EXECUTABLE, SHARED}:
        raise CannotEnclave(f"{name} is an object file or a core (ELF type {header.type}), not a linked program")
    return header


def _program_headers(data: bytes, header: ElfHeader, name: str) -> list[ProgramHeader]:
    """The program headers. Refuses those of dynamically linked programs."""
    if header.phentsize != ProgramHeader.SIZE or not 1 <= header.phnum <= MOST_HEADERS:
        raise CannotEnclave(
            f"{name} has {header.phnum} program headers of {header.phentsize} bytes; a program has 1 to "
            f"{MOST_HEADERS:,} of {ProgramHeader.SIZE}"
        )
    end = header.phoff + header.phnum * ProgramHeader.SIZE
    if end > len(data):
        raise CannotEnclave(f"{name} is cut off: its program headers end at byte {end:,}, the file at {len(data):,}")
    places = range(header.phoff, end, ProgramHeader.SIZE)
    headers = [ProgramHeader.parse(data[place : place + ProgramHeader.SIZE]) for place in places]
    for one in headers:
        if one.type == INTERPRETER:
            text = data[one.offset : one.offset + min(one.filesz, SHOWN_NAME)].rstrip(b"\0")
            raise CannotEnclave(
                f"{name} is dynamically linked ({text.decode('ascii', 'backslashreplace')}); emulated machines run "
                "static programs: link it with -static"
            )
    return headers


def _check_loads(loads: list[ProgramHeader], base: int, file_size: int, name: str) -> None:
    """Refuse what cannot be loaded. PT_LOAD segments ascend by address (System V ABI, chapter 5) and do not overlap."""
    if not loads:
        raise CannotEnclave(f"{name} has nothing to load")
    total, last = sum(one.memsz for one in loads), 0
    if total > LARGEST:
        raise CannotEnclave(f"{name} wants {total:,} bytes at its start; emulated machines have not so much")
    for one in loads:
        if one.vaddr < last:
            raise CannotEnclave(f"{name} has segments that overlap or do not ascend, at {one.vaddr:#x}")
        last = one.vaddr + one.memsz
        if last + base > HIGHEST:
            raise CannotEnclave(f"{name} wants memory up to {last + base:#x}; programs end below {HIGHEST:#x}")
        if one.filesz > one.memsz or one.offset + one.filesz > file_size:
            raise CannotEnclave(
                f"{name} is damaged: a segment of {one.memsz:,} bytes takes {one.filesz:,} from byte {one.offset:,} "
                f"of a file of {file_size:,}"
            )


def _pages(data: bytes, loads: list[ProgramHeader], base: int) -> tuple[ImagePage, ...]:
    """The pages of all PT_LOAD segments. Two segments may share a page: it then has the permissions of both."""
    contents: dict[int, bytearray] = {}
    permissions: dict[int, Permission] = {}
    for one in loads:
        start, permission = one.vaddr + base, _permission(one.flags)
        for page in range(start // PAGE, -(-(start + one.memsz) // PAGE)):
            permissions[page] = permissions.get(page, Permission.NONE) | permission
        _fill(contents, start, memoryview(data)[one.offset : one.offset + one.filesz])
    return tuple(
        ImagePage(page * PAGE, permissions[page], bytes(contents[page]) if page in contents else ZEROS)
        for page in sorted(permissions)
    )


def _fill(contents: dict[int, bytearray], start: int, data: memoryview) -> None:
    done = 0
    while done < len(data):
        page, offset = divmod(start + done, PAGE)
        part = data[done : done + PAGE - offset]
        contents.setdefault(page, bytearray(PAGE))[offset : offset + len(part)] = part
        done += len(part)


def _permission(flags: int) -> Permission:
    """PF_X 1, PF_W 2, PF_R 4 of the ELF program header. What may be written or executed may also be read."""
    writable = Permission.WRITE if flags & 2 else Permission.NONE
    executable = Permission.EXECUTE if flags & 1 else Permission.NONE
    return Permission.READ | writable | executable


def _address_of(loads: list[ProgramHeader], offset: int, base: int) -> int:
    """Where a file offset stands in memory; 0 if no segment holds it."""
    for one in loads:
        if one.offset <= offset < one.offset + one.filesz:
            return one.vaddr - one.offset + offset + base
    return 0
