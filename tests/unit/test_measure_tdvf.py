"""MRTD from firmware, and what a boot's registers follow from."""

import hashlib
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.forge.tdvf import SECTIONS, Section, kernel, mrtd, tdvf
from tests.forge.tpm import event_log

from cloister.errors import ParseError, UsageError
from cloister.evidence.eventlog import Event, EventLog, parse
from cloister.measure.authenticode import authenticode
from cloister.measure.boot_events import (
    DirectBoot,
    InitrdWord,
    as_qemu_loads,
    events_of,
    explained_events,
    foretold_rtmr1,
    foretold_rtmr2,
)
from cloister.measure.tdvf import PageOrder, parse_tdvf

OVMF = Path("/usr/share/ovmf/OVMF.fd")


@pytest.mark.parametrize("table", [True, False], ids=["OVMF's table", "td-shim's pointer"])
def test_mrtd_by_a_second_implementation(table: bool) -> None:  # noqa: FBT001 - a table
    image = tdvf(table=table)
    firmware = parse_tdvf(image)
    assert firmware.mrtd().value.hex() == mrtd(image)
    assert firmware.mrtd(PageOrder.SECTION).value.hex() == mrtd(image, each=False)
    assert firmware.mrtd() != firmware.mrtd(PageOrder.SECTION)


@pytest.mark.skipif(not OVMF.exists(), reason=f"not installed: ovmf ({OVMF})")
def test_mrtd_of_the_distribution_s_firmware() -> None:
    image = OVMF.read_bytes()
    found = parse_tdvf(image)
    sections = [
        (one.data_offset, one.raw_size, one.address, one.size, one.kind, one.attributes) for one in found.sections
    ]
    assert any(one.measured for one in found.sections)
    assert found.mrtd().value.hex() == mrtd(image, sections)
    assert found.mrtd(PageOrder.SECTION).value.hex() == mrtd(image, sections, each=False)


def test_what_is_not_measured_may_change_and_where_it_goes_may_not() -> None:
    image = bytearray(tdvf())
    before = parse_tdvf(bytes(image)).mrtd()
    image[0x10] ^= 1  # in the CFV, which is added and not measured
    assert parse_tdvf(bytes(image)).mrtd() == before
    moved = [*SECTIONS[:3], (0, 0, 0x910000, 0x3000, 3, 0), *SECTIONS[4:]]
    assert parse_tdvf(tdvf(moved)).mrtd() != before
    later = [*SECTIONS[:4], (0, 0, 0x900000, 0x10000, 4, 2), *SECTIONS[5:]]
    image = bytearray(tdvf(later))
    sections = parse_tdvf(bytes(image)).sections
    assert [one.added for one in sections] == [True, True, True, True, False, True]


def test_components_name_every_section_that_is_added() -> None:
    found = parse_tdvf(tdvf()).components(PageOrder.EACH)
    assert [name.split()[2] for name in found if name.startswith("section")] == [
        "BFV", "CFV", "TD_HOB", "TEMP_MEM", "PAYLOAD",
    ]  # fmt: skip
    assert found["section 1 CFV 0xffffc000+0x1000"] == "not measured"


