"""MRENCLAVE of SDK images, page by page; the published image is in tests/samples/test_measure_images.py."""

import struct
from dataclasses import replace

import pytest
from tests.forge.enclave_elf import PAGE, Image, Part, pattern
from tests.forge.sdk_enclave import BLOB, ENTRIES, RW, TCS, TEMPLATE, Entry, sdk_image
from tests.forge.sigstruct import sigstruct

from cloister.errors import ParseError
from cloister.measure.elf import parse_elf
from cloister.measure.sgx import EnclaveMeasurement
from cloister.measure.sgx_sdk import sdk_enclave


def thread(running: EnclaveMeasurement, delta: int) -> None:
    """What one thread of the layout adds."""
    for page in range(2):
        running.add_page(0x23000 + delta + page * PAGE, RW, b"\xcc" * PAGE)
    tcs = bytearray(TEMPLATE.ljust(PAGE, b"\0"))
    for place, value in ((16, 0x1000), (48, 0x3000), (56, 0x3000)):
        struct.pack_into("<Q", tcs, place, value + 0x25000 + delta)
    running.add_page(0x25000 + delta, TCS, bytes(tcs))
    for page in range(2):
        running.add_page(0x26000 + delta + page * PAGE, RW, bytes(PAGE))
    running.add_page(0x28000 + delta, RW, BLOB.ljust(PAGE, b"\0"))
    running.add_page(0x29000 + delta, RW, bytes(PAGE))


def test_every_page_in_its_order() -> None:
    running = EnclaveMeasurement.ecreate(1, 1 << 20)
    running.add_page(0, 0x201, pattern(0x400).ljust(PAGE, b"\0"))
    text = bytearray(pattern(0x900, 3))
    text[0x10:0x38] = BLOB[:40]
    running.add_page(0x1000, 0x205, bytes(text).ljust(PAGE, b"\0"))
    running.add_page(0x2000, 0x203, (bytes(0xA80) + pattern(0x200, 5)).ljust(PAGE, b"\0"))
    running.add_page(0x3000, 0x203, bytes(PAGE))
    for page in range(3):
        running.eadd(0x10000 + page * PAGE, RW)
    for delta in (0, 0x20000, 0x40000):
        thread(running, delta)
    found = sdk_enclave(sdk_image())
    assert found.mrenclave == running.digest()
    assert (found.size, found.pages, found.signed) == (1 << 20, 28, None)


def test_the_signature_is_not_measured() -> None:
    signed = sigstruct()
    found = sdk_enclave(sdk_image(sigstruct=signed.serialize()))
    assert found.signed == signed
    assert found.mrenclave == sdk_enclave(sdk_image()).mrenclave


def test_components_tell_code_from_data() -> None:
    one = sdk_enclave(sdk_image()).components
    other = sdk_enclave(sdk_image(size=1 << 21)).components
    assert [name for name in one if name.startswith("segment")] == [
        "segment 0x0 r",
        "segment 0x1000 rx",
        "segment 0x2a80 rw",
    ]
    assert {name for name in one if one[name] != other[name]} == {"enclave size"}


def test_pages_with_text_relocations_may_be_written() -> None:
    """DT_TEXTREL: a relocation that reaches from one page into the next makes both writable."""
    dynamic = struct.pack("<8Q", 22, 0, 7, 0x200, 8, 24, 0, 0)
    content = bytearray(pattern(0x2000))
    content[0x200:0x218] = struct.pack("<QQQ", 0x1FFC, 8, 0)
    image = Image(
        parts=[Part(address=0, flags=5, content=bytes(content) + dynamic)],
        notes={".note.sgxmeta": note_of(sdk_image(entries=(), patches=()))},
    )
    plain = sdk_enclave(image.build())
    image.headers = [struct.pack("<IIQQQQQQ", 2, 6, PAGE + 0x2000, 0x2000, 0x2000, len(dynamic), len(dynamic), 8)]
    pages = [(0, 0x205), (0x1000, 0x207), (0x2000, 0x207)]
    running = EnclaveMeasurement.ecreate(1, 1 << 20)
    whole = bytes(content) + dynamic.ljust(PAGE, b"\0")
    for place, flags in pages:
        running.add_page(place, flags, whole[place : place + PAGE])
    assert sdk_enclave(image.build()).mrenclave == running.digest()
    assert plain.mrenclave != running.digest()


