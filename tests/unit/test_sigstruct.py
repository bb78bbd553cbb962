"""SIGSTRUCT: fields, what is signed, extraction from an image, and every refusal."""

import hashlib
from datetime import date
from typing import Any

import pytest
from tests.forge.sigstruct import image_with, sigstruct

from cloister.errors import ParseError, SignatureInvalid, VerificationError
from cloister.evidence.sigstruct import Sigstruct, looks_like, of_image, parse
from cloister.verification.recipe import Allowances, CheckState
from cloister.verification.sigstruct import verify_sigstruct

GOOD = sigstruct()
DEBUG = sigstruct(debug=True)


def changed(offset: int, value: bytes) -> bytes:
    data = GOOD.serialize()
    return data[:offset] + value + data[offset + len(value) :]


def test_fields_and_round_trip() -> None:
    parsed = parse(GOOD.serialize())
    assert parsed == GOOD
    assert (parsed.isvprodid, parsed.isvsvn, parsed.signed_on) == (7, 3, date(2026, 6, 1))
    assert parsed.mrsigner == hashlib.sha256(parsed.modulus).digest()
    assert parsed.signed == GOOD.serialize()[:128] + GOOD.serialize()[900:1028]
    assert parsed.serialize() == GOOD.serialize()
    assert looks_like(GOOD.serialize())
    assert Sigstruct.OFFSETS["q2"] == 1424


REFUSED: dict[str, tuple[bytes, str]] = {
    "too short": (GOOD.serialize()[:-1], "exactly 1808"),
    "too long": (GOOD.serialize() + b"\0", "exactly 1808"),
    "another header": (changed(0, b"\7"), "header at byte 0"),
    "another second header": (changed(24, b"\2"), "header2 at byte 24"),
    "a reserved byte": (changed(60, b"\1"), "reserved_44"),
    "reserved bytes behind MISCMASK": (changed(908, b"\1"), "reserved_908"),
    "reserved bytes behind the hash": (changed(1007, b"\1"), "reserved_992"),
    "reserved bytes at the end of the body": (changed(1028, b"\1"), "reserved_1028"),
    "another exponent": (changed(512, b"\1\0\1\0"), "exponent"),
    "a date that is none": (changed(20, (0x20261301).to_bytes(4, "little")), "date at byte 20"),
    "a date that is not BCD": (changed(20, (0x2026060A).to_bytes(4, "little")), "date at byte 20"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    data, reason = REFUSED[case]
    with pytest.raises(ParseError) as caught:
        parse(data)
    assert reason in str(caught.value)


def test_verified() -> None:
    assert [check.state for check in verify_sigstruct(GOOD)] == [CheckState.PASSED] * 3


def test_debug_signed() -> None:
    with pytest.raises(VerificationError, match="debug-signed"):
        verify_sigstruct(DEBUG)
    checks = verify_sigstruct(DEBUG, allow=Allowances(unsafe_allow_debug=True))
    assert [check.state for check in checks] == [CheckState.UNCHECKED, CheckState.PASSED, CheckState.PASSED]


@pytest.mark.parametrize("name", ["q1", "q2"])
def test_quotients(name: str) -> None:
    changes: dict[str, Any] = {name: bytes(384)}
    with pytest.raises(SignatureInvalid, match="q1 or q2"):
        verify_sigstruct(sigstruct(**changes))


def test_of_image() -> None:
    assert of_image(image_with(GOOD.serialize())) == GOOD


IMAGES: dict[str, tuple[bytes, str]] = {
    "no ELF": (b"MZ" + bytes(100), "e_ident"),
    "32-bit ELF": (b"\x7fELF\x01\x01" + bytes(100), "e_ident"),
    "no section": (image_with(GOOD.serialize(), section=b".text"), "no .note.sgxmeta"),
    "another magic number": (image_with(GOOD.serialize(), magic=bytes(8)), "magic number"),
    "cut off": (image_with(GOOD.serialize())[:-10], "section header"),
    "no sections": (b"\x7fELF\x02\x01" + bytes(58), "e_shstrndx"),
    "no SIGSTRUCT in it": (image_with(bytes(1808)), "header2"),
}


@pytest.mark.parametrize("case", IMAGES)
def test_images_refused(case: str) -> None:
    image, reason = IMAGES[case]
    with pytest.raises(ParseError) as caught:
        of_image(image)
    assert reason in str(caught.value)
