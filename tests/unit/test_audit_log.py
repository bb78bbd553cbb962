"""The audit log as the broker writes it: order, segments, one writer, what failed and interrupted writes leave."""

import dataclasses
import errno
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.forge.audit import CPU, KEY, LAUNCH, MALLORY, START, every_event, make_log, release, releases, ticking

from cloister.broker.audit import (
    AuditLog,
    Grade,
    LogBusy,
    LogStarted,
    LogUnusable,
    Released,
    TornTail,
    read_entries,
    verify_log,
)
from cloister.broker.audit.entry import Entry
from cloister.broker.audit.opening import torn_path
from cloister.broker.audit.segments import closed_segments, segment_path
from cloister.errors import Undecided, UsageError
from cloister.model import Unchecked
from cloister.result.signing import SigningKey


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


def reopened(path: Path) -> AuditLog:
    return AuditLog.open(path, KEY, ticking())


def test_what_is_appended_can_be_read(path: Path) -> None:
    make_log(path, every_event())
    first, *others = read_entries(path)
    assert isinstance(first.event, LogStarted)
    assert first.event.key == KEY.spki
    assert tuple(entry.event for entry in others) == every_event()
    assert [entry.sequence for entry in (first, *others)] == list(range(1, len(every_event()) + 2))


def test_append_returns_the_entry_that_was_written(path: Path) -> None:
    with reopened(path) as log:
        made = [log.append(release(1)), *log.append_all(releases(3, 2)), *log.append_all([])]
        assert log.checkpoint().seal == made[-1].seal
        assert list(log.entries())[1:] == made
        assert log.verify(log.checkpoint()).grade is Grade.INTACT


def test_a_log_goes_on_where_it_was_left(path: Path) -> None:
    checkpoints = [make_log(path, releases(2)) for _ in range(3)]
    report = verify_log(path, key=KEY.spki, checkpoints=checkpoints)
    assert (report.grade, report.entries) == (Grade.INTACT, 7)


def test_only_the_owner_can_read_it(path: Path) -> None:
    make_log(path, releases(20), segment_bytes=2000)
    assert {stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()} == {0o600}


@pytest.mark.parametrize("threads", [2, 16])
def test_many_threads_make_one_chain(path: Path, threads: int) -> None:
    made: list[Entry] = []
    with reopened(path) as log:
        workers = [
            threading.Thread(target=lambda: made.extend(log.append(release(n)) for n in range(50)))
            for _ in range(threads)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        report = log.verify(log.checkpoint())
    assert (report.grade, report.entries) == (Grade.INTACT, 50 * threads + 1)
    assert {entry.hash for entry in made} == {entry.hash for entry in read_entries(path) if entry.sequence > 1}


def test_waiting_threads_share_one_wait_for_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the first one waits for the disk, nine others come; together they wait once."""
    come, go, synced, real = threading.Event(), threading.Event(), [], os.fdatasync

    def slow(descriptor: int) -> None:
        come.set()
        go.wait(20)
        synced.append(descriptor)
        real(descriptor)

    with reopened(path) as log:
        monkeypatch.setattr(os, "fdatasync", slow)
        workers = [threading.Thread(target=log.append, args=(release(n),)) for n in range(10)]
        workers[0].start()
        assert come.wait(20)
        for worker in workers[1:]:
            worker.start()
        while len(log._waiting) < 9:
            assert log.checkpoint().seal.sequence == 1, "nobody was told yet"
        go.set()
        for worker in workers:
            worker.join()
        assert log.checkpoint().seal.sequence == 11
    assert len(synced) == 2


def test_nothing_is_confirmed_before_the_disk_has_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with reopened(path) as log:
        before = log.checkpoint()
        monkeypatch.setattr(os, "fdatasync", refusing(errno.EIO))
        with pytest.raises(LogUnusable, match="Input/output error"):
            log.append(release())
        assert log.checkpoint() == before
        monkeypatch.undo()
        with pytest.raises(LogUnusable, match="Input/output error"):  # nobody knows what the disk has now
            log.append(release())
    make_log(path, releases(1))


def test_what_cannot_be_recorded_is_undecided_not_denied() -> None:
    assert issubclass(LogUnusable, Undecided)


def refusing(number: int) -> Callable[..., int]:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return refuse


def test_a_full_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a line gets onto the disk. Opening again puts it aside, and says so in the log."""
    real = os.write
    with reopened(path) as log:
        log.append(release())
        room = [100]

        def write(descriptor: int, data: bytes) -> int:
            return real(descriptor, data[: room.pop()]) if room else refusing(errno.ENOSPC)()

        monkeypatch.setattr(os, "write", write)
        with pytest.raises(LogUnusable, match="No space left"):
            log.append(release(2))
        monkeypatch.undo()
    assert verify_log(path, key=KEY.spki, checkpoints=[log.checkpoint()]).grade is Grade.TORN
    after = make_log(path, releases(1, 3))
    assert [type(entry.event) for entry in read_entries(path)] == [LogStarted, Released, TornTail, Released]
    assert len(torn_path(path, 3).read_bytes()) == 100
    assert verify_log(path, key=KEY.spki, checkpoints=[after, log.checkpoint()]).grade is Grade.INTACT


def test_a_write_in_pieces(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    with reopened(path) as log:
        monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:7]))
        log.append(release())
        assert log.verify(log.checkpoint()).grade is Grade.INTACT


