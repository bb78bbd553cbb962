"""MRENCLAVE by its formula, step by step, and the layout of a program as an enclave.

The digests of single steps were computed from the formula by hand; a published one is in tests/samples.
"""

import hashlib
import struct
from dataclasses import replace
from datetime import date

import pytest
from tests.forge.elf import CODE, TEXT, VARIABLES, elf

from cloister.errors import CannotEnclave, UsageError
from cloister.measure.enclave import ELRANGE_END, EnclaveLayout, Tcs, mrenclave
from cloister.measure.guest import StartRecord
from cloister.measure.image import HIGHEST, PAGE, Image, ImagePage, Permission, read_image, with_page
from cloister.measure.sgx import EnclaveMeasurement, SecinfoFlags
from cloister.measure.sigstruct import unsigned

R, W, X = SecinfoFlags.READ, SecinfoFlags.WRITE, SecinfoFlags.EXECUTE
REG, TCS = SecinfoFlags.REG, SecinfoFlags.TCS
IMAGE = read_image(elf(TEXT, VARIABLES))


def built() -> EnclaveMeasurement:
    return EnclaveMeasurement.ecreate(1, 0x2000)


# ---------------------------------------------------------------- formula


def test_every_step_has_its_digest() -> None:
    running = built()
    assert str(running.digest()) == "sha256:9e197c8837c6d65632dbdd59cd7df4f1a25b68d8e4e5eb6ca3b20b05311fecb8"
    running.eadd(0, 0x203)
    assert running.digest().value.hex() == "995c454650d39811c9c53e1af534aa6c34a496ce9302c34e0ced2c7a7e2c4103"
    for place in range(0, PAGE, 256):
        running.eextend(place, bytes(256))
    assert running.digest().value.hex() == "1f2cf80bd03ffd8bfac33f7cba128aff511c3af666b93bb66e7ef718418bdade"


def test_a_page_at_once_is_the_same() -> None:
    running = built()
    running.add_page(0, REG | R | W, bytes(PAGE))
    assert running.digest().value.hex() == "1f2cf80bd03ffd8bfac33f7cba128aff511c3af666b93bb66e7ef718418bdade"


def test_blocks_are_what_the_manual_says() -> None:
    content = bytes(range(256)) * 16
    blocks = b"ECREATE\0" + struct.pack("<IQ44x", 2, 0x4000) + b"EADD\0\0\0\0" + struct.pack("<QQ40x", 0x3000, 0x205)
    for place in range(0, PAGE, 256):
        blocks += b"EEXTEND\0" + struct.pack("<Q48x", 0x3000 + place) + content[place : place + 256]
    running = EnclaveMeasurement.ecreate(2, 0x4000)
    running.add_page(0x3000, REG | R | X, content)
    assert running.digest().value == hashlib.sha256(blocks).digest()
    assert len(blocks) == 64 * (1 + 81)


def test_asking_for_the_digest_changes_nothing() -> None:
    asked, silent = built(), built()
    asked.digest()
    asked.eadd(0, 0x203)
    silent.eadd(0, 0x203)
    assert asked.digest() == silent.digest()


