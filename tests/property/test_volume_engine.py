"""The volume engine against a dictionary, against the Python reader of the same format, and against power failures."""

import errno
import os
import random
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from tests.forge.volumes import build
from tests.property.volume_pieces.engine import Engine, crashed, journal

from cloister.seal.fresh_file import fresh_file
from cloister.shield.volume.building import Builder
from cloister.shield.volume.checking import check
from cloister.shield.volume.container import Container, VolumeRoot
from cloister.shield.volume.importing import import_directory
from cloister.shield.volume.keys import VolumeKey
from cloister.shield.volume.layout import BLOCK, FANOUT, ROOT_INODE, Mode
from cloister.shield.volume.reading import Volume

pytestmark = pytest.mark.needs_program("cc")

NAMES: Final = [f"name {number} {'x' * (number * 7)}".encode() for number in range(24)]
FILE, DIRECTORY = "100644", "40755"


@dataclass
class Place:
    """Where a test's volume, key and journal are."""

    volume: Path
    key: Path
    log: Path

    def engine(self, **more: int) -> Engine:
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


@dataclass
class Model:
    """The same tree in Python: directories are dictionaries, files are bytearrays, which links share."""

    engine: Engine
    draw: random.Random
    root: "dict[bytes, object]" = field(default_factory=dict)

    def step(self) -> None:
        """One random operation on both; their answers must agree."""
        kinds = (
            self.make,
            self.write,
            self.write,
            self.write,
            self.resize,
            self.remove,
            self.rename,
            self.link,
            self.read,
        )
        self.draw.choice(kinds)()

    def directory(self) -> "tuple[int, dict[bytes, object]]":
        """A random one, with its inode."""
        number, found = ROOT_INODE, self.root
        while self.draw.random() < 0.6:
            below = [name for name, value in found.items() if isinstance(value, dict)]
            if not below:
                break
            name = self.draw.choice(below)
            number, found = self.engine.number("find", number, name.hex()), found[name]  # type: ignore[assignment]
        return number, found

    def file(self) -> "tuple[int, bytearray] | None":
        number, found = self.directory()
        names = [name for name, value in found.items() if isinstance(value, bytearray)]
        if not names:
            return None
        name = self.draw.choice(names)
        return self.engine.number("find", number, name.hex()), found[name]  # type: ignore[return-value]

    def make(self) -> None:
        number, found = self.directory()
        name, mode = self.draw.choice(NAMES), self.draw.choice([FILE, FILE, DIRECTORY])
        made = self.engine.number("make", number, name.hex(), mode)
        if name in found:
            assert made == -errno.EEXIST
            return
        assert made > ROOT_INODE
        found[name] = bytearray() if mode == FILE else {}

    def write(self) -> None:
        file = self.file()
        if file is None:
            return
        number, content = file
        far = FANOUT * BLOCK
        offset = self.draw.choice(
            [0, len(content), self.draw.randrange(len(content) + 1), self.draw.randrange(3 * far)]
        )
        data = self.draw.randbytes(self.draw.choice([1, 100, BLOCK, self.draw.randrange(1, 50 * BLOCK)]))
        assert self.engine.number("write", number, offset, data.hex()) == len(data)
        content.extend(bytes(max(offset - len(content), 0)))
        content[offset : offset + len(data)] = data

    def resize(self) -> None:
        file = self.file()
        if file is None:
            return
        number, content = file
        size = self.draw.choice(
            [0, self.draw.randrange(len(content) + 1), len(content) // BLOCK * BLOCK, 2 * FANOUT * BLOCK + 3]
        )
        assert self.engine.number("resize", number, size) == 0
        content.extend(bytes(max(size - len(content), 0)))
        del content[size:]

    def read(self) -> None:
        file = self.file()
        if file is None:
            return
        number, content = file
        offset, size = self.draw.randrange(len(content) + BLOCK), self.draw.randrange(60 * BLOCK)
        assert self.engine.read(number, offset, size) == content[offset : offset + size]

    def remove(self) -> None:
        number, found = self.directory()
        name = self.draw.choice(NAMES)
        inode = self.engine.number("find", number, name.hex())
        answer = self.engine.number("remove", number, name.hex())
        if name not in found:
            assert (inode, answer) == (-errno.ENOENT, -errno.ENOENT)
        elif isinstance(found[name], dict) and found[name]:
            assert answer == -errno.ENOTEMPTY
        else:
            assert answer == 0
            assert self.engine.number("release", inode) == 0
            del found[name]

    def link(self) -> None:
        file = self.file()
        number, found = self.directory()
        name = self.draw.choice(NAMES)
        if file is None:
            return
        answer = self.engine.number("link", file[0], number, name.hex())
        assert answer == (-errno.EEXIST if name in found else 0)
        found.setdefault(name, file[1])

    def rename(self) -> None:
        (old_number, old_found), (new_number, new_found) = self.directory(), self.directory()
        old, new = self.draw.choice(NAMES), self.draw.choice(NAMES)
        replaced = self.engine.number("find", new_number, new.hex())
        answer = self.engine.number("rename", old_number, old.hex(), new_number, new.hex())
        assert answer == self.expected_of_rename(old_found, old, new_found, new)
        if answer or old_found[old] is new_found.get(new):
            return
        new_found[new] = old_found.pop(old)
        if replaced > 0:
            assert self.engine.number("release", replaced) == 0

    def expected_of_rename(
        self, old_found: "dict[bytes, object]", old: bytes, new_found: "dict[bytes, object]", new: bytes
    ) -> int:
        """As rename(2) says."""
        moved, replaced = old_found.get(old), new_found.get(new)
        if moved is None:
            return -errno.ENOENT
        if moved is replaced:
            return 0
        if isinstance(moved, dict) and within(moved, new_found):
            return -errno.EINVAL
        if isinstance(replaced, dict):
            return -errno.EISDIR if not isinstance(moved, dict) else -errno.ENOTEMPTY if replaced else 0
        return -errno.ENOTDIR if isinstance(moved, dict) and replaced is not None else 0

    def state(self) -> "dict[bytes, object]":
        return flattened(self.root)


def within(directory: "dict[bytes, object]", wanted: "dict[bytes, object]") -> bool:
    below = (value for value in directory.values() if isinstance(value, dict))
    return directory is wanted or any(within(one, wanted) for one in below)


def flattened(tree: "dict[bytes, object]", prefix: bytes = b"") -> "dict[bytes, object]":
    found: dict[bytes, object] = {}
    for name, value in tree.items():
        found[prefix + name] = None if isinstance(value, dict) else bytes(value)  # type: ignore[call-overload]
        if isinstance(value, dict):
            found |= flattened(value, prefix + name + b"/")
    return found


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
        assert container.root == VolumeRoot.parse(root)


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
        assert engine.ask("show", inode) == str(-errno.EBADMSG)
        assert engine.number("make", ROOT_INODE, b"new".hex(), FILE) == inode
        assert engine.read(inode, 0, 5) == b""


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