def test_segments_are_closed_and_stay_in_the_chain(path: Path) -> None:
    checkpoint = make_log(path, releases(20), segment_bytes=3000)
    closed = closed_segments(path)
    assert len(closed) > 3
    assert closed[0] == (1, segment_path(path, 1))
    assert verify_log(path, key=KEY.spki, checkpoints=[checkpoint]).grade is Grade.INTACT
    assert verify_log(path, key=KEY.spki, checkpoints=[make_log(path, releases(1))]).entries == 22


def test_stopped_between_closing_a_segment_and_beginning_the_next(path: Path) -> None:
    checkpoint = make_log(path, releases(3))
    path.rename(segment_path(path, 1))
    assert verify_log(path, key=KEY.spki, checkpoints=[checkpoint]).grade is Grade.INTACT
    with reopened(path) as log:
        assert log.append(release()).sequence == 5
        assert log.verify(checkpoint).grade is Grade.INTACT


def test_a_segment_never_replaces_another(path: Path) -> None:
    with AuditLog.open(path, KEY, ticking(), segment_bytes=1) as log:
        segment_path(path, 1).write_bytes(b"in the way")
        with pytest.raises(LogUnusable, match="in the way"):
            log.append(release())
    assert segment_path(path, 1).read_bytes() == b"in the way"


def test_readers_see_a_whole_log_at_any_time(path: Path) -> None:
    """While entries are appended and segments closed, whoever reads finds nothing torn, missing or out of order."""
    with AuditLog.open(path, KEY, ticking(), segment_bytes=4000) as log:
        writer = threading.Thread(target=lambda: [log.append(release(n)) for n in range(600)])
        writer.start()
        seen, grades = 0, set()
        while writer.is_alive():
            checkpoint = log.checkpoint()
            report = verify_log(path, key=KEY.spki, checkpoints=[checkpoint])
            grades.add(report.grade)
            assert report.entries >= max(seen, checkpoint.seal.sequence), report.reason
            seen = report.entries
        writer.join()
    assert grades == {Grade.INTACT}
    assert len(closed_segments(path)) > 100


def test_readers_wait_for_a_line_that_is_being_written(path: Path) -> None:
    checkpoint = make_log(path, releases(3))
    whole = path.read_bytes()
    path.write_bytes(whole[:-300])
    with path.open("ab", 0) as file:
        finish = threading.Timer(0.03, file.write, [whole[-300:]])
        finish.start()
        assert verify_log(path, key=KEY.spki, checkpoints=[checkpoint]).grade is Grade.INTACT
        finish.join()