def note_of(image: bytes) -> bytes:
    """The section with the metadata."""
    return parse_elf(image).section(".note.sgxmeta")


def entry(number: int, **changes: int) -> tuple[Entry, ...]:
    names = ("kind", "attributes", "pages", "address", "size", "offset", "flags")
    made = dict(zip(names, ENTRIES[number], strict=True)) | changes
    one: Entry = (
        made["kind"],
        made["attributes"],
        made["pages"],
        made["address"],
        made["size"],
        made["offset"],
        made["flags"],
    )
    return (*ENTRIES[:number], one, *ENTRIES[number + 1 :])


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (sdk_image(size=0x30001), "power of two"),
        (sdk_image(version=1 << 32 | 5), "is 1.5"),
        (sdk_image(version=13 << 32 | 3), "ELRANGE"),
        (sdk_image(patches=((1 << 40, 2700, 4),)), "do not exist"),
        (sdk_image(patches=((0, 30000, 4),)), "do not exist"),
        (sdk_image(entry(6, attributes=7)), "7 entries, 6 stand before"),
        (sdk_image(entry(6, pages=1 << 31)), "in an enclave of"),
        (sdk_image(entry(1, kind=0x1001, attributes=0, pages=1 << 31)), "too often"),
        (sdk_image(entry(0, pages=1 << 31)), "more than"),
        (sdk_image(entry(2, address=0x23001)), "multiple"),
        (sdk_image(entry(5, offset=30000)), "not in the metadata"),
        (sdk_image(entry(5, size=9000)), "not in the metadata"),
        (sdk_image(entry(3, size=5000, pages=2)), "a TCS of 5000 bytes"),
    ],
)
def test_metadata_that_cannot_be_followed(image: bytes, reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        sdk_enclave(image)


def test_groups_that_repeat_groups_end() -> None:
    group = (0x1009, 1, 1 << 30, 0, 0, 0, 0)
    guard = (10, 0, 1, 0, 0, 0, 0)
    with pytest.raises(ParseError, match="too often"):
        sdk_enclave(sdk_image((guard, group)))


def test_an_image_without_metadata() -> None:
    with pytest.raises(ParseError, match=r"no \.note\.sgxmeta"):
        sdk_enclave(Image(parts=[Part(address=0, flags=5, content=b"x")]).build())


def test_segments_that_share_a_page_are_refused() -> None:
    parts = [Part(address=0, flags=5, content=b"x"), Part(address=0x800, flags=6, content=b"y")]
    with pytest.raises(ParseError, match="shares pages"):
        parse_elf(Image(parts=parts).build())


def test_a_header_that_lies_about_the_file() -> None:
    good = Image(parts=[Part(address=0, flags=5, content=b"x")]).build()
    for place, value, reason in (
        (56, 0xFFFF, "program headers"),
        (60, 0xFFFF, "section headers"),
        (62, 99, "e_shstrndx"),
    ):
        data = bytearray(good)
        struct.pack_into("<H", data, place, value)
        with pytest.raises(ParseError, match=reason):
            parse_elf(bytes(data))
    assert replace(parse_elf(good), sections={}).section("x") == b""


@pytest.mark.parametrize(("place", "what"), [(32, "program headers"), (40, "section headers")])
def test_a_table_ends_within_the_file(place: int, what: str) -> None:
    data = bytearray(Image(parts=[Part(address=0, flags=5, content=b"x")]).build())
    for beyond in (len(data) - 8, len(data), 1 << 63):
        struct.pack_into("<Q", data, place, beyond)
        with pytest.raises(ParseError, match=what):
            parse_elf(bytes(data))
