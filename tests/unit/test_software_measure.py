"""cloister.measure.software: manifests, their forms, and what differs between two."""

import hashlib
import struct

import pytest

from cloister.errors import ParseError, UsageError
from cloister.evidence.software import libraries_digest
from cloister.measure.software import (
    Change,
    Manifest,
    SoftwareMeasurement,
    difference,
    read_measurement,
    write_measurement,
)

ONE, TWO = b"\1" * 32, b"\2" * 32
MEASURED = SoftwareMeasurement(
    program="/bin/app", executable=ONE, manifest=Manifest({"/lib/b.so": TWO, "/lib/a.so": ONE}, frozenset({"/srv"}))
)


def test_the_encoding_byte_by_byte() -> None:
    manifest = Manifest({"/bb": ONE, "/c": TWO}, frozenset({"/d"}))
    assert manifest.serialize() == b"".join([
        struct.pack("<II", 0, 3),
        struct.pack("<I", 2), b"/c", TWO,
        struct.pack("<I", 3), b"/bb", ONE,
        struct.pack("<I", 3), b"/d/", bytes(32),
    ])  # fmt: skip
    cbor = b"\xa3" + b"\x62/c\x58\x20" + TWO + b"\x63/bb\x58\x20" + ONE + b"\x63/d/\x58\x20" + bytes(32)
    assert manifest.digest == hashlib.sha256(cbor).digest()


def test_the_measurement_is_of_the_program_and_its_manifest() -> None:
    assert MEASURED.measurement == hashlib.sha256(ONE + MEASURED.manifest.digest).digest()
    empty = SoftwareMeasurement(program="/bin/app", executable=ONE)
    assert empty.libraries == hashlib.sha256(b"\xa0").digest()


def test_the_programs_path_is_not_measured() -> None:
    moved = SoftwareMeasurement(program="/opt/app", executable=ONE, manifest=MEASURED.manifest)
    assert moved.measurement == MEASURED.measurement
    assert difference(MEASURED, moved) == []


def test_each_component_is_named() -> None:
    other = SoftwareMeasurement(
        program="/bin/app", executable=TWO, manifest=Manifest({"/lib/a.so": TWO, "/lib/c.so": ONE})
    )
    assert difference(MEASURED, other) == [
        Change(component="executable", before=ONE, after=TWO),
        Change(component="/srv/", before=bytes(32), after=None),
        Change(component="/lib/a.so", before=ONE, after=TWO),
        Change(component="/lib/b.so", before=TWO, after=None),
        Change(component="/lib/c.so", before=None, after=ONE),
    ]


def test_a_start_without_evidence_lists_the_program_too() -> None:
    assert MEASURED.started().files == {"/bin/app": ONE, "/lib/a.so": ONE, "/lib/b.so": TWO}
    assert MEASURED.started().closed == {"/srv"}


@pytest.mark.parametrize("path", ["", "lib", "/a/../b", "/a//b", "/a/.", "/a/", "/a\0", "/\udcff", "/" + "x" * 5000])
def test_paths_that_the_runtime_would_not_take(path: str) -> None:
    with pytest.raises(UsageError):
        Manifest({path: ONE})
    with pytest.raises(UsageError):
        Manifest({}, frozenset({path}))


@pytest.mark.parametrize("digest", [b"", b"\1" * 31, b"\1" * 33, bytes(32)])
def test_digests_that_are_none(digest: bytes) -> None:
    with pytest.raises(UsageError):
        Manifest({"/a": digest})


def test_the_root_is_no_file() -> None:
    with pytest.raises(UsageError):
        Manifest({"/": ONE})
    assert Manifest({}, frozenset({"/"})).entries == {"/": bytes(32)}


def test_the_program_is_not_among_its_files() -> None:
    with pytest.raises(UsageError, match="itself"):
        SoftwareMeasurement(program="/bin/app", executable=ONE, manifest=Manifest({"/bin/app": ONE}))


def test_the_text_explains_itself() -> None:
    text = write_measurement(MEASURED, {"/lib/a.so": "code"})
    assert f"# software:measurement={MEASURED.measurement.hex()}" in text
    assert 'closed = ["/srv"]' in text
    assert f'# code\n"/lib/a.so" = "{ONE.hex()}"' in text
    assert read_measurement(text, "m.toml") == MEASURED


DIGITS = ONE.hex()
WRONG = {
    "not TOML": ("program = ", "not TOML"),
    "no program": (f'sha256 = "{DIGITS}"\n[files]\n', "program"),
    "no digest": ('program = "/a"\n', "sha256"),
    "an unknown key": (f'program = "/a"\nsha256 = "{DIGITS}"\nfile = 1\n', "'file' is not understood"),
    "a short digest": (f'program = "/a"\nsha256 = "{DIGITS}"\n[files]\n"/b" = "12"\n', "/b"),
    "upper case": (f'program = "/a"\nsha256 = "{"AB" * 32}"\n', "sha256"),
    "a number": (f'program = "/a"\nsha256 = "{DIGITS}"\n[files]\n"/b" = 12\n', "/b"),
    "a relative path": (f'program = "/a"\nsha256 = "{DIGITS}"\n[files]\n"b" = "{DIGITS}"\n', "'b'"),
    "closed is no list": (f'program = "/a"\nsha256 = "{DIGITS}"\nclosed = "/b"\n', "closed"),
    "closed holds a number": (f'program = "/a"\nsha256 = "{DIGITS}"\nclosed = [1]\n', "closed"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_texts_are_named(what: str) -> None:
    text, named = WRONG[what]
    with pytest.raises(UsageError, match=r"^m\.toml: ") as caught:
        read_measurement(text, "m.toml")
    assert named in str(caught.value)


def test_what_is_no_manifest_is_not_read() -> None:
    data = MEASURED.manifest.serialize()
    for wrong in (b"", data[:-1], data + b"\0", b"\1" + data[1:], data[:4] + b"\xff" * 4 + data[8:]):
        with pytest.raises(ParseError):
            Manifest.parse(wrong)
    with pytest.raises(ParseError):
        Manifest.parse(bytes((8 << 20) + 1))


def test_the_broker_is_part_of_the_measurement() -> None:
    without = Manifest({"/lib/a.so": ONE})
    named = Manifest({"/lib/a.so": ONE}, broker=TWO)
    assert named.digest == libraries_digest({"broker": TWO, "/lib/a.so": ONE}) != without.digest
    assert Manifest.parse(named.serialize()) == named
    measured = SoftwareMeasurement(program="/bin/app", executable=ONE, manifest=named)
    assert read_measurement(write_measurement(measured), "x") == measured
    assert measured.started().broker == TWO
    before = SoftwareMeasurement(program="/bin/app", executable=ONE, manifest=without)
    assert [one.component for one in difference(before, measured)] == ["broker"]


@pytest.mark.parametrize("key", [b"x", bytes(31), bytes(33)])
def test_a_broker_has_a_key_of_32_bytes(key: bytes) -> None:
    with pytest.raises(UsageError, match="broker"):
        Manifest({}, broker=key)
