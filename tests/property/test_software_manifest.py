"""The manifest: what is written is read again, in Python and in the runtime's C, and both agree on its digest."""

import contextlib
import functools
import os
import posixpath
import string
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.runtime_pieces.pieces_unsafe import RUNTIME, sanitized

from cloister.errors import ParseError, UsageError
from cloister.evidence.software import libraries_digest
from cloister.measure.software import (
    Manifest,
    SoftwareMeasurement,
    difference,
    read_measurement,
    write_measurement,
)

TEXT = RUNTIME / "src" / "text.c"
parts = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda part: part not in {".", ".."}
)
paths = st.lists(parts, min_size=1, max_size=3).map(lambda found: "/" + "/".join(found))
digests = st.integers(1, 2**256 - 1).map(lambda value: value.to_bytes(32, "big"))
manifests = st.builds(
    Manifest, st.dictionaries(paths, digests, max_size=6), st.frozensets(st.one_of(paths, st.just("/")), max_size=3)
)
measurements = st.builds(SoftwareMeasurement, program=st.just("/the program"), executable=digests, manifest=manifests)


@functools.cache
def reader() -> Path:
    return sanitized("manifest_reader", ["manifest.c", "region.c", "normalise.c", "sha2.c", "state.c", "text.c"])


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    """Before any example: what does not compile is no example to be made smaller."""
    reader()
    normaliser()


def read_by_runtime(data: bytes, *asked: str) -> list[str]:
    done = subprocess.run([reader(), *asked], input=data, capture_output=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().split()


@settings(max_examples=40)
@given(manifests)
def test_what_is_written_is_read(manifest: Manifest) -> None:
    assert Manifest.parse(manifest.serialize()) == manifest
    assert manifest.digest == libraries_digest(manifest.entries)


@settings(max_examples=25)
@given(manifests)
def test_the_runtime_reads_the_same(manifest: Manifest) -> None:
    asked = [*manifest.files, *(f"{path.removesuffix('/')}/new" for path in manifest.closed)]
    digest, *found = read_by_runtime(manifest.serialize(), *asked)
    assert digest == manifest.digest.hex()
    assert found == ["listed"] * len(manifest.files) + ["closed"] * len(manifest.closed)


@pytest.mark.parametrize("count", [0, 23, 24, 255, 256, 300])
def test_both_agree_on_the_digest_of_long_lists(count: int) -> None:
    manifest = Manifest({f"/{'x' * (i % 299 + 1)}/{i}": i.to_bytes(32, "big") for i in range(1, count + 1)})
    assert read_by_runtime(manifest.serialize())[0] == manifest.digest.hex()


plain = st.lists(st.text(string.ascii_letters, min_size=1, max_size=6), min_size=1, max_size=3).map(
    lambda p: "/" + "/".join(p)
)
plain_digests = st.integers(1, 127).map(lambda value: bytes([value]) * 32)
plain_manifests = st.builds(
    Manifest, st.dictionaries(plain, plain_digests, max_size=8), st.frozensets(plain, max_size=2)
)


@settings(max_examples=40)
@given(plain_manifests, st.data())
def test_damage_is_seen_by_both_or_by_neither(manifest: Manifest, data: st.DataObject) -> None:
    """The runtime takes paths that are not UTF-8, which no manifest of ours has: those are not drawn here."""
    encoded = bytearray(manifest.serialize())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(encoded) - 1))
        encoded[at] = data.draw(st.sampled_from([0, 1, 0x2E, 0x2F, encoded[at] ^ 1 & 0x7F]))
    cut = bytes(encoded[: data.draw(st.sampled_from([len(encoded), len(encoded) - 1, 9]))])
    [verdict, *_] = read_by_runtime(cut)
    ours = "bad"
    with contextlib.suppress(ParseError):
        ours = Manifest.parse(cut).digest.hex()
    assert verdict == ours


@settings(max_examples=40)
@given(measurements)
def test_text_keeps_the_measurement(measured: SoftwareMeasurement) -> None:
    notes = dict.fromkeys(measured.manifest.files, 'a note\n[files]\n"/x" = ""')
    assert read_measurement(write_measurement(measured, notes), "manifest.toml") == measured


@settings(max_examples=40)
@given(measurements, measurements)
def test_difference_is_empty_only_for_equal_measurements(one: SoftwareMeasurement, two: SoftwareMeasurement) -> None:
    assert (not difference(one, two)) == (one.measurement == two.measurement)
    assert {(c.component, c.after, c.before) for c in difference(one, two)} == {
        (c.component, c.before, c.after) for c in difference(two, one)
    }


@given(st.text(max_size=60))
def test_any_other_text_is_refused_with_the_files_name(text: str) -> None:
    with pytest.raises(UsageError, match=r"^m\.toml: "):
        read_measurement(text, "m.toml")


# ---- normalising


@functools.cache
def normaliser() -> Path:
    return sanitized("normaliser", ["normalise.c", "text.c", "state.c"])


def normalised(*given_paths: str, size: int = 4096, cwd: str = "/") -> list[str]:
    command: list[str | Path] = [normaliser(), str(size), *given_paths]
    done = subprocess.run(command, capture_output=True, check=False, timeout=30, cwd=cwd)
    assert done.returncode == 0, done.stderr.decode()
    return os.fsdecode(done.stdout).split("\n")[:-1]


pieces_of_paths = st.lists(
    st.one_of(st.sampled_from(["", ".", "..", "...", "a", ".b"]), st.text(string.ascii_letters + "._-", max_size=8)),
    min_size=1, max_size=8,
).map("/".join)  # fmt: skip


@settings(max_examples=25)
@given(st.lists(pieces_of_paths.filter(bool), min_size=1, max_size=20), st.booleans())
def test_paths_are_normalised_as_python_does_it(some: list[str], absolute: bool) -> None:  # noqa: FBT001
    asked = [f"/{path}" if absolute else path for path in some]
    expected = [posixpath.normpath("/usr/lib/" + path if path[0] != "/" else "/" + path.lstrip("/")) for path in asked]
    assert normalised(*asked, cwd="/usr/lib") == expected


@settings(max_examples=25)
@given(pieces_of_paths.filter(bool), st.integers(2, 40))
def test_what_does_not_fit_is_refused(path: str, size: int) -> None:
    """A component that goes away again still needs its room. At the root, the working directory needs two bytes."""
    [found] = normalised(path, size=size)
    assert found == "-" or (len(found) < size and found == posixpath.normpath("/" + path.lstrip("/")))
    if len(path) + 2 < size:
        assert found != "-"