@pytest.mark.parametrize("size", [0, PAGE, 0x3000, 0x2001, -0x2000, 1 << 57])
def test_ecreate_refuses_sizes(size: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        EnclaveMeasurement.ecreate(1, size)


def test_what_the_processor_would_refuse() -> None:
    with pytest.raises(ValueError, match="SSA frame"):
        EnclaveMeasurement.ecreate(0, 0x2000)
    for offset in (0x2000, 0x800, -PAGE):
        with pytest.raises(ValueError, match="must be a multiple of 4096"):
            built().eadd(offset, 0x203)
    for offset in (0x2000, 0x80, -256):
        with pytest.raises(ValueError, match="must be a multiple of 256"):
            built().eextend(offset, bytes(256))
    with pytest.raises(ValueError, match="measures 256 bytes, not 255"):
        built().eextend(0, bytes(255))
    with pytest.raises(ValueError, match="a page has 4096 bytes"):
        built().add_page(0, 0x203, bytes(255))


# ---------------------------------------------------------------- layout


def test_the_range_holds_the_program_and_all_it_will_have() -> None:
    layout = EnclaveLayout.of(IMAGE)
    assert layout.base % layout.size == 0
    assert layout.size & (layout.size - 1) == 0
    assert layout.base + layout.size == ELRANGE_END == 1 << 47
    offsets = [page.offset for page in layout.pages]
    assert offsets == sorted(set(offsets))
    assert all(0 <= offset < layout.size and offset % PAGE == 0 for offset in offsets)


def test_the_pages_of_the_image_keep_contents_and_permissions() -> None:
    layout = EnclaveLayout.of(IMAGE)
    assert [(page.offset + layout.base, int(page.flags) & 7, page.content) for page in layout.pages[:5]] == [
        (page.address, int(page.permission), page.content) for page in IMAGE.pages
    ]
    assert [page.flags for page in layout.pages] == [REG | R | X, *[REG | R | W] * 4, TCS, *[REG | R | W] * 4, REG | R]


def test_one_thread_with_three_frames() -> None:
    layout = EnclaveLayout.of(IMAGE)
    pages = {page.offset + layout.base: page for page in layout.pages}
    tcs = Tcs.parse(pages[layout.tcs].content)
    assert (tcs.oentry, tcs.nssa, tcs.cssa, tcs.state, tcs.flags) == (IMAGE.entry - layout.base, 3, 0, 0, 0)
    assert (tcs.ossa, tcs.ofsbase, tcs.ogsbase) == tuple(
        address - layout.base for address in (layout.ssa, layout.thread, layout.thread)
    )
    assert (tcs.fslimit & 0xFFF, tcs.gslimit & 0xFFF) == (0xFFF, 0xFFF)
    frames = [layout.ssa + number * PAGE for number in range(layout.ssa_frames * layout.ssa_frame_pages)]
    assert all(pages[place].flags == REG | R | W and not any(pages[place].content) for place in frames)
    assert layout.thread not in frames
    assert StartRecord.parse(pages[layout.start].content[:64]) == StartRecord.of(IMAGE)


def test_mrenclave_is_ecreate_and_every_page() -> None:
    layout = EnclaveLayout.of(IMAGE)
    running = EnclaveMeasurement.ecreate(layout.ssa_frame_pages, layout.size)
    for page in layout.pages:
        running.eadd(page.offset, page.flags)
        for place in range(0, PAGE, 256):
            running.eextend(page.offset + place, page.content[place : place + 256])
    assert mrenclave(IMAGE) == running.digest()


def changed(page: int, **changes: object) -> Image:
    pages = list(IMAGE.pages)
    pages[page] = replace(pages[page], **changes)  # type: ignore[arg-type] # the fields of ImagePage, by name
    return replace(IMAGE, pages=tuple(pages))


@pytest.mark.parametrize(
    "other",
    [
        changed(0, content=b"\x90" + IMAGE.pages[0].content[1:]),
        changed(4, content=bytes(PAGE - 1) + b"\1"),
        changed(0, permission=Permission.READ | Permission.WRITE | Permission.EXECUTE),
        changed(0, address=CODE + PAGE),
        replace(IMAGE, entry=IMAGE.entry + 1),
        replace(IMAGE, end=IMAGE.end + 1),
        replace(IMAGE, headers=0),
        replace(IMAGE, header_count=3),
        replace(IMAGE, pages=IMAGE.pages[:-1]),
        with_page(IMAGE, ImagePage(CODE + PAGE, Permission.READ, bytes(PAGE))),
    ],
    ids=["code", "last byte", "permission", "address", "entry", "end", "headers", "count", "page less", "page more"],
)
def test_whatever_the_host_changes_shows(other: Image) -> None:
    assert mrenclave(other) != mrenclave(IMAGE)


def test_refused_images() -> None:
    with pytest.raises(CannotEnclave, match="x86-64 programs; this one is for arm64"):
        mrenclave(read_image(elf(TEXT, machine=183)))
    with pytest.raises(CannotEnclave, match="enclaves hold it below"):
        mrenclave(with_page(IMAGE, ImagePage(HIGHEST, Permission.READ, bytes(PAGE))))
    with pytest.raises(ValueError, match="written and not read"):
        mrenclave(changed(0, permission=Permission.WRITE))


def test_a_sigstruct_is_for_a_whole_measurement() -> None:
    with pytest.raises(UsageError, match="32 bytes, not 31"):
        unsigned(bytes(31), date=date(2026, 1, 31))
