"""A program as a guest: boot parameters, the layout, and what each TEE measures of it; and a host that changes it."""

import hashlib
import struct
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.forge.elf import CODE, TEXT, VARIABLES, elf

from cloister.errors import CannotEnclave, ParseError
from cloister.measure import cca, keystone, sev, snp, tdx
from cloister.measure.guest import BootParameters, GuestLayout, StartRecord, parameter_pages
from cloister.measure.image import PAGE, Architecture, Image, ImagePage, Permission, read_image, with_page
from cloister.measure.vmsa import guest_vmsa
from cloister.model import Digest

MACHINES = {Architecture.X86_64: 62, Architecture.ARM64: 183, Architecture.RISCV64: 243}
MEMORY = 16 << 20
REALM = cca.RealmParameters(s2sz=40)

MEASURES: dict[str, tuple[Architecture, Callable[[GuestLayout], Digest]]] = {
    "sev": (Architecture.X86_64, lambda guest: sev.guest_digest(guest, encrypted_state=False)),
    "sev-es": (Architecture.X86_64, lambda guest: sev.guest_digest(guest, encrypted_state=True)),
    "snp": (Architecture.X86_64, snp.guest_digest),
    "tdx": (Architecture.X86_64, tdx.guest_digest),
    "cca": (Architecture.ARM64, lambda guest: cca.guest_digest(guest, parameters=REALM, memory=MEMORY)),
    "keystone": (Architecture.RISCV64, keystone.guest_digest),
}
TEES = pytest.mark.parametrize("tee", MEASURES)


def image(architecture: Architecture = Architecture.X86_64) -> Image:
    return read_image(elf(TEXT, VARIABLES, machine=MACHINES[architecture]))


def guest(architecture: Architecture = Architecture.X86_64) -> GuestLayout:
    return GuestLayout.of(image(architecture))


def measured(tee: str, one: Image) -> bytes:
    return MEASURES[tee][1](GuestLayout.of(one)).value


# ---------------------------------------------------------------- layout


def test_boot_parameters_then_the_image() -> None:
    layout, program = guest(), image()
    head = b"cloister guest\0\0" + struct.pack("<IIQQIIQ8x", 1, 62, CODE + 0x200, CODE + 64, 2, 5, program.end)
    words = [CODE | 5, *(0x402000 + PAGE * number | 3 for number in range(4))]
    assert layout.pages[0] == (0, (head + struct.pack("<5Q", *words)).ljust(PAGE, b"\0"))
    assert layout.pages[1:] == [(PAGE * (n + 1), page.content) for n, page in enumerate(program.pages)]
    assert layout.image_places == [PAGE * (number + 1) for number in range(5)]
    assert layout.end == 6 * PAGE


@pytest.mark.parametrize(("count", "pages"), [(1, 1), (504, 1), (505, 2), (1016, 2), (1017, 3)])
def test_as_many_parameter_pages_as_needed(count: int, pages: int) -> None:
    page = ImagePage(0, Permission.READ, bytes(PAGE))
    many = replace(image(), pages=tuple(replace(page, address=PAGE * number) for number in range(count)))
    layout = GuestLayout.of(many)
    assert parameter_pages(layout.pages[0][1]) == pages
    assert layout.image_places[0] == layout.parameters.first == pages * PAGE
    assert len(layout.pages) == pages + count
    assert BootParameters.parse(layout.parameters.serialize()) == layout.parameters