@pytest.mark.parametrize(
    ("sections", "changes", "reason"),
    [
        (SECTIONS, {"version": 2}, "version"),
        (SECTIONS, {"count": 0}, "do not fit"),
        (SECTIONS, {"count": 65}, "do not fit"),
        (SECTIONS, {"length": 40}, "do not fit"),
        ([(0, 0, 0x1000, 0x1000, 9, 0)], {}, "type 9"),
        ([(0, 0, 0x1000, 0x1000, 0, 4)], {}, "attributes 0x4"),
        ([(0, 0, 0x1001, 0x1000, 0, 0)], {}, "whole pages"),
        ([(0, 0, 0x1000, 0x1001, 0, 0)], {}, "whole pages"),
        ([(0, 0, 1 << 51, 0x1000, 0, 0)], {}, "whole pages"),
        ([(0, 0x2000, 0x1000, 0x1000, 0, 1)], {}, "do not fit"),
        ([(0x3FFF, 2, 0x1000, 0x1000, 0, 1)], {}, "variables first"),
        ([(0, 0, 0, 1 << 33, 3, 0)], {}, "more than"),
    ],
)
def test_metadata_that_cannot_be_followed(sections: Sequence[Section], changes: dict[str, int], reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        parse_tdvf(tdvf(sections, changes))


def test_firmware_for_something_else() -> None:
    with pytest.raises(ParseError, match="no firmware for TDX"):
        parse_tdvf(bytes(0x4000))


# ---------------------------------------------------------------- the kernel's hash


def test_authenticode_leaves_out_checksum_and_certificates() -> None:
    plain, signed = kernel(), kernel(certificate=b"signature" * 8)
    head = plain[: 0x418 + 64] + plain[0x418 + 68 : 0x418 + 144]
    assert authenticode(plain) == hashlib.sha384(head + plain[0x418 + 152 :]).digest()
    assert authenticode(signed) == authenticode(plain)
    assert authenticode(plain, "sha256") == hashlib.sha256(head + plain[0x418 + 152 :]).digest()


def put(place: int, data: bytes) -> bytes:
    image = bytearray(kernel(certificate=b"x" * 16))
    image[place : place + len(data)] = data
    return bytes(image)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"", "MZ"),
        (put(0, b"XX"), "MZ"),
        (put(0x3C, b"\0\0\1\0"), "not PE"),
        (put(0x400, b"NE"), "not PE"),
        (put(0x418, b"\7\1"), "magic"),
        (kernel(certificate=b"x" * 16) + b"more", "end of the file"),
        (kernel()[:0x41F], "not PE"),
    ],
)
def test_no_program_for_uefi(image: bytes, reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        authenticode(image)


def test_what_qemu_writes_into_a_kernel() -> None:
    made = as_qemu_loads(kernel(), 0x12345)
    assert (made[0x210], made[0x211]) == (0xB0, 0x81)
    assert struct.unpack_from("<I", made, 0x224) == (0xFE00,)
    assert struct.unpack_from("<I", made, 0x228) == (0x20000,)
    assert struct.unpack_from("<II", made, 0x218) == (0x7FFC5000, 0x12345)
    assert as_qemu_loads(kernel(protocol=0x1FF), None) == kernel(protocol=0x1FF)
    with pytest.raises(ParseError, match="no Linux kernel"):
        as_qemu_loads(b"MZ", None)


# ---------------------------------------------------------------- events


def extended(*digests: bytes) -> bytes:
    register = bytes(48)
    for one in digests:
        register = hashlib.sha384(register + one).digest()
    return register


def test_rtmr2_is_the_command_line_then_the_initrd() -> None:
    line, initrd = "console=hvc0 quiet", b"an initial file system"
    words = {
        InitrdWord.BEHIND: f"{line} initrd=initrd", InitrdWord.BEFORE: f"initrd=initrd {line}", InitrdWord.NONE: line,
    }  # fmt: skip
    for word, text in words.items():
        first = hashlib.sha384((text + "\0").encode("utf-16-le")).digest()
        second = hashlib.sha384(initrd).digest()
        assert foretold_rtmr2(line, initrd, word).value == extended(first, second)
        assert foretold_rtmr2(line, None, word).value == extended(first)
    with pytest.raises(UsageError, match="UTF-8"):
        foretold_rtmr2("\udcff", None, InitrdWord.NONE)


def test_rtmr1_is_the_kernel_and_the_firmware_s_words() -> None:
    words = [
        b"Calling EFI Application from Boot Option", bytes(4), b"Exit Boot Services Invocation",
        b"Exit Boot Services Returned with Success",
    ]  # fmt: skip
    hashes = [hashlib.sha384(one).digest() for one in words]
    loaded, alone = authenticode(as_qemu_loads(kernel(), 6)), authenticode(as_qemu_loads(kernel(), None))
    assert foretold_rtmr1(kernel(), b"initrd", separator=True).value == extended(loaded, *hashes)
    assert foretold_rtmr1(kernel(), None, separator=False).value == extended(alone, hashes[0], *hashes[2:])


def test_events_are_explained_by_the_files_that_they_hash() -> None:
    image, initrd, line = kernel(), b"initrd", "quiet"
    boot = DirectBoot(kernel=image, initrd=initrd, command_line=line)
    hashes = [
        (1, hashlib.sha384(bytes(4)).digest()),
        (2, authenticode(as_qemu_loads(image, len(initrd)))),
        (2, authenticode(as_qemu_loads(image, None))),
        (2, authenticode(image)),
        (2, bytes(48)),
        (3, hashlib.sha384("quiet initrd=initrd\0".encode("utf-16-le")).digest()),
        (3, hashlib.sha384(initrd).digest()),
    ]
    events = tuple(Event(register, 0x80000003, ((0x0C, digest),), b"", 0) for register, digest in hashes)
    log = EventLog(crypto_agile=True, algorithms=((0x0C, 48),), events=events)
    assert [(one.number, one.register, one.what) for one in explained_events(events_of(log), boot.digests())] == [
        (0, "rtmr0", "the firmware's separator"),
        (1, "rtmr1", "the kernel, as QEMU loads it with this initrd"),
        (2, "rtmr1", "the kernel, with QEMU's changes to its header"),
        (3, "rtmr1", "the kernel, as its file is"),
        (5, "rtmr2", "the command line, initrd= behind"),
        (6, "rtmr2", "the initrd"),
    ]


def test_events_of_other_files_are_not_explained() -> None:
    log = parse(event_log())
    assert not [*explained_events(events_of(log), DirectBoot(initrd=b"another").digests())]
