"""Files of sealing: the platform key, counters, and files that appear whole or not at all."""

import multiprocessing
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.forge.sealing import header_of, program

from cloister.errors import UsageError
from cloister.seal import Binding, FileCounter, FilePlatformKey, Policy, Sealer, Terms, default_key_path
from cloister.seal.fresh_file import fresh_file

BINDING = Binding(Policy.MEASUREMENT, 0)


def made(path: Path) -> bytes:
    with FilePlatformKey(path) as key:
        return bytes(key.derive(b"info", BINDING))


def test_a_platform_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "platform.key"
    assert made(path) == made(path)
    assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_size) == (0o600, 48)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert made(tmp_path / "other") != made(path)
    assert [one.name for one in path.parent.iterdir()] == ["platform.key"]


def test_a_platform_key_is_not_made_where_it_is_only_to_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        FilePlatformKey(tmp_path / "key", make=False)
    assert list(tmp_path.iterdir()) == []


def test_processes_that_make_it_at_once_agree(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(6) as pool:
        assert len(set(pool.map(made, [tmp_path / "key"] * 60, chunksize=1))) == 1


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def zeros(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:16] + bytes(32))


def other_format(path: Path) -> None:
    path.write_bytes(b"P" + path.read_bytes()[1:])


def readable(path: Path) -> None:
    path.chmod(0o640)


def link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize("damage", [cut, longer, zeros, other_format, readable, link, pipe])
def test_a_platform_key_that_is_damaged_or_not_ours_alone_is_refused(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    path = tmp_path / "key"
    made(path)
    damage(path)
    with pytest.raises(UsageError, match="key"):
        FilePlatformKey(path)


@pytest.mark.needs_root
def test_somebody_elses_platform_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    made(path)
    os.chown(path, 65534, 65534)
    with pytest.raises(UsageError, match="65534"):
        FilePlatformKey(path)


def test_a_place_that_cannot_be_looked_at_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for use in (FilePlatformKey, FileCounter):
        with pytest.raises(UsageError, match="file/key"):
            use(tmp_path / "file" / "key")


def test_a_closed_key_is_wiped(tmp_path: Path) -> None:
    with FilePlatformKey(tmp_path / "key") as key:
        assert any(key._key)
    assert not any(key._key)
    with pytest.raises(UsageError, match="closed"):
        key.derive(b"info", BINDING)


def test_where_the_key_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert default_key_path() == Path("/data/cloister/platform.key")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert default_key_path() == Path.home() / ".local/share/cloister/platform.key"


# ---------------------------------------------------------------- counters


def test_a_counter_only_grows_by_one(tmp_path: Path) -> None:
    counter = FileCounter(tmp_path / "counter")
    assert counter.read() == 0
    for value in (1, 1, 2):
        counter.advance_to(value)
        assert FileCounter(tmp_path / "counter").read() == value
    for value in (0, 1, 4):
        with pytest.raises(UsageError, match="cannot go"):
            counter.advance_to(value)
    assert counter.read() == 2


def name_of_counter(path: Path) -> bytes:
    return FileCounter(path).identifier


def test_processes_that_make_a_counter_at_once_agree(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(6) as pool:
        assert len(set(pool.map(name_of_counter, [tmp_path / "counter"] * 60, chunksize=1))) == 1


def test_counters_have_names_of_their_own(tmp_path: Path) -> None:
    one, other = FileCounter(tmp_path / "one"), FileCounter(tmp_path / "other")
    assert one.identifier == FileCounter(tmp_path / "one").identifier != other.identifier


@pytest.mark.parametrize("damage", [cut, longer, other_format, link, pipe, lambda path: path.chmod(0o666)])
def test_a_counter_that_is_damaged_is_refused(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    FileCounter(tmp_path / "counter")
    damage(tmp_path / "counter")
    with pytest.raises(UsageError, match="counter"):
        FileCounter(tmp_path / "counter")


def test_a_crash_between_storing_and_counting_loses_nothing(tmp_path: Path) -> None:
    """The data on the disk, the counter not moved on: it opens, and that moves the counter on."""
    with FilePlatformKey(tmp_path / "key") as key:
        counter, sealer = FileCounter(tmp_path / "counter"), Sealer(key, program())
        one = sealer.seal(b"one", Terms(counter=counter))
        assert counter.read() == 0
        assert sealer.unseal(one, counter=counter) == b"one"
        assert counter.read() == 1
        two = sealer.seal(b"two", Terms(counter=counter))
        sealer.stored(header_of(two), counter)
        assert counter.read() == 2
        with pytest.raises(UsageError, match="not sealed with"):
            sealer.stored(header_of(two), FileCounter(tmp_path / "other"))


# ---------------------------------------------------------------- fresh files


def test_a_fresh_file_has_no_name_before_it_is_published(tmp_path: Path) -> None:
    with fresh_file(tmp_path / "new") as file:
        file.write(b"content")
        assert list(tmp_path.iterdir()) == []
        file.publish()
    assert (tmp_path / "new").read_bytes() == b"content"
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600


def test_a_fresh_file_that_fails_was_never_there(tmp_path: Path) -> None:
    def fail() -> None:
        with fresh_file(tmp_path / "new") as file:
            file.write(b"content")
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "there"
    with fresh_file(path) as file:
        path.write_bytes(b"somebody was faster")
        with pytest.raises(UsageError, match="not overwritten"):
            file.publish()
    assert path.read_bytes() == b"somebody was faster"
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("there", "dangling"):
        with pytest.raises(UsageError, match="not overwritten"), fresh_file(tmp_path / name):
            pass
    with pytest.raises(UsageError, match="No such file"), fresh_file(tmp_path / "no" / "such"):
        pass