def changed(place: int, code: str, value: object) -> bytes:
    data = bytearray(guest().parameters.serialize())
    struct.pack_into(f"<{code}", data, place, value)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b"", "length"),
        (changed(0, "B", 0), "magic"),
        (changed(16, "I", 2), "version"),
        (changed(20, "I", 8), "machine"),
        (changed(44, "I", 0), "page_count"),
        (changed(44, "I", 0xFFFF_FFFF), "page_count"),
        (changed(44, "I", 505), "length"),
        (changed(44, "I", 4), "padding"),
        (changed(44, "I", 6), "permission"),
        (changed(56, "Q", 1), "reserved_56"),
        (changed(64, "Q", CODE), "permission"),
        (changed(64, "Q", CODE | 8), "permission"),
        (changed(64, "Q", 0x402000 | 5), "address"),
        (changed(96, "Q", 1 << 47 | 3), "address"),
        (changed(4095, "B", 1), "padding"),
        (guest().parameters.serialize() + bytes(PAGE), "length"),
        (guest().parameters.serialize()[:-1], "length"),
    ],
)
def test_strict_parsing(data: bytes, field: str) -> None:
    with pytest.raises(ParseError) as caught:
        BootParameters.parse(data)
    assert caught.value.field == field


def test_the_image_comes_back_only_whole() -> None:
    layout = guest()
    assert layout.parameters.image(layout.contents) == image()
    with pytest.raises(ValueError, match="shorter"):
        layout.parameters.image(layout.contents[:-1])


def test_the_start_record_is_one_for_each_architecture() -> None:
    assert {StartRecord.of(image(one)).machine for one in Architecture} == set(MACHINES.values())


# ---------------------------------------------------------------- what each TEE measures of it


def test_sev_hashes_the_pages_and_then_the_save_area() -> None:
    pages = b"".join(content for _, content in guest().pages)
    assert sev.guest_digest(guest(), encrypted_state=False).value == hashlib.sha256(pages).digest()
    area = guest_vmsa(CODE + 0x200, features=0)
    assert sev.guest_digest(guest(), encrypted_state=True).value == hashlib.sha256(pages + area).digest()


def test_snp_adds_the_pages_then_secrets_cpuid_and_the_save_area() -> None:
    value = bytes(48)
    area = guest_vmsa(CODE + 0x200, features=0x21)
    added = [(1, gpa, hashlib.sha384(content).digest()) for gpa, content in guest().pages]
    added += [(5, 0x6000, bytes(48)), (6, 0x7000, bytes(48)), (2, 0xFFFF_FFFF_F000, hashlib.sha384(area).digest())]
    for kind, gpa, contents in added:
        value = hashlib.sha384(value + contents + struct.pack("<HBB4xQ", 0x70, kind, 0, gpa)).digest()
    assert snp.guest_digest(guest()) == Digest("sha384", value)
    assert snp.guest_digest(guest(), features=1) != snp.guest_digest(guest())


def test_cca_adds_data_ram_and_a_processor() -> None:
    layout = guest(Architecture.ARM64)
    running = cca.RealmInitialMeasurement.create(REALM)
    for ipa, content in layout.pages:
        running = running.add_data(ipa, content)
    for place in range(6 * PAGE, 2 << 20, PAGE):
        running = running.set_ram(place, place + PAGE)
    running = running.set_ram(2 << 20, 4 << 20).add_rec(pc=CODE + 0x200)
    assert cca.guest_digest(layout, parameters=REALM, memory=4 << 20) == running.digest
    assert cca.guest_digest(layout, parameters=REALM, memory=6 << 20) != running.digest
    assert cca.guest_digest(layout, parameters=replace(REALM, s2sz=41), memory=4 << 20) != running.digest


def test_table_entries_cover_the_range_without_gaps() -> None:
    block = 2 << 20
    assert list(cca.table_entries(block - PAGE, 2 * block + PAGE)) == [
        (block - PAGE, block), (block, 2 * block), (2 * block, 2 * block + PAGE),
    ]  # fmt: skip
    assert list(cca.table_entries(PAGE, PAGE)) == []
    for base, top in ((1, PAGE), (0, 1), (PAGE, 0)):
        with pytest.raises(ValueError, match="no range of granules"):
            list(cca.table_entries(base, top))


