"""Whatever an ELF file says, reading it gives an image or CannotEnclave, soon; images come back out of guests."""

import struct
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.forge.elf import CODE, DATA, TEXT, VARIABLES, elf, segment

from cloister.errors import CannotEnclave, ParseError
from cloister.measure.guest import BootParameters, GuestLayout, StartRecord, parameter_pages
from cloister.measure.image import PAGE, Architecture, Image, ImagePage, Permission, read_image

WORDS = st.one_of(st.integers(0, (1 << 64) - 1), st.sampled_from([0, 1, PAGE, CODE, DATA, 1 << 30, 1 << 38, 1 << 63]))
HALVES = st.integers(0, 0xFFFF)
BASE = elf(TEXT, VARIABLES, segment(0, flags=4, kind=2, offset=0x800))


def check(data: bytes) -> None:
    """An image that keeps what Image promises, or CannotEnclave."""
    try:
        image = read_image(data)
    except CannotEnclave:
        return
    addresses = [page.address for page in image.pages]
    assert addresses == sorted(set(addresses))
    assert all(address % PAGE == 0 and 0 <= address < 1 << 38 for address in addresses)
    assert all(len(page.content) == PAGE and page.permission & Permission.READ for page in image.pages)
    assert addresses[-1] < image.end <= addresses[-1] + PAGE
    layout = GuestLayout.of(image)
    assert BootParameters.parse(layout.parameters.serialize()).image(layout.contents) == image


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    check(data)
    check(BASE[:64] + data)


@given(st.lists(st.tuples(st.integers(0, len(BASE) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_changed_bytes(changes: list[tuple[int, int]]) -> None:
    data = bytearray(BASE)
    for place, value in changes:
        data[place % 232] = value  # the file header and three program headers
    check(bytes(data))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7), WORDS, WORDS, WORDS, WORDS), max_size=6),
    st.fixed_dictionaries(
        {}, optional={"type": HALVES, "machine": HALVES, "entry": WORDS, "phoff": WORDS, "phnum": HALVES}
    ),
)
def test_any_headers(segments: list[tuple[int, ...]], changes: dict[str, int]) -> None:
    packed = [struct.pack("<IIQQQQQQ", kind, flags, a, b, b, c, d, PAGE) for kind, flags, a, b, c, d in segments]
    check(elf(*packed, **changes))
    check(elf(TEXT, *packed, **changes))


@given(st.integers(0, len(BASE)))
def test_cut_off(size: int) -> None:
    check(BASE[:size])


def test_the_largest_program_takes_bounded_time_and_memory() -> None:
    """A file of 60 KiB that asks for almost a gibibyte of zeros, in as many segments as there can be."""
    many = [segment(DATA + 0x1000 + n * 0xE0000, flags=6, memsz=0xE0000, filesz=0) for n in range(1100)]
    data = elf(TEXT, *many, phnum=1101)
    started = time.monotonic()
    tracemalloc.start()
    image = read_image(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(image.pages) > 240_000
    assert peak < 150 << 20
    assert time.monotonic() - started < 30


# ---------------------------------------------------------------- boot parameters


IMAGES = st.builds(
    lambda architecture, entry, headers, count, pages: Image(
        architecture=architecture,
        entry=entry,
        headers=headers,
        header_count=count,
        end=(max(pages) + 1) * PAGE,
        pages=tuple(
            ImagePage(number * PAGE, Permission(pages[number]), bytes([number % 256]) * PAGE)
            for number in sorted(pages)
        ),
    ),
    st.sampled_from(Architecture),
    st.integers(0, (1 << 64) - 1),
    st.integers(0, (1 << 64) - 1),
    st.integers(0, (1 << 32) - 1),
    st.dictionaries(st.integers(0, (1 << 26) - 1), st.integers(1, 7), min_size=1, max_size=40),
)


@given(IMAGES)
def test_guests_give_their_image_back(image: Image) -> None:
    layout = GuestLayout.of(image)
    memory = dict(layout.pages)
    first = memory[0]
    head = b"".join(memory[number * PAGE] for number in range(parameter_pages(first)))
    parameters = BootParameters.parse(head)
    assert parameters.serialize() == head
    assert parameters.image(memory[place] for _, _, place in parameters.placed()) == image
    assert layout.image_places == [place for _, _, place in parameters.placed()]
    assert layout.end == max(memory) + PAGE == len(memory) * PAGE


@given(IMAGES, st.data())
def test_changed_boot_parameters_are_refused_or_say_something_else(image: Image, data: st.DataObject) -> None:
    head = bytearray(BootParameters.of(image).serialize())
    place = data.draw(st.integers(0, StartRecord.SIZE + 8 * len(image.pages) + 16))
    head[place] ^= data.draw(st.integers(1, 255))
    try:
        parameters = BootParameters.parse(bytes(head))
    except ParseError:
        return
    assert parameters.serialize() == bytes(head)
    assert parameters != BootParameters.of(image)


@given(st.binary(max_size=64) | st.binary(min_size=PAGE, max_size=PAGE))
def test_any_bytes_as_boot_parameters(data: bytes) -> None:
    with pytest.raises(ParseError):
        BootParameters.parse(data)
