"""The volume engine against a dictionary, against the Python reader of the same format, and against power failures."""

import errno
import os
import random
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.forge.volumes import build
from tests.property.volume_pieces.engine import Engine, crashed, journal
from tests.property.volume_pieces.model import DIRECTORY, FILE, Model

from cloister.seal.fresh_file import fresh_file
from cloister.shield.volume.building import Builder
from cloister.shield.volume.checking import check
from cloister.shield.volume.container import Container, VolumeRoot
from cloister.shield.volume.importing import import_directory
from cloister.shield.volume.keys import VolumeKey
from cloister.shield.volume.layout import BLOCK, ROOT_INODE, Mode
from cloister.shield.volume.reading import Volume

pytestmark = pytest.mark.needs_program("cc")


@dataclass
class Place:
    """Where a test's volume, key and journal are."""

    volume: Path
    key: Path
    log: Path

    def engine(self, **more: Any) -> Engine:
        return Engine(self.volume, self.key, self.log, **more)


@pytest.fixture(params=[Mode.ENCRYPTED, Mode.AUTHENTICATED], ids=["encrypted", "authenticated"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    here = Place(tmp_path / "v", tmp_path / "k", tmp_path / "log")
    with VolumeKey.make(here.key) as key, fresh_file(here.volume) as file:
        builder = Builder(file, key, request.param)
        import_directory(builder, None)
        builder.finish()
        file.publish()
    return here


def state_of(volume: Path, key_file: Path) -> "dict[bytes, object]":
    """What the Python reader finds, after it checked everything."""
    with VolumeKey.read(key_file) as key, Container(volume, key) as container:
        reader = Volume(container)
        check(reader)
        return {
            path: None if reader.inode(number).is_directory else b"".join(reader.content(number))
            for path, number in reader.walk()
        }


@pytest.mark.parametrize("seed", range(4))
def test_random_operations_are_what_a_dictionary_says(place: Place, seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 - which operations
    with place.engine() as engine:
        model = Model(engine, draw)
        for _ in range(4):
            for _ in range(60):
                model.step()
            assert engine.number("commit") == 0
            assert state_of(place.volume, place.key) == model.state()
    with place.engine() as engine:
        again = Model(engine, draw, model.root)
        for _ in range(30):
            again.step()
    assert engine.opened == 0


@pytest.mark.parametrize("seed", range(3))
def test_the_power_may_go_at_any_moment(place: Place, seed: int, tmp_path: Path) -> None:
    """After any number of writes, in any order since the last sync, with any sectors of them.

    What is found is a committed state: the newest or, while that was being committed, the one before.
    """
    draw = random.Random(seed)  # noqa: S311
    before = place.volume.read_bytes()
    states: list[dict[bytes, object]] = [{}]
    ends = [0]
    with place.engine() as engine:
        model = Model(engine, draw)
        for _ in range(5):
            for _ in range(15):
                model.step()
            assert engine.number("commit") == 0
            states.append(model.state())
            ends.append(sum(1 for _ in journal(place.log)))
    writes = list(journal(place.log))
    cuts = sorted(
        draw.sample(range(len(writes) + 1), min(12, len(writes)))
        + [end + change for end in ends for change in (-2, -1, 0)]
    )
    disk = tmp_path / "disk"
    for cut in (cut for cut in cuts if cut >= 0):
        disk.write_bytes(crashed(before, writes, cut, draw))
        done = max(number for number, end in enumerate(ends) if end <= cut)
        found = state_of(disk, place.key)
        assert found in states[done : done + 2], f"after {cut} of {len(writes)} writes"
        with Engine(disk, place.key, tmp_path / "other-log") as engine:
            assert engine.opened == 0


def test_what_was_not_committed_is_forgotten(place: Place) -> None:
    with place.engine() as engine:
        engine.number("make", ROOT_INODE, b"kept".hex(), FILE)
        assert engine.number("commit") == 0
        root = engine.ask("root")
        engine.number("make", ROOT_INODE, b"lost".hex(), FILE)
        engine.number("write", 2, 0, os.urandom(10 * BLOCK).hex())
    assert state_of(place.volume, place.key) == {b"kept": b""}
    with VolumeKey.read(place.key) as key, Container(place.volume, key) as container:
        assert container.root == VolumeRoot.parse(root.rpartition(":")[0])


def test_a_commit_of_nothing_writes_nothing(place: Place) -> None:
    with place.engine() as engine:
        root = engine.ask("root")
        assert engine.number("commit") == 0
        assert engine.ask("root") == root
    assert place.log.read_bytes() == b""


def test_no_block_of_the_committed_state_is_written_over(place: Place) -> None:
    with place.engine() as engine:
        inode = engine.number("make", ROOT_INODE, b"file".hex(), FILE)
        engine.number("write", inode, 0, os.urandom(300 * BLOCK).hex())
        assert engine.number("commit") == 0
        marked = sum(1 for _ in journal(place.log))
        with VolumeKey.read(place.key) as key, Container(place.volume, key) as container:
            used = used_by(Volume(container))
        engine.number("write", inode, 7, os.urandom(200 * BLOCK).hex())
        engine.number("resize", inode, 3)
        engine.number("write", inode, 50 * BLOCK, os.urandom(100 * BLOCK).hex())
        assert engine.number("commit") == 0
    later = [write[0] for write in list(journal(place.log))[marked:] if write is not None]
    assert used
    assert not used & set(later[:-1]), "before the superblock"


def used_by(volume: Volume) -> set[int]:
    seen: set[int] = set()
    read = volume.container.read

    def noted(pointer: object, where: object) -> bytes:
        seen.add(pointer.physical)  # type: ignore[attr-defined]
        return read(pointer, where)  # type: ignore[arg-type]

    volume.container.read = noted  # type: ignore[method-assign, assignment]
    check(volume)
    return seen - {0}


def test_space_comes_back(place: Place) -> None:
    """Writing and removing again and again does not make the volume larger and larger."""
    with place.engine() as engine:
        sizes = []
        for turn in range(12):
            inode = engine.number("make", ROOT_INODE, b"file".hex(), FILE)
            engine.number("write", inode, 0, os.urandom(200 * BLOCK).hex())
            assert engine.number("commit") == 0
            assert engine.number("remove", ROOT_INODE, b"file".hex()) == 0
            assert engine.number("release", inode) == 0
            assert engine.number("commit") == 0, turn
            sizes.append(place.volume.stat().st_size)
    assert sizes[-1] == sizes[2]


def test_a_file_that_is_open_and_has_no_name_goes_when_the_volume_is_opened_again(place: Place) -> None:
    with place.engine() as engine:
        inode = engine.number("make", ROOT_INODE, b"file".hex(), FILE)
        engine.number("write", inode, 0, (b"x" * BLOCK).hex())
        assert engine.number("remove", ROOT_INODE, b"file".hex()) == 0
        assert engine.read(inode, 0, 5) == b"xxxxx"
        assert engine.number("commit") == 0
    with place.engine() as engine:
        assert engine.number("forget") == 0
        assert engine.ask("show", inode) == str(-errno.ESTALE)
        assert engine.number("commit") == 0  # before, the state that has it might come back
        assert engine.number("make", ROOT_INODE, b"new".hex(), FILE) == inode
        assert engine.read(inode, 0, 5) == b""


def test_what_can_be_peeked_at(place: Place) -> None:
    """That it is what `read` reads, `read` looks whenever it can. Here: when it can."""
    again = -errno.EAGAIN
    with place.engine() as engine:
        inode = engine.number("make", ROOT_INODE, b"file".hex(), FILE)
        assert engine.number("peek", inode, 0, BLOCK) == again  # there is nothing
        assert engine.number("write", inode, 0, os.urandom(3 * BLOCK + 7).hex()) == 3 * BLOCK + 7
        assert [engine.number("peek", inode, at, BLOCK) for at in (0, 5, 3 * BLOCK - 1)] == [BLOCK, BLOCK, 8]
        assert engine.number("peek", inode, 3 * BLOCK + 7, BLOCK) == again
        assert engine.number("peek", ROOT_INODE, 0, BLOCK) == again
        assert engine.number("peek", 999, 0, BLOCK) == again
        assert engine.number("commit") == 0
        assert engine.number("peek", inode, 0, BLOCK) == BLOCK
        assert engine.number("resize", inode, 10) == 0
        assert [engine.number("peek", inode, at, BLOCK) for at in (0, 10, BLOCK)] == [10, again, again]
        assert engine.number("remove", ROOT_INODE, b"file".hex()) == 0
        assert engine.number("release", inode) == 0
        assert engine.number("peek", inode, 0, BLOCK) == again
    with place.engine() as engine:
        other = engine.number("make", ROOT_INODE, b"other".hex(), FILE)
        assert engine.number("write", other, 0, os.urandom(10).hex()) == 10
        assert engine.number("commit") == 0
    with place.engine() as engine:
        assert engine.number("peek", other, 0, 10) == again  # on the disk only
        assert len(engine.read(other, 0, 10)) == 10
        assert engine.number("peek", other, 0, 10) == 10


def test_attributes(place: Place) -> None:
    with place.engine() as engine:
        inode = engine.number("make", ROOT_INODE, b"file".hex(), FILE)
        assert engine.number("owner", inode, "4755") == 0
        assert engine.number("time", inode, 12345) == 0
        assert engine.number("commit") == 0
    with VolumeKey.read(place.key) as key, Container(place.volume, key) as container:
        found = Volume(container).inode(inode)
    assert (found.mode, found.uid, found.gid, found.mtime) == (stat.S_IFREG | 0o4755, 1, 2, 12345)


@pytest.mark.parametrize(
    ("name", "error"),
    [(b"", errno.ENOENT), (b".", errno.EINVAL), (b"..", errno.EINVAL), (b"a/b", errno.EINVAL), (b"a\0", errno.EINVAL),
     (b"x" * 256, errno.ENAMETOOLONG)],
)  # fmt: skip
def test_names_that_are_none(place: Place, name: bytes, error: int) -> None:
    with place.engine() as engine:
        assert engine.number("make", ROOT_INODE, name.hex() or "-", FILE) == -error
        assert engine.number("make", ROOT_INODE, (b"y" * 255).hex(), FILE) > 0


def test_many_names(place: Place) -> None:
    with place.engine() as engine:
        for number in range(900):
            assert engine.number("make", ROOT_INODE, f"file {number:04}".encode().hex(), FILE) > 0
        for number in range(0, 900, 3):
            assert engine.number("remove", ROOT_INODE, f"file {number:04}".encode().hex()) == 0
        assert len(engine.entries(ROOT_INODE)) == 600
        assert engine.number("commit") == 0
    assert len(state_of(place.volume, place.key)) == 600


def test_it_opens_what_the_python_builder_made(tmp_path: Path) -> None:
    tree = {f"{number}": os.urandom(number * 977) for number in range(150)} | {"d": {"e": {"f": b"deep"}}}
    VolumeKey.make(tmp_path / "k").close()
    with VolumeKey.read(tmp_path / "k") as key:
        build(tmp_path / "v", tree, key=key)
    with Engine(tmp_path / "v", tmp_path / "k", tmp_path / "log") as engine:
        assert engine.opened == 0
        for name, content in tree.items():
            if isinstance(content, bytes):
                assert engine.read(engine.number("find", ROOT_INODE, name.encode().hex()), 0, 1 << 20) == content


@pytest.mark.parametrize("names", [1000, 3200], ids=["in the index", "too many for the index"])
def test_a_large_directory_is_what_a_dictionary_says(place: Place, names: int) -> None:
    draw = random.Random(names)  # noqa: S311
    some = [f"{number:x}-".ljust(draw.choice([6, 20, 90]), "x").encode() for number in range(names)]
    with place.engine() as engine:
        large = engine.number("make", ROOT_INODE, b"large".hex(), DIRECTORY)
        found = {name: engine.number("make", large, name.hex(), FILE) for name in some}
        for _ in range(200):
            name, other = draw.choice(some), draw.choice(some)
            assert engine.number("find", large, name.hex()) == found.get(name, -errno.ENOENT)
            act = draw.choice(["remove", "remove", "make", "rename"])
            if act == "make":
                answer = engine.number("make", large, name.hex(), FILE)
                assert (answer == -errno.EEXIST) == (name in found)
                found.setdefault(name, answer)
            elif act == "remove":
                assert engine.number("remove", large, name.hex()) == (0 if name in found else -errno.ENOENT)
                if name in found:
                    assert engine.number("release", found.pop(name)) == 0
            elif name in found and other not in found:
                assert engine.number("rename", large, name.hex(), large, other.hex()) == 0
                found[other] = found.pop(name)
        assert engine.entries(large) == found
        assert engine.number("commit") == 0
        assert state_of(place.volume, place.key).keys() == {b"large", *(b"large/" + name for name in found)}
        for name in found:
            assert engine.number("remove", large, name.hex()) == 0
        assert engine.number("remove", ROOT_INODE, b"large".hex()) == 0
        assert engine.number("release", large) == 0


def test_every_changed_block_is_refused_or_not_looked_at(place: Place, tmp_path: Path) -> None:
    """Opening reads all but the data; reading a file reads its data."""
    with place.engine() as engine:
        inode = engine.number("make", ROOT_INODE, b"file".hex(), FILE)
        right = os.urandom(140 * BLOCK)
        engine.number("write", inode, 0, right.hex())
        assert engine.number("commit") == 0
    original = place.volume.read_bytes()
    draw = random.Random(5)  # noqa: S311
    disk, refused = tmp_path / "disk", 0
    for block in range(2, len(original) // BLOCK, 3):
        changed = bytearray(original)
        changed[block * BLOCK + draw.randrange(BLOCK)] ^= 1 << draw.randrange(8)
        disk.write_bytes(changed)
        with Engine(disk, place.key, tmp_path / "other-log") as engine:
            if engine.opened:
                assert engine.opened == -errno.EBADMSG
                refused += 1
                continue
            answer = engine.ask("read", inode, 0, len(right))
            served = bytes.fromhex(answer.partition(" ")[2])
            assert right.startswith(served)
            refused += len(served) < len(right)
    assert refused >= 140 // 3


def test_the_wrong_key_opens_nothing(place: Place, tmp_path: Path) -> None:
    VolumeKey.make(tmp_path / "other").close()
    with Engine(place.volume, tmp_path / "other", place.log) as engine:
        assert engine.opened == -errno.EBADMSG


def test_too_little_memory_is_said(place: Place) -> None:
    with place.engine(memory=1 << 20) as engine:
        assert engine.opened == -errno.ENOMEM
