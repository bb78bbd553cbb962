"""Audit logs: any event survives being written; any changed byte is found; any bytes are graded, never crashed on."""

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.forge.audit import KEY, every_event, make_log, release, releases

from cloister.appraise.vector import Tier
from cloister.broker.audit import (
    Change,
    Checkpoint,
    Event,
    Evidence,
    Grade,
    KeyChange,
    KeyEncryptionChanged,
    LogReport,
    Released,
    ReleaseDenied,
    ReleaseUnattested,
    ReleaseUndecided,
    SecretChanged,
    SecretName,
    SessionChanged,
    SessionName,
    parse_checkpoint,
    segments,
    verify_log,
)
from cloister.broker.audit.entry import LONGEST_LINE, parse_entry, sign_entry
from cloister.errors import ParseError, SignatureInvalid, UsageError
from cloister.model import Digest, Measurement, MeasurementKind, Tee, Unchecked

texts = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="\x7f"), min_size=1, max_size=20
)
digests = st.binary(min_size=32, max_size=32)
unchecked = st.builds(Unchecked, texts)
codes = st.from_regex(r"[a-z0-9]{1,5}(-[a-z0-9]{1,5}){0,3}", fullmatch=True)


def several(one: st.SearchStrategy[Any], least: int = 0) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(one, min_size=least, max_size=3).map(tuple)


hashes = st.builds(Digest, st.sampled_from(["sha256", "sha384", "sha3_512"]), st.binary(min_size=1, max_size=64))
measurements = st.builds(Measurement, texts, st.sampled_from(MeasurementKind), hashes)
evidence = st.builds(
    Evidence, name=texts, tee=st.sampled_from(Tee) | unchecked, sha256=digests | unchecked,
    measurements=several(measurements), verdict=st.sampled_from(Tier),
)  # fmt: skip
sessions = st.builds(SessionName, name=texts, version=texts, sha256=digests)
secret_names = st.builds(SecretName, name=texts, version=st.integers(1, (1 << 53) - 1))
refusals = {
    "request": texts, "session": sessions | unchecked, "secrets": several(texts), "code": codes, "reason": texts,
    "evidence": several(evidence) | unchecked, "result": digests | unchecked,
}  # fmt: skip
changes = {"request": texts, "session": sessions, "change": st.sampled_from(Change), "by": several(digests)}
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        Released, request=texts, session=sessions, secrets=several(secret_names, 1), evidence=several(evidence, 1),
        result=digests, recipient=digests,
    ),
    *(st.builds(kind, **refusals) for kind in (ReleaseDenied, ReleaseUnattested, ReleaseUndecided)),
    st.builds(SessionChanged, predecessor=digests | unchecked, **changes),
    st.builds(SecretChanged, secret=secret_names, **changes),
    st.builds(
        KeyEncryptionChanged, request=texts, change=st.sampled_from(KeyChange), before=texts, after=texts,
        keys=st.integers(0, (1 << 53) - 1),
    ),
)  # fmt: skip
times = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - zone beside


@given(event=events, sequence=st.integers(1, (1 << 53) - 1), time=times, previous=digests)
def test_any_entry_survives_being_written(event: Event, sequence: int, time: datetime, previous: bytes) -> None:
    made = sign_entry(event, sequence=sequence, time=time, previous=previous, key=KEY)
    read = parse_entry(made.line())
    assert read == made
    assert read.line() == made.line()
    assert b"\n" not in made.line()
    read.seal.verify(KEY.spki)
    checkpoint = Checkpoint.of(read, KEY.spki)
    assert parse_checkpoint(checkpoint.serialize()) == checkpoint


@pytest.fixture(scope="module", autouse=True)
def no_waiting() -> Iterator[None]:
    """No log here is being written: an unfinished line stays so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "WAIT", 0)
        yield


@pytest.fixture(scope="module")
def honest() -> Iterator[tuple[Path, Checkpoint, list[tuple[Path, bytes]]]]:
    """A log of several segments, its checkpoint, and its files."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "audit.log"
        checkpoint = make_log(path, [*every_event(), *releases(5)], segment_bytes=3500)
        files = [(one, one.read_bytes()) for _, one in segments.closed_segments(path)]
        yield path, checkpoint, [*files, (path, path.read_bytes())]