def test_a_second_writer_is_refused(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link.log").symlink_to(path)
    with reopened(path):
        for name in (path, tmp_path / "link.log", tmp_path / ".." / tmp_path.name / "audit.log"):
            with pytest.raises(LogBusy, match=f"process {os.getpid()} is writing"):
                reopened(name)
    reopened(path).close()


def test_a_child_process_may_not_write(path: Path) -> None:
    with reopened(path) as log:
        child = os.fork()
        if child == 0:
            try:
                log.append(release())
            except LogUnusable:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert log.append(release()).sequence == 2


def test_a_closed_log_records_nothing(path: Path) -> None:
    log = reopened(path)
    log.close()
    log.close()
    with pytest.raises(LogUnusable, match="closed"):
        log.append(release())


def test_events_that_are_the_log_s_own(path: Path) -> None:
    with reopened(path) as log, pytest.raises(UsageError, match="only the log itself"):
        log.append(LogStarted(key=KEY.spki, log=bytes(16)))


def test_an_event_that_is_too_long_changes_nothing(path: Path) -> None:
    names = [f"{number} ".ljust(256, '"') for number in range(64)]
    evidence = tuple(dataclasses.replace(CPU, name=name, measurements=(LAUNCH,) * 16) for name in names)
    with reopened(path) as log:
        with pytest.raises(UsageError, match="at most 131072"):
            log.append(dataclasses.replace(release(), evidence=evidence))
        assert log.append(release()).sequence == 2


def test_only_ed25519_signs(path: Path) -> None:
    with pytest.raises(UsageError, match="Ed25519"):
        AuditLog.open(path, SigningKey.generate(), ticking())


@pytest.mark.parametrize("content", [b"", b"half a line", b"no entry\n"])
def test_a_log_that_was_emptied_is_not_continued(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(LogUnusable):
        reopened(path)
    assert path.read_bytes() == content


def test_another_broker_s_log_is_not_continued(path: Path) -> None:
    make_log(path, releases(1), key=MALLORY)
    with pytest.raises(LogUnusable, match="does not verify"):
        reopened(path)


@pytest.mark.parametrize("there", [True, False])
def test_a_checkpoint_makes_opening_notice_what_is_missing(path: Path, there: bool) -> None:  # noqa: FBT001 - a table
    make_log(path, releases(3))
    old = path.read_bytes()
    checkpoint = make_log(path, releases(3))
    with AuditLog.open(path, KEY, ticking(), checkpoint=checkpoint) as log:
        assert log.append(release()).sequence == 8
    path.unlink()
    if there:
        path.write_bytes(old)
    with pytest.raises(LogUnusable, match="ends with 4" if there else "missing"):
        AuditLog.open(path, KEY, ticking(), checkpoint=checkpoint)
    AuditLog.open(path, KEY, ticking()).close()  # the control: without, it is not noticed


def test_the_clock_may_go_back_and_that_is_remarked(path: Path) -> None:
    make_log(path, releases(2))
    checkpoint = make_log(path, releases(1))  # its clock starts anew
    report = verify_log(path, key=KEY.spki, checkpoints=[checkpoint])
    assert report.grade is Grade.INTACT
    assert report.clock_went_back == ((4, START),)


def test_what_cannot_be_opened_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        reopened(tmp_path / "no-such-directory" / "audit.log")
    with pytest.raises(UsageError, match="no such log"):
        verify_log(tmp_path / "audit.log", key=Unchecked("none"))


def test_a_report_is_no_verdict_to_forget(path: Path) -> None:
    make_log(path, ())
    report = verify_log(path, key=KEY.spki)
    with pytest.raises(TypeError):
        bool(report)
    with pytest.raises(TypeError):
        bool(report.grade)