def test_keystone_hashes_parameters_runtime_and_image() -> None:
    layout = guest(Architecture.RISCV64)
    parts = (layout.parameters.serialize(), b"runtime".ljust(PAGE, b"\0"), b"".join(layout.contents))
    expected = hashlib.sha3_512(b"".join(len(part).to_bytes(8, "little") for part in parts) + b"".join(parts))
    assert keystone.guest_digest(layout, runtime=b"runtime").value == expected.digest()
    assert keystone.guest_digest(layout).value != expected.digest()


def test_the_save_area_of_a_program() -> None:
    area = guest_vmsa(0x12_3456_789A, features=0x21)
    assert len(area) == PAGE
    assert struct.unpack_from("<HHIQ", area, 0x10) == (0x33, 0xAFB, 0xFFFF_FFFF, 0)
    assert struct.unpack_from("<HHIQ", area, 0x20) == (0x2B, 0xCF3, 0xFFFF_FFFF, 0)
    assert area[0xCB] == 3
    cr0, efer = struct.unpack_from("<Q", area, 0x158)[0], struct.unpack_from("<Q", area, 0xD0)[0]
    assert cr0 >> 31 & cr0 & efer >> 10 & efer >> 8 & 1, "protected, paging, long mode enabled and active"
    assert struct.unpack_from("<QQ", area, 0x170) == (2, 0x12_3456_789A)
    assert struct.unpack_from("<Q", area, 0x3B0) == (0x21,)


# ---------------------------------------------------------------- a host that changes it


def ways(one: Image) -> dict[str, Image]:
    """Everything about an image that a host could set differently."""
    first, *others = one.pages
    return {
        "code": replace(one, pages=(replace(first, content=b"\x90" + first.content[1:]), *others)),
        "permission": replace(one, pages=(replace(first, permission=Permission(7)), *others)),
        "address": replace(one, pages=(replace(first, address=CODE + PAGE), *others)),
        "contents exchanged": replace(
            one,
            pages=(replace(first, content=others[0].content), replace(others[0], content=first.content), *others[1:]),
        ),
        "page less": replace(one, pages=one.pages[:-1]),
        "page more": with_page(one, ImagePage(CODE + PAGE, Permission.READ, bytes(PAGE))),
        "entry": replace(one, entry=one.entry + 1),
        "headers": replace(one, headers=0),
        "end": replace(one, end=one.end + 1),
    }


@TEES
@pytest.mark.parametrize("way", ways(image()))
def test_whatever_the_host_changes_shows(tee: str, way: str) -> None:
    one = image(MEASURES[tee][0])
    assert measured(tee, ways(one)[way]) != measured(tee, one)


@TEES
def test_the_same_program_measures_the_same(tee: str) -> None:
    assert measured(tee, image(MEASURES[tee][0])) == measured(tee, image(MEASURES[tee][0]))


@TEES
def test_a_program_for_another_processor_is_refused(tee: str) -> None:
    for architecture in set(Architecture) - {MEASURES[tee][0]}:
        with pytest.raises(CannotEnclave, match=f"is for {architecture}; "):
            measured(tee, image(architecture))


def test_sev_alone_does_not_notice_pages_at_other_addresses() -> None:
    """What "undeSErVed trust" exploited: the launch digest of SEV and SEV-ES covers contents in order, no addresses."""
    pages = guest().pages
    moved = [(gpa + 0x10_0000, content) for gpa, content in pages]
    digest, other = snp.LaunchDigest(), snp.LaunchDigest()
    for (gpa, content), (elsewhere, same) in zip(pages, moved, strict=True):
        digest.normal(gpa, content)
        other.normal(elsewhere, same)
    assert digest.value != other.value
    assert tdx.mrtd(pages) != tdx.mrtd(moved)
    assert sev.guest_digest(guest(), encrypted_state=False).value == hashlib.sha256(
        b"".join(content for _, content in moved)
    ).digest()  # fmt: skip
