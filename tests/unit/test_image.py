"""Reading ELF programs: what becomes of good ones, and what each kind of bad one is told."""

import subprocess
from pathlib import Path

import pytest
from tests.forge.elf import CODE, DATA, TEXT, VARIABLES, elf, segment

from cloister.errors import CannotEnclave
from cloister.measure.image import HIGHEST, PAGE, Architecture, ImagePage, Permission, read_image, with_page

READ, WRITE, EXECUTE = Permission.READ, Permission.WRITE, Permission.EXECUTE
COMPILERS = {
    Architecture.X86_64: "gcc",
    Architecture.ARM64: "aarch64-linux-gnu-gcc",
    Architecture.RISCV64: "riscv64-linux-gnu-gcc",
}


GOOD = elf(TEXT, VARIABLES)


# ---------------------------------------------------------------- good ones


def test_pages_permissions_and_numbers() -> None:
    image = read_image(GOOD)
    assert (image.architecture, image.entry, image.end) == (Architecture.X86_64, CODE + 0x200, DATA + 0x3000)
    assert (image.headers, image.header_count) == (CODE + 64, 2)
    assert [(page.address, page.permission) for page in image.pages] == [
        (CODE, READ | EXECUTE), *((0x402000 + PAGE * number, READ | WRITE) for number in range(4)),
    ]  # fmt: skip
    assert image.pages[0].content == GOOD[:PAGE]
    assert image.pages[1].content == bytes(0xF00) + GOOD[0xF00:0x1000]
    assert image.pages[2].content == GOOD[0x1000:0x1100] + bytes(0xF00)
    assert not any(image.pages[3].content + image.pages[4].content)


def test_a_page_of_two_segments_has_both_contents_and_permissions() -> None:
    data = elf(segment(CODE, flags=5, filesz=0x300), segment(CODE + 0x800, flags=6, offset=0x900))
    (page,) = read_image(data).pages
    assert page.permission == READ | WRITE | EXECUTE
    assert page.content == data[:0x300] + bytes(0x500) + data[0x900:0xA00] + bytes(0x700)


def test_a_position_independent_program_has_a_fixed_base() -> None:
    image = read_image(elf(segment(0, flags=5, filesz=0x1000), type=3, entry=0x200))
    assert image.entry == 0x10_0000_0200
    assert image.headers == 0x10_0000_0040
    assert image.end == 0x10_0000_1000
    assert [page.address for page in image.pages] == [0x10_0000_0000]


def test_headers_that_are_not_loaded_stand_nowhere() -> None:
    assert read_image(elf(segment(CODE, flags=5, offset=0x200))).headers == 0


def test_empty_segments_are_nothing() -> None:
    image = read_image(elf(TEXT, segment(DATA + 0x123, flags=6, filesz=0)))
    assert [page.address for page in image.pages] == [CODE]
    assert image.end == CODE + 0x1000