Honest = tuple[Path, Checkpoint, list[tuple[Path, bytes]]]


def graded(honest: Honest, which: Path, content: bytes) -> LogReport:
    """The report when one file of the log has another content."""
    path, checkpoint, files = honest
    before = dict(files)[which]
    which.write_bytes(content)
    try:
        return verify_log(path, key=KEY.spki, checkpoints=[checkpoint])
    finally:
        which.write_bytes(before)


def test_the_control_it_is_intact(honest: Honest) -> None:
    assert len(honest[2]) >= 3
    for which, content in honest[2]:
        assert graded(honest, which, content).grade is Grade.INTACT


@pytest.mark.slow
def test_every_byte_matters(tmp_path: Path) -> None:
    """Each byte of a log, closed segment and active one, one bit of it flipped."""
    path = tmp_path / "audit.log"
    checkpoint = make_log(path, [release(), release(2)], segment_bytes=1000)
    files = [(one, one.read_bytes()) for one in (segments.segment_path(path, 1), path)]
    assert all(content for _, content in files)
    log: Honest = path, checkpoint, files
    for which, content in files:
        for at in range(len(content)):
            changed = bytearray(content)
            changed[at] ^= 1 << at % 8
            report = graded(log, which, bytes(changed))
            assert report.grade in {Grade.FORGED, Grade.MALFORMED, Grade.RECENT_MISSING}, (which, at)


@settings(max_examples=400)
@given(data=st.data())
def test_any_edit_is_found(honest: Honest, data: st.DataObject) -> None:
    """Bytes replaced, put in or taken out, anywhere: never intact."""
    which, content = data.draw(st.sampled_from(honest[2]))
    at = data.draw(st.integers(0, len(content)))
    size = data.draw(st.integers(0, min(len(content) - at, 2000)))
    new = data.draw(st.binary(max_size=4) | st.sampled_from(content.splitlines(keepends=True)))
    edited = content[:at] + new + content[at + size :]
    if edited != content:
        assert graded(honest, which, edited).grade is not Grade.INTACT


@settings(max_examples=100)
@given(order=st.data())
def test_lines_in_any_other_order_or_number_are_found(honest: Honest, order: st.DataObject) -> None:
    path, checkpoint, files = honest
    lines = [line for _, content in files for line in content.splitlines(keepends=True)]
    chosen = order.draw(st.lists(st.integers(0, len(lines) - 1), max_size=len(lines) + 3))
    with tempfile.TemporaryDirectory() as name:
        other = Path(name) / path.name
        other.write_bytes(b"".join(lines[one] for one in chosen))
        report = verify_log(other, key=KEY.spki, checkpoints=[checkpoint])
        assert (report.grade is Grade.INTACT) is (chosen == list(range(len(lines))))
        shutil.rmtree(name)
        Path(name).mkdir()


PIECES = st.sampled_from([b"\n", b"{", b"}", b'"', b'{"event":{}}\n', b"[" * 100_000, b"1" * 5000, b"x" * LONGEST_LINE])


@settings(max_examples=200)
@given(content=st.binary(max_size=60) | st.lists(PIECES | st.binary(max_size=5), max_size=6).map(b"".join))
@example(content=b"")
def test_any_bytes_are_graded(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / f"any-{next(NUMBERS)}.log"
    path.write_bytes(content)
    report = verify_log(path, key=KEY.spki)
    path.unlink()
    assert report.grade in {Grade.MALFORMED, Grade.UNDECIDED}
    assert report.entries == 0


NUMBERS = itertools.count()


@given(data=st.data())
def test_no_changed_checkpoint_is_believed(honest: Honest, data: st.DataObject) -> None:
    path, checkpoint, _ = honest
    good = checkpoint.serialize().rstrip(b"\n")
    at = data.draw(st.integers(0, len(good) - 1))
    changed = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    try:
        other = parse_checkpoint(changed)
    except ParseError:
        return
    with pytest.raises((SignatureInvalid, UsageError)):
        verify_log(path, key=Unchecked("the checkpoint's"), checkpoints=[other])
