"""Second implementations of how Gramine and Open Enclave lay out enclaves, to compare the first ones with.

Written apart from src/cloister/measure, on pyelftools instead of its ELF reader, and in the order and words of the
originals: gramineproject/gramine sgx_sign.py; openenclave host/sgx/create.c, loadelf.c; edgelessrt ert.patch.
"""

import hashlib
import io
import struct
from typing import Any

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection

PAGE = 4096
ZEROS = bytes(PAGE)
R, W, X, TCS, REG = 1, 2, 4, 0x100, 0x200


def up(value: int, unit: int = PAGE) -> int:
    return -(-value // unit) * unit


class Hashing:
    """MRENCLAVE, by the letter of the SDM."""

    def __init__(self, ssa_pages: int, size: int) -> None:
        self.hash = hashlib.sha256(struct.pack("<8sLQ44x", b"ECREATE", ssa_pages, size))

    def page(self, address: int, flags: int, content: bytes | None) -> None:
        """`content` is None for a page that is not measured."""
        self.hash.update(struct.pack("<8sQQ40x", b"EADD", address, flags))
        for place in range(0, PAGE if content is not None else 0, 256):
            self.hash.update(struct.pack("<8sQ48x", b"EEXTEND", address + place))
            self.hash.update((content or b"")[place : place + 256])


def memory_of(elf: ELFFile) -> tuple[bytearray, list[tuple[int, int, int]]]:
    """The image, and address, end and flags of each segment."""
    loads = [one for one in elf.iter_segments() if one.header.p_type == "PT_LOAD"]
    memory = bytearray(up(max(one.header.p_vaddr + one.header.p_memsz for one in loads)))
    for one in loads:
        memory[one.header.p_vaddr : one.header.p_vaddr + one.header.p_filesz] = one.data()
    order = {4: R, 2: W, 1: X}
    return memory, [
        (
            one.header.p_vaddr, one.header.p_vaddr + one.header.p_memsz,
            sum(mine for bit, mine in order.items() if one.header.p_flags & bit),
        )
        for one in loads
    ]  # fmt: skip


def gramine(manifest: bytes, loader: bytes, size: int, threads: int, *, edmm: bool) -> str:
    elf = ELFFile(io.BytesIO(loader))
    memory, segments = memory_of(elf)
    text = manifest + b"\0"
    areas = [("manifest", up(len(text))), ("ssa", threads * 8 * PAGE), ("tcs", threads * PAGE), ("tls", threads * PAGE)]
    areas += [("stack", 64 * PAGE)] * threads + [("signals", 16 * PAGE)] * threads + [("pal", len(memory))]
    places: dict[str, list[int]] = {}
    top = size
    for name, length in areas:
        top -= length
        places.setdefault(name, []).append(top)
    (ssa,), (pal,) = (places[name] for name in ("ssa", "pal"))
    made = Hashing(4, size)
    for at in range(0, up(len(text)), PAGE):
        made.page(places["manifest"][0] + at, R | REG, text[at : at + PAGE].ljust(PAGE, b"\0"))
    for at in range(0, threads * 8 * PAGE, PAGE):
        made.page(ssa + at, R | W | REG, ZEROS)
    _gramine_threads(made, places, (threads, size, len(text)), elf.header.e_entry)
    for name, pages in (("stack", 64), ("signals", 16)):
        for place in places[name]:
            for number in range(pages):
                made.page(place + number * PAGE, R | W | REG, ZEROS)
    for address, end, flags in segments:
        for at in range(address // PAGE * PAGE, up(end), PAGE):
            made.page(pal + at, REG | flags, bytes(memory[at : at + PAGE]))
    for at in range(0x10000, 0 if edmm else pal, PAGE):
        made.page(at, R | W | X | REG, None)
    return made.hash.hexdigest()


def _gramine_threads(made: Hashing, places: dict[str, list[int]], shape: tuple[int, int, int], entry: int) -> None:
    threads, size, text = shape
    (ssa,), (tcs,), (tls,), (pal,) = (places[name] for name in ("ssa", "tcs", "tls", "pal"))
    for t in range(threads):
        page = bytearray(PAGE)
        struct.pack_into("<Q", page, 16, ssa + 8 * PAGE * t)
        struct.pack_into("<LQ", page, 28, 2, pal + entry)
        struct.pack_into("<QLL", page, 56, tls + PAGE * t, 0xFFF, 0xFFF)
        made.page(tcs + PAGE * t, TCS, bytes(page))
    for t in range(threads):
        page, frame = bytearray(PAGE), ssa + 8 * PAGE * t
        for offset, value in {
            0: tls + PAGE * t, 8: 0xBADBADBADBAD, 272: size, 280: tcs + PAGE * t, 288: places["stack"][t] + 64 * PAGE,
            304: places["signals"][t], 312: places["signals"][t] + 16 * PAGE, 328: frame, 336: frame + 0x4000 - 184,
            416: text, 424: 0x10000, 432: pal,
        }.items():  # fmt: skip
            struct.pack_into("<Q", page, offset, value)
        made.page(tls + PAGE * t, R | W | REG, bytes(page))


class OeFile:
    """One file of an Open Enclave image."""

    def __init__(self, data: bytes, base: int) -> None:
        self.elf, self.base = ELFFile(io.BytesIO(data)), base
        self.memory, self.segments = memory_of(self.elf)
        table: Any = self.elf.get_section_by_name(".dynsym")
        self.symbols = list(table.iter_symbols())
        self.by_name = {one.name: one for one in reversed(self.symbols) if one.name}
        self.relocations = [
            [one["r_offset"], one["r_info_sym"], one["r_info_type"], one["r_addend"]]
            for name in (".rela.dyn", ".rela.plt")
            if isinstance(section := self.elf.get_section_by_name(name), RelocationSection)
            for one in section.iter_relocations()
        ]
        for one in self.relocations:
            if one[2] == 18:
                one[3] = self.symbols[one[1]]["st_value"]

    def section(self, name: str) -> tuple[int, int, int]:
        found = self.elf.get_section_by_name(name)
        return (found["sh_addr"], found["sh_size"], found["sh_addralign"]) if found else (0, 0, 1)

    @property
    def thread_bytes(self) -> int:
        return sum(up(size, align) for _, size, align in (self.section(".tdata"), self.section(".tbss")))

    def write(self, symbol: str, value: int) -> None:
        struct.pack_into("<Q", self.memory, self.by_name[symbol]["st_value"], value)

    def link(self, other: "OeFile") -> None:
        for one in self.relocations:
            one[0] += self.base
            if one[2] == 8:
                one[3] += self.base
            elif one[2] in {1, 6, 7}:
                added = one[3] if one[2] == 1 else 0
                one[2] = 8
                for place in (self, other):
                    found = place.by_name.get(self.symbols[one[1]].name)
                    if found is not None and found["st_shndx"] != "SHN_UNDEF":
                        one[3] = place.base + found["st_value"] + added
                        break


def open_enclave(image: bytes, second: bytes | None = None, *, ego: bool = False) -> str:
    main = OeFile(image, 0)
    other = None if second is None else OeFile(second, len(main.memory))
    source = other if ego and other is not None else main
    info, mine = source.section(".oeinfo")[0], main.section(".oeinfo")[0]
    properties = bytes(source.memory[info : info + 1960])
    heap, stack, threads = struct.unpack_from("<QQQ", properties, 8)
    (flags,) = struct.unpack_from("<I", properties, 36)
    data = b""
    if ego and other is not None:
        offset, size = struct.unpack_from("<QQ", other.memory, info + 0x800)
        data = (second or b"")[offset : offset + size]
        main.memory[mine : mine + 1960] = properties
        other.memory[info + 144 : info + 1952] = bytes(1808)
    if other is not None:
        main.link(other)
        other.link(main)
    files = [main] if other is None else [main, other]
    relocations = b"".join(
        struct.pack("<QQq", offset, symbol << 32 | kind, addend)
        for one in files for offset, symbol, kind, addend in one.relocations
    )  # fmt: skip
    relocations += bytes(-len(relocations) % PAGE)
    thread_pages = up(main.thread_bytes) // PAGE
    images = sum(len(one.memory) for one in files)
    heap_at = images + len(relocations) + up(len(data))
    end = heap_at + PAGE * (heap + threads * (stack + 2 + thread_pages + 5))
    size = 1
    while size < end:
        size *= 2
    struct.pack_into("<QQQQQQ", main.memory, mine + 96, mine, 1960, images, len(relocations), heap_at, size)
    main.memory[mine + 144 : mine + 1952] = bytes(1808)
    _patch(main, images, len(relocations), thread_pages)
    if other is not None:
        _module(main, other, len(data), ego=ego)
    made = Hashing(1, size)
    for one in files:
        for address, last, permissions in one.segments:
            for at in range(address // PAGE * PAGE, up(last), PAGE):
                made.page(one.base + at, REG | permissions, bytes(one.memory[at : at + PAGE]))
    behind = relocations + data.ljust(up(len(data)), b"\0")
    for at in range(0, len(behind), PAGE):
        made.page(images + at, REG | R, behind[at : at + PAGE])
    for number in range(heap):
        made.page(heap_at + number * PAGE, REG | R | W | (X if ego and flags & 4 else 0), None)
    _threads(made, heap_at + heap * PAGE, (threads, stack, thread_pages), main.elf.header.e_entry)
    return made.hash.hexdigest()


def _patch(main: OeFile, images: int, relocations: int, thread_pages: int) -> None:
    main.write("_enclave_rva", main.by_name["_enclave_rva"]["st_value"])
    main.write("_reloc_rva", images)
    main.write("_reloc_size", relocations)
    address, size, align = main.section(".tdata")
    if size:
        for name, value in (("_tdata_rva", address), ("_tdata_size", size), ("_tdata_align", align)):
            main.write(name, value)
    _, size, align = main.section(".tbss")
    if size:
        main.write("_tbss_size", size)
        main.write("_tbss_align", align)
    main.write("_td_from_tcs_offset", (thread_pages + 4) * PAGE)


def _module(main: OeFile, other: OeFile, data: int, *, ego: bool) -> None:
    words = [other.base]
    for name in (".init_array", ".fini_array"):
        address, size, _ = other.section(name)
        words += [other.base + address, size] if other.elf.get_section_by_name(name) else [0, 0]
    if ego:
        address, size, _ = other.section(".tdata")
        words += [data, *((address, size, other.thread_bytes) if size else (0, 0, 0))]
    struct.pack_into(f"<{len(words)}Q", main.memory, main.by_name["_module_info"]["st_value"], *words)


def _threads(made: Hashing, at: int, shape: tuple[int, int, int], entry: int) -> None:
    threads, stack, thread_pages = shape
    for _ in range(threads):
        at += PAGE
        for _ in range(stack):
            made.page(at, REG | R | W, b"\xcc" * PAGE)
            at += PAGE
        at += PAGE
        segment = at + (thread_pages + 4) * PAGE
        tcs = struct.pack("<QQQIIQQQQII", 0, 0, at + PAGE, 0, 2, entry, 0, segment, segment, 0xFFFFFFFF, 0xFFFFFFFF)
        made.page(at, TCS, tcs.ljust(PAGE, b"\0"))
        for place in (at + PAGE, at + 2 * PAGE, *(at + (4 + number) * PAGE for number in range(thread_pages + 1))):
            made.page(place, REG | R | W, ZEROS)
        at += (5 + thread_pages) * PAGE