@pytest.mark.parametrize("architecture", Architecture)
@pytest.mark.parametrize("options", [["-static"], ["-static-pie"]], ids=" ".join)
def test_what_compilers_make(architecture: Architecture, options: list[str], tmp_path: Path) -> None:
    source, program = tmp_path / "program.c", tmp_path / "program"
    source.write_text("int data[3000] = {1}; int bss[50000]; int main(void) { return data[1] + bss[1]; }\n")
    compile_program([COMPILERS[architecture], *options, "-o", str(program), str(source)])
    image = read_image(program.read_bytes())
    assert image.architecture is architecture
    assert [page.address for page in image.pages] == sorted({page.address for page in image.pages})
    start = next(page for page in image.pages if page.address == image.entry // PAGE * PAGE)
    assert start.permission == READ | EXECUTE
    table = program.read_bytes()[64 : 64 + 56 * image.header_count]
    loaded = b"".join(page.content for page in image.pages if 0 <= page.address - image.headers // PAGE * PAGE < PAGE)
    assert loaded[image.headers % PAGE :][: len(table)] == table
    assert len(image.pages) * PAGE > 4 * 50000


def compile_program(command: list[str]) -> None:
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip(f"{command[0]} is not installed")
    if done.returncode and "cannot find" in done.stderr:
        pytest.skip(f"{command[0]} cannot link {' '.join(command[1:2])} programs")
    assert not done.returncode, done.stderr


# ---------------------------------------------------------------- bad ones


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"it is not an ELF program \(length"),
        (b"#!/bin/sh\n".ljust(100), r"not an ELF program \(magic"),
        (GOOD[:63], r"not an ELF program \(length"),
        (elf(TEXT, ident=b"\x7fELF\x01\x01\x01"), "class 1"),
        (elf(TEXT, ident=b"\x7fELF\x02\x02\x01"), "encoding 2"),
        (elf(TEXT, machine=8), "ELF machine 8"),
        (elf(TEXT, type=1), "not a linked program"),
        (elf(TEXT, type=4), "not a linked program"),
        (elf(TEXT, phentsize=32), "program headers of 32 bytes"),
        (elf(TEXT, phnum=0), "0 program headers"),
        (elf(TEXT, phnum=0xFFFF), "65535 program headers"),
        (elf(TEXT, phnum=1000), "is cut off"),
        (elf(TEXT, phoff=1 << 63), "is cut off"),
        (elf(TEXT, segment(0, flags=4, offset=0x300, filesz=20, kind=3)), "dynamically linked .*-static"),
        (elf(segment(CODE, flags=5, kind=4)), "nothing to load"),
        (elf(segment(CODE, flags=5, filesz=0)), "nothing to load"),
        (elf(TEXT, segment(DATA, flags=6, memsz=1 << 30)), "not so much"),
        (elf(TEXT, *(segment(DATA + (n << 28), flags=6, memsz=1 << 28) for n in range(4))), "not so much"),
        (elf(VARIABLES, TEXT), "do not ascend"),
        (elf(TEXT, segment(CODE + 0xFFF, flags=6)), "overlap"),
        (elf(TEXT, segment(HIGHEST - PAGE, flags=6, memsz=PAGE + 1)), "programs end below"),
        (elf(TEXT, segment((1 << 64) - PAGE, flags=6, memsz=PAGE)), "programs end below"),
        (elf(segment(0, flags=5, filesz=0x1000), segment(HIGHEST - PAGE, flags=6), type=3, entry=0x200), "end below"),
        (elf(TEXT, segment(DATA, flags=6, filesz=0x100, memsz=0xFF)), "is damaged"),
        (elf(TEXT, segment(DATA, flags=6, offset=0x1101)), "is damaged"),
        (elf(TEXT, segment(DATA, flags=6, offset=1 << 63)), "is damaged"),
        (elf(TEXT, VARIABLES, entry=0), "where it has no code"),
        (elf(TEXT, VARIABLES, entry=DATA), "where it has no code"),
        (elf(TEXT, VARIABLES, entry=(1 << 64) - 1), "where it has no code"),
    ],
)
def test_refused(data: bytes, message: str) -> None:
    with pytest.raises(CannotEnclave, match=message):
        read_image(data, "it")


def test_the_name_of_the_interpreter_is_shown_and_not_trusted() -> None:
    data = bytearray(elf(TEXT, segment(0, flags=4, offset=0x300, filesz=1 << 60, kind=3)))
    data[0x300:0x310] = b"/lib/ld\x1b[31m\xff.so\0"
    with pytest.raises(CannotEnclave) as caught:
        read_image(bytes(data))
    assert "/lib/ld" in str(caught.value)
    assert len(str(caught.value)) < 2000


# ---------------------------------------------------------------- one more page


def test_with_page() -> None:
    image = read_image(GOOD)
    more = with_page(image, ImagePage(0x401000, READ, bytes(PAGE)))
    assert [page.address for page in more.pages][:3] == [0x400000, 0x401000, 0x402000]
    assert len(image.pages) == 5


@pytest.mark.parametrize(
    "page",
    [
        ImagePage(0x402000, READ, bytes(PAGE)),
        ImagePage(0x401001, READ, bytes(PAGE)),
        ImagePage(0x401000, READ, bytes(PAGE - 1)),
    ],
    ids=["taken", "unaligned", "short"],
)
def test_with_page_refuses(page: ImagePage) -> None:
    with pytest.raises(ValueError, match=r"part of the program|a page has"):
        with_page(read_image(GOOD), page)
