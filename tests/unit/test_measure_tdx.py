"""MRTD, RTMRs and the hashes of a TD report by their formulas; digests were computed from the formulas by hand."""

import hashlib
import struct

import pytest
from tests.forge.elf import TEXT, VARIABLES, elf

from cloister.measure.guest import GuestLayout
from cloister.measure.image import PAGE, read_image
from cloister.measure.tdx import (
    TdInfo,
    TdMeasurement,
    TeeTcbInfo,
    extend_rtmr,
    guest_digest,
    mrtd,
    tee_info_hash,
    tee_tcb_info_hash,
)
from cloister.model import Digest

ZERO_PAGE = bytes(PAGE)


def test_every_step_has_its_digest() -> None:
    running = TdMeasurement()
    running.page_add(0)
    assert running.digest() == Digest(
        "sha384",
        bytes.fromhex(
            "8f3e9a8aca6784eab874f7aa4dda5d49104a88047f1f86695ef2a88f5691a90e34aac48ce45ffa1f5a23c7d62980d570"
        ),
    )
    for place in range(0, PAGE, 256):
        running.extend(place, bytes(256))
    assert running.digest().value.hex() == (
        "236f0efa607ff8843f1855d7ef80dc3dda8fb455787a186b8787212951eab0096e3193bb26f817c2b63c21f5e10f9938"
    )
    assert running.digest() == mrtd([(0, ZERO_PAGE)])


def test_blocks_are_what_the_module_hashes() -> None:
    content = bytes(range(256)) * 16
    blocks = b"MEM.PAGE.ADD\0\0\0\0" + struct.pack("<Q104x", 0x5000)
    for place in range(0, PAGE, 256):
        chunk = content[place : place + 256]
        blocks += b"MR.EXTEND\0\0\0\0\0\0\0" + struct.pack("<Q104x", 0x5000 + place) + chunk
    assert mrtd([(0x5000, content)]).value == hashlib.sha384(blocks).digest()


def test_order_and_place_matter() -> None:
    pages = [(0, b"\1" * PAGE), (PAGE, b"\2" * PAGE)]
    digests = [
        mrtd(pages), mrtd(pages[::-1]), mrtd(pages[:1]), mrtd([(PAGE, pages[0][1]), (0, pages[1][1])]), mrtd([]),
    ]  # fmt: skip
    assert len({digest.value for digest in digests}) == len(digests)


def test_a_guest_is_its_pages_in_order() -> None:
    guest = GuestLayout.of(read_image(elf(TEXT, VARIABLES)))
    assert guest_digest(guest) == mrtd(guest.pages)


def test_what_the_module_would_refuse() -> None:
    running = TdMeasurement()
    for gpa in (1, 0x800, -PAGE, 1 << 51):
        with pytest.raises(ValueError, match="must be a multiple of 4096"):
            running.page_add(gpa)
    for gpa in (0x80, -256, 1 << 51):
        with pytest.raises(ValueError, match="must be a multiple of 256"):
            running.extend(gpa, bytes(256))
    with pytest.raises(ValueError, match="measures 256 bytes, not 257"):
        running.extend(0, bytes(257))
    with pytest.raises(ValueError, match="a page has 4096 bytes"):
        running.add(0, b"")
    assert running.digest() == TdMeasurement().digest()


# ---------------------------------------------------------------- registers and reports


def test_rtmr() -> None:
    register = extend_rtmr(Digest("sha384", bytes(48)), bytes(48))
    assert register.value.hex() == (
        "f57bb7ed82c6ae4a29e6c9879338c592c7d42a39135583e8ccbe3940f2344b0eb6eb8503db0ffd6a39ddd00cd07d8317"
    )
    assert extend_rtmr(register, b"\1" * 48).value == hashlib.sha384(register.value + b"\1" * 48).digest()


@pytest.mark.parametrize(
    ("register", "value"),
    [
        (Digest("sha384", bytes(48)), bytes(47)),
        (Digest("sha384", bytes(32)), bytes(48)),
        (Digest("sha256", bytes(48)), bytes(48)),
    ],
)
def test_rtmr_refuses(register: Digest, value: bytes) -> None:
    with pytest.raises(ValueError, match="RTMRs have 48 bytes"):
        extend_rtmr(register, value)


def test_report_hashes_are_of_the_records() -> None:
    names = ("mrtd", "mrconfigid", "mrowner", "mrownerconfig", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "servtd_hash")
    values = {name: bytes([number + 1]) * 48 for number, name in enumerate(names)}
    info = TdInfo(attributes=b"\xa1" * 8, xfam=b"\xa2" * 8, **values)
    whole = b"\xa1" * 8 + b"\xa2" * 8 + b"".join(values.values()) + bytes(64)
    assert TdInfo.parse(whole) == info
    assert tee_info_hash(info) == hashlib.sha384(whole).digest()
    tcb = TeeTcbInfo(
        valid=0x1FF, tee_tcb_svn=b"\1" * 16, mrseam=b"\2" * 48, mrsignerseam=b"\3" * 48, attributes=b"\4" * 8,
        tee_tcb_svn2=b"\5" * 16,
    )  # fmt: skip
    whole = b"\xff\1" + bytes(6) + b"\1" * 16 + b"\2" * 48 + b"\3" * 48 + b"\4" * 8 + b"\5" * 16 + bytes(95)
    assert TeeTcbInfo.parse(whole) == tcb
    assert tee_tcb_info_hash(tcb) == hashlib.sha384(whole).digest()
