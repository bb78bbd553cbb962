"""Attacks on the audit log.

The attacker owns the broker's host and every file on it; not the broker's key, nor the checkpoints kept elsewhere.
"""

import os
import shutil
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.forge.audit import KEY, MALLORY, every_event, make_log, release, releases, resigned, ticking

from cloister.broker.audit import (
    AuditLog,
    Checkpoint,
    Grade,
    LogReport,
    LogUnusable,
    read_entries,
    verify_log,
)
from cloister.broker.audit.entry import LONGEST_LINE
from cloister.broker.audit.segments import closed_segments, segment_path
from cloister.errors import SignatureInvalid, UsageError
from cloister.model import Unchecked

Lines = list[bytes]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


def verified(path: Path, *checkpoints: Checkpoint) -> LogReport:
    return verify_log(path, key=KEY.spki, checkpoints=checkpoints)


def lines_of(path: Path) -> Lines:
    return path.read_bytes().splitlines(keepends=True)


def put(path: Path, lines: Sequence[bytes]) -> None:
    path.write_bytes(b"".join(lines))


def changed(line: bytes, old: bytes, new: bytes) -> bytes:
    assert old in line
    return line.replace(old, new)


def test_the_control_an_honest_log_is_intact(path: Path) -> None:
    assert verified(path, make_log(path, every_event())).grade is Grade.INTACT


REWRITES: dict[str, Callable[[Lines], Lines]] = {
    "another secret": lambda x: [*x[:3], changed(x[3], b"db-password", b"db-passwurd"), *x[4:]],
    "another verdict": lambda x: [*x[:3], changed(x[3], b"affirming", b"contraindicated"), *x[4:]],
    "another measurement": lambda x: [*x[:3], changed(x[3], b"4d4d", b"4d4e"), *x[4:]],
    "another time": lambda x: [*x[:3], changed(x[3], b"T12:", b"T13:"), *x[4:]],
    "another number": lambda x: [*x[:3], changed(x[3], b'"sequence":4', b'"sequence":5'), *x[4:]],
    "one dropped": lambda x: [*x[:3], *x[4:]],
    "two swapped": lambda x: [*x[:3], x[4], x[3], *x[5:]],
    "one repeated": lambda x: [*x[:4], x[3], *x[4:]],
    "one repeated at the end": lambda x: [*x, x[-1]],
    "the first dropped and renumbered": lambda x: [changed(x[1], b'"sequence":2', b'"sequence":1'), *x[2:]],
    "the first twice": lambda x: [x[0], *x],
    "the signature of another entry": lambda x: [*x[:3], with_signature_of(x[3], x[4]), *x[4:]],
    "all reversed": lambda x: x[::-1],
}


def with_signature_of(line: bytes, other: bytes) -> bytes:
    def signature(one: bytes) -> bytes:
        return one.split(b'"signature":"')[1][:128]

    return line.replace(signature(line), signature(other))


@pytest.mark.parametrize("name", REWRITES)
def test_rewriting_is_forgery(path: Path, name: str) -> None:
    """With and without a checkpoint, and whatever the checkpoint is of."""
    checkpoint = make_log(path, releases(8))
    put(path, REWRITES[name](lines_of(path)))
    assert verified(path, checkpoint).grade is Grade.FORGED
    assert verified(path).grade is Grade.FORGED
    if b'"sequence":1,' in lines_of(path)[0]:  # else a key is asked for
        assert verify_log(path, key=Unchecked("none")).grade is Grade.FORGED


def test_entries_of_the_attacker_s_own(path: Path) -> None:
    """He continues, replaces the end of, or inserts into the chain: correct but for the key."""
    checkpoint = make_log(path, releases(4))
    honest, mine = lines_of(path), resigned(list(read_entries(path)), MALLORY)
    for forged in ([*honest[:3], *mine[3:]], [*honest[:3], mine[3], *honest[4:]], [*mine[:1], *honest[1:]]):
        put(path, forged)
        assert verified(path, checkpoint).grade is Grade.FORGED


def test_a_log_signed_again_throughout(path: Path) -> None:
    """Its first entry still names the honest key, as the honest log's did: forged. Naming his own key: another's."""
    make_log(path, releases(4))
    put(path, resigned(list(read_entries(path)), MALLORY))
    assert verified(path).grade is Grade.FORGED
    path.unlink()
    make_log(path, releases(4), key=MALLORY)
    assert verified(path).grade is Grade.OTHER_BROKER


def test_another_broker_s_log_and_checkpoint(path: Path) -> None:
    theirs = make_log(path, releases(4), key=MALLORY)
    assert verify_log(path, key=Unchecked("none")).grade is Grade.UNDECIDED, "without a key nothing shows"
    with pytest.raises(SignatureInvalid):
        verified(path, theirs)
    assert verify_log(path, key=Unchecked("none"), checkpoints=[theirs]).grade is Grade.INTACT, "the control"


