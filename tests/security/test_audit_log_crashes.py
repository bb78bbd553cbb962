"""The audit log under kill -9, interrupted writes and files that somebody touches while it is open.

Whatever was confirmed is there afterwards; whatever was not is either a whole entry or put aside, and told of.
"""

import hashlib
import itertools
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.forge.audit import KEY, make_log, release, releases, ticking

from cloister.broker.audit import (
    AuditLog,
    Checkpoint,
    Grade,
    LogReport,
    LogUnusable,
    TornTail,
    read_entries,
    segments,
    verify_log,
)
from cloister.broker.audit.opening import torn_path
from cloister.broker.audit.segments import closed_segments

KILLS = 200


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


def verified(path: Path, *checkpoints: Checkpoint) -> LogReport:
    return verify_log(path, key=KEY.spki, checkpoints=checkpoints)


def in_child(work: Callable[[int], object]) -> tuple[int, bytes]:
    """What a forked child process ended with, and what it wrote to the descriptor that it is given."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work(writer)
        except BaseException:  # noqa: BLE001 - a child of pytest must never return into it
            os._exit(1)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        data = told.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), data


def confirmations(data: bytes) -> dict[int, str]:
    """The number and hash of every entry of which a child process told, each on a line of its own."""
    lines = data[: data.rfind(b"\n") + 1].decode().splitlines()
    return {int(number): digest for number, digest in (line.split() for line in lines)}


def hashes(path: Path) -> dict[int, str]:
    return {entry.sequence: entry.hash.hex() for entry in read_entries(path)}


def test_touching_the_log_of_a_running_broker_stops_it(tmp_path: Path) -> None:
    """Removed, replaced, truncated, appended to: the next append notices, and nothing more is confirmed."""
    attacks: tuple[Callable[[Path], object], ...] = (
        lambda log: log.unlink(),
        lambda log: log.rename(tmp_path / "moved"),
        lambda log: shutil.copy(log, tmp_path / "copy") and (tmp_path / "copy").rename(log),
        lambda log: os.truncate(log, log.stat().st_size - 10),
        lambda log: os.truncate(log, 0),
        lambda log: log.write_bytes(log.read_bytes() + b"\n"),
    )
    for number, attack in enumerate(attacks):
        one = tmp_path / f"{number}.log"
        with AuditLog.open(one, KEY, ticking()) as log:
            log.append(release())
            attack(one)
            for _ in range(2):
                with pytest.raises(LogUnusable):
                    log.append(release())


def test_the_unfinished_line_is_put_aside_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a write can stop: what was confirmed stays, the rest is kept and told of."""
    monkeypatch.setattr(segments, "WAIT", 0)
    checkpoint = make_log(path, releases(2))
    size = path.stat().st_size
    make_log(path, [release(3)])
    whole = path.read_bytes()
    for cut in [*range(size + 1, len(whole), 9), len(whole) - 1]:
        path.write_bytes(whole[:cut])
        assert verified(path, checkpoint).grade is Grade.TORN
        after = make_log(path, ())
        told = list(read_entries(path))[-1].event
        assert told == TornTail(size=cut - size, sha256=hashlib.sha256(whole[size:cut]).digest())
        assert torn_path(path, 4).read_bytes() == whole[size:cut]
        assert verified(path, checkpoint, after).grade is Grade.INTACT
        torn_path(path, 4).unlink()


def test_killed_while_putting_the_unfinished_line_aside(path: Path) -> None:
    """Opening is stopped before each of its own writes, and done again: the line is told of once, and kept once."""

    def work(_: int) -> None:
        die_at(step)
        make_log(path, ())

    checkpoint = make_log(path, releases(2))
    damaged = path.read_bytes() + b'{"event":'
    for step in itertools.count():
        for one in path.parent.iterdir():
            one.unlink()
        path.write_bytes(damaged)
        done = in_child(work)[0] == 0
        make_log(path, [release(3)])
        told = [entry.event for entry in read_entries(path) if isinstance(entry.event, TornTail)]
        kept = b"".join(one.read_bytes() for one in path.parent.glob("*.torn.*"))
        assert kept == b'{"event":'
        assert told == [TornTail(size=len(kept), sha256=hashlib.sha256(kept).digest())]
        assert verified(path, checkpoint).grade is Grade.INTACT
        if done:
            assert step > 5
            break


def die_at(step: int) -> None:
    """Have this process kill itself just before its write, cut, sync or rename number `step`."""
    left = itertools.count(step, -1)

    def watched(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            if next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments)

        return call

    for name in ("write", "ftruncate", "fsync", "fdatasync", "rename"):
        setattr(os, name, watched(getattr(os, name)))


@pytest.mark.parametrize("segment_bytes", [1, 1 << 20], ids=["a segment for each entry", "one segment"])
def test_killed_at_every_step_of_beginning_and_appending(tmp_path: Path, segment_bytes: int) -> None:
    """Before each write, sync and rename once: what was confirmed is there when the log is opened again."""

    def work(out: int) -> None:
        tell = os.write
        die_at(step)
        with AuditLog.open(path, KEY, ticking(), segment_bytes=segment_bytes) as log:
            for number in range(3):
                entry = log.append(release(number))
                tell(out, f"{entry.sequence} {entry.hash.hex()}\n".encode())

    for step in itertools.count():
        path = tmp_path / f"{step}.log"
        code, told = in_child(work)
        confirmed = confirmations(told)
        checkpoint = make_log(path, [release(9)])
        assert confirmed.items() <= hashes(path).items()
        assert verified(path, checkpoint).grade is Grade.INTACT
        if code == 0:
            assert len(confirmed) == 3
            assert step > (20 if segment_bytes == 1 else 8)
            break


@pytest.mark.slow
def test_kill_9_while_appending(path: Path) -> None:
    """200 times, at random moments, with four threads appending: no confirmed entry is lost, none is half-believed."""
    chance, confirmed = random.Random(5), {}  # noqa: S311 - a test that can be repeated
    for _ in range(KILLS):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            append_until_killed(path, writer)
        os.close(writer)
        assert os.read(reader, 1) == b"!", "it did not come to open the log"
        time.sleep(chance.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(reader, "rb") as told:
            confirmed.update(confirmations(told.read()))
    checkpoint = make_log(path, ())
    assert confirmed.items() <= hashes(path).items()
    assert verified(path, checkpoint).grade is Grade.INTACT
    assert len(confirmed) > KILLS, "the children did work"
    assert len(closed_segments(path)) > KILLS // 20, "and closed segments"


def append_until_killed(path: Path, out: int) -> None:
    """Append in four threads, and tell of each entry after it was confirmed. Small segments: many are closed."""
    try:
        log = AuditLog.open(path, KEY, ticking(), segment_bytes=30_000)
        os.write(out, b"!")
        for _ in range(3):
            threading.Thread(target=append_and_tell, args=(log, out)).start()
        append_and_tell(log, out)
    finally:
        os._exit(1)


def append_and_tell(log: AuditLog, out: int) -> None:
    for number in itertools.count():
        entry = log.append(release(number))
        os.write(out, f"{entry.sequence} {entry.hash.hex()}\n".encode())  # short enough to be written at once