def test_a_checkpoint_of_the_attacker_s_beside_an_honest_one(path: Path) -> None:
    honest = make_log(path, releases(2))
    path.unlink()
    theirs = make_log(path, releases(2), key=MALLORY)
    with pytest.raises(UsageError, match="different brokers"):
        verify_log(path, key=Unchecked("none"), checkpoints=[honest, theirs])


def test_a_log_named_for_the_honest_key_but_signed_by_another_inside(path: Path) -> None:
    """A checkpoint's `key` member is no part of what is signed; a key that did not sign it is noticed."""
    checkpoint = make_log(path, releases(2))
    lying = Checkpoint(seal=checkpoint.seal, key=MALLORY.spki)
    with pytest.raises(SignatureInvalid):
        verify_log(path, key=Unchecked("none"), checkpoints=[lying])


@pytest.mark.parametrize("left", range(9))
def test_truncation_shows_against_a_checkpoint(path: Path, left: int) -> None:
    checkpoint = make_log(path, releases(8))
    put(path, lines_of(path)[:left])
    assert verified(path, checkpoint).grade is (Grade.RECENT_MISSING)
    assert verified(path).grade is Grade.UNDECIDED, "the control: without a checkpoint it cannot show"


@pytest.mark.parametrize("torn", [1, 100, -1])
def test_truncation_inside_the_confirmed_last_line(path: Path, torn: int) -> None:
    checkpoint = make_log(path, releases(3))
    *kept, last = lines_of(path)
    put(path, [*kept, last[:torn]])
    report = verified(path, checkpoint)
    assert (report.grade, report.torn) == (Grade.RECENT_MISSING, len(last[:torn]))


def test_roll_back_and_go_on(path: Path) -> None:
    """An older copy is put back and the honest broker goes on from there: the checkpoint saw another future."""
    early = make_log(path, releases(3))
    old = path.read_bytes()
    late = make_log(path, releases(3, 4))
    path.write_bytes(old)
    make_log(path, releases(9, 50))
    assert verified(path, late).grade is Grade.ROLLED_BACK
    assert verified(path, early, late).grade is Grade.ROLLED_BACK
    assert verified(path, early).grade is Grade.INTACT, "the control: a checkpoint from before cannot tell"


def test_a_log_begun_anew(path: Path) -> None:
    checkpoint = make_log(path, releases(3))
    path.unlink()
    make_log(path, releases(3))
    assert verified(path, checkpoint).grade is Grade.ROLLED_BACK
    assert verified(path).grade is Grade.UNDECIDED


def test_two_histories_shown_to_two_owners(path: Path, tmp_path: Path) -> None:
    """Each owner's checkpoint is honest; together they show the fork, whichever log is looked at."""
    make_log(path, releases(2))
    other = tmp_path / "other.log"
    shutil.copy(path, other)
    checkpoints = make_log(path, releases(2)), make_log(other, releases(2, 9))
    for log, own in zip((path, other), checkpoints, strict=True):
        assert verified(log, own).grade is Grade.INTACT
        assert verified(log, *checkpoints).grade is Grade.ROLLED_BACK


def test_two_histories_spliced(path: Path, tmp_path: Path) -> None:
    """Every line is the broker's own, and the numbers fit: only what each says of the one before does not."""
    make_log(path, releases(2))
    other = tmp_path / "other.log"
    shutil.copy(path, other)
    make_log(path, releases(2, 3))
    late = make_log(other, releases(3, 50))
    put(path, [*lines_of(path)[:4], *lines_of(other)[4:]])
    assert verified(path).grade is Grade.FORGED
    assert verified(path, late).grade is Grade.FORGED


def test_a_checkpoint_of_the_entry_before_the_first_one_here(path: Path) -> None:
    """What the first entry says of the one before is compared, though that one is not here."""
    before = make_log(path, releases(2))
    path.rename(segment_path(path, 1))
    make_log(path, releases(2))
    segment_path(path, 1).unlink()
    assert verified(path, before).grade is Grade.OLDER_MISSING
    path.unlink()
    make_log(path, releases(9))
    put(path, lines_of(path)[3:])
    assert verified(path, before).grade is Grade.ROLLED_BACK


def segmented(path: Path) -> Checkpoint:
    checkpoint = make_log(path, releases(20), segment_bytes=4000)
    assert len(closed_segments(path)) >= 4
    return checkpoint


def test_a_segment_taken_out(path: Path) -> None:
    checkpoint = segmented(path)
    closed_segments(path)[2][1].unlink()
    assert verified(path, checkpoint).grade is Grade.GAP


def test_the_first_lines_of_the_active_segment_taken_out(path: Path) -> None:
    """It bears no number, so a file that was cut at its beginning looks as if a segment were missing before it."""
    checkpoint = make_log(path, releases(4))
    path.rename(segment_path(path, 1))
    make_log(path, releases(4))
    put(path, lines_of(path)[2:])
    report = verified(path, checkpoint)
    assert (report.grade, report.reason) == (Grade.GAP, "entries 6 to 7 are missing")
    with pytest.raises(LogUnusable, match="taken out"):
        AuditLog.open(path, KEY, ticking())


def test_the_oldest_segments_taken_away(path: Path) -> None:
    checkpoint = segmented(path)
    for _, one in closed_segments(path)[:2]:
        one.unlink()
    report = verified(path, checkpoint)
    assert report.grade is Grade.OLDER_MISSING
    assert report.first
    assert report.first.sequence > 1
    with pytest.raises(UsageError, match="needs the broker's key"):
        verify_log(path, key=Unchecked("none"))


def test_the_newest_segments_taken_away(path: Path) -> None:
    checkpoint = segmented(path)
    path.unlink()
    closed_segments(path)[-1][1].unlink()
    assert verified(path, checkpoint).grade is Grade.RECENT_MISSING


def test_segments_exchanged_or_renamed(path: Path) -> None:
    checkpoint = segmented(path)
    (_, first), (_, second), (number, third), *_ = closed_segments(path)
    contents = first.read_bytes(), second.read_bytes()
    second.write_bytes(contents[0])
    first.write_bytes(contents[1])
    assert verified(path, checkpoint).grade is Grade.FORGED
    first.write_bytes(contents[0])
    second.write_bytes(contents[1])
    assert verified(path, checkpoint).grade is Grade.INTACT
    third.rename(segment_path(path, number + 1))
    assert verified(path, checkpoint).grade is Grade.FORGED


@pytest.mark.parametrize("content", [b"", b"x", b"\n"])
def test_closed_segments_that_are_none(path: Path, content: bytes) -> None:
    checkpoint = segmented(path)
    closed_segments(path)[1][1].write_bytes(content)
    assert verified(path, checkpoint).grade is Grade.MALFORMED


def test_a_closed_segment_cut_inside_a_line(path: Path) -> None:
    checkpoint = segmented(path)
    one = closed_segments(path)[1][1]
    one.write_bytes(one.read_bytes()[:-1])
    assert verified(path, checkpoint).grade is Grade.MALFORMED


@pytest.mark.parametrize(
    "content",
    [b"\n", b"\n\n", b"null\n", b"[]\n", b"\x00\n", b"{}\n", b"\xff\xfe\n"],
    ids=lambda content: content.hex(),
)
def test_lines_that_are_none(path: Path, content: bytes) -> None:
    checkpoint = make_log(path, releases(2))
    lines = lines_of(path)
    for at in range(len(lines) + 1):
        put(path, [*lines[:at], content, *lines[at:]])
        assert verified(path, checkpoint).grade is Grade.MALFORMED


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_huge_line_is_refused_in_bounded_memory(path: Path, end: bytes) -> None:
    """A gigabyte without a line feed, which a sparse file makes cheap."""
    checkpoint = make_log(path, releases(2))
    with path.open("ab") as file:
        file.truncate(1 << 30)
        file.seek(0, os.SEEK_END)
        file.write(end)
    tracemalloc.start()
    report = verified(path, checkpoint)
    assert (report.grade, report.entries) == (Grade.MALFORMED, 3)
    with pytest.raises(LogUnusable, match="longer than any entry"):
        AuditLog.open(path, KEY, ticking())
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 << 20


def test_a_forged_end_of_the_last_closed_segment_is_not_continued(path: Path) -> None:
    make_log(path, releases(4))
    put(segment_path(path, 1), resigned(list(read_entries(path)), MALLORY))
    path.write_bytes(b"")
    with pytest.raises(LogUnusable, match="signature of entry 5"):
        AuditLog.open(path, KEY, ticking())


def test_a_forged_log_is_not_continued(path: Path) -> None:
    make_log(path, releases(4))
    put(path, REWRITES["another secret"](lines_of(path)))
    before = path.read_bytes()
    with pytest.raises(LogUnusable, match="not continued"):
        AuditLog.open(path, KEY, ticking())
    assert path.read_bytes() == before, "evidence is left as it was"


def test_no_secret_s_bytes_are_in_the_log(path: Path) -> None:
    """What a broker has in hand when it records a release is not in the files, in any of the usual forms."""
    value = "correct-horse-battery-staple"
    with AuditLog.open(path, KEY, ticking()) as log:
        log.append(release(name="passphrase"))
        with pytest.raises(TypeError):
            release(name="passphrase", value=value)  # type: ignore[call-arg]
    content = b"".join(one.read_bytes() for one in path.parent.iterdir())
    assert b"passphrase" in content
    assert KEY.to_pem().splitlines()[1] not in content
    assert value.encode() not in content


def test_longest_line_is_longer_than_any_entry_that_can_be_appended(path: Path) -> None:
    make_log(path, every_event())
    assert max(map(len, lines_of(path))) < LONGEST_LINE
