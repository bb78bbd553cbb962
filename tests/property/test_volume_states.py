"""States of a volume that are published, not committed: who is told the root finds them; nothing durable is lost."""

import contextlib
import errno
import os
import random
import stat
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.property.volume_pieces.engine import FEW_FRAMES, Engine, crashed, journal
from tests.property.volume_pieces.model import FILE, Model, flattened

from cloister.shield.volume.checking import check
from cloister.shield.volume.container import Container, VolumeRoot
from cloister.shield.volume.keys import VolumeBroken, VolumeKey
from cloister.shield.volume.layout import BLOCK, FANOUT, ROOT_INODE
from cloister.shield.volume.reading import Volume

pytestmark = pytest.mark.needs_program("cc")


@dataclass
class Place:
    """A volume that the engine made, its key, and journals of the engines that write to it."""

    directory: Path
    engines: int = 0
    logs: list[Path] = field(default_factory=list)

    @property
    def volume(self) -> Path:
        return self.directory / "v"

    @property
    def key(self) -> Path:
        return self.directory / "k"

    def engine(self, state: str = "", memory: int = FEW_FRAMES) -> Engine:
        self.logs.append(self.directory / f"log {len(self.logs)}")
        return Engine(self.volume, self.key, self.logs[-1], memory, state)

    def committed(self) -> "dict[bytes, object]":
        """What somebody finds who is told nothing, after the Python reader has checked everything."""
        with VolumeKey.read(self.key) as key, Container(self.volume, key) as container:
            reader = Volume(container)
            check(reader)
            return {
                path: None if reader.inode(number).is_directory else b"".join(reader.content(number))
                for path, number in reader.walk()
            }


@pytest.fixture
def place(tmp_path: Path) -> Place:
    here = Place(tmp_path)
    VolumeKey.make(here.key).close()
    with here.engine("create") as engine:
        assert engine.opened == 0
    return here


def write(engine: Engine, name: bytes, content: bytes) -> int:
    inode = engine.number("find", ROOT_INODE, name.hex())
    if inode < 0:
        inode = engine.number("make", ROOT_INODE, name.hex(), FILE)
    assert engine.number("resize", inode, 0) == 0
    assert engine.number("write", inode, 0, content.hex()) == len(content)
    return inode


def content(engine: Engine, name: bytes) -> bytes:
    return engine.read(engine.number("find", ROOT_INODE, name.hex()), 0, 1 << 20)


def test_a_volume_that_the_engine_made_is_empty_and_right(place: Place) -> None:
    assert place.committed() == {}
    with VolumeKey.read(place.key) as key, Container(place.volume, key) as container:
        root = Volume(container).inode(ROOT_INODE)
    assert (stat.S_IMODE(root.mode), root.uid, root.gid, root.size) == (0o755, 7, 8, 0)


def test_a_published_state_is_found_by_its_root_only(place: Place) -> None:
    with place.engine() as engine:
        write(engine, b"file", b"old")
        assert engine.number("commit") == 0
        write(engine, b"file", b"new")
        assert engine.number("changed") == 1
        assert engine.number("publish") == 0
        assert engine.number("changed") == 0
        root = engine.ask("root")
        with place.engine(root) as other:
            assert other.opened == 0
            assert content(other, b"file") == b"new"
        assert place.committed() == {b"file": b"old"}
        assert engine.number("commit") == 0, "what was published and not changed since is committed, too"
    assert place.committed() == {b"file": b"new"}


def test_a_published_state_in_the_place_of_a_committed_one_is_none(place: Place) -> None:
    """Its superblock has no tag: a host cannot make it durable."""
    with place.engine() as engine:
        write(engine, b"file", b"old")
        assert engine.number("commit") == 0
        for _ in range(2):
            write(engine, b"file", os.urandom(9))
            assert engine.number("publish") == 0
            generation, _, where = engine.ask("root").split(":")
            data = bytearray(place.volume.read_bytes())
            at = int(where) * BLOCK
            place_of = int(generation) % 2 * BLOCK
            kept = bytes(data[place_of : place_of + BLOCK])
            data[place_of : place_of + BLOCK] = data[at : at + BLOCK]
            place.volume.write_bytes(data)
            with contextlib.suppress(VolumeBroken):  # what stood there before may be gone
                assert place.committed() == {b"file": b"old"}
            data[place_of : place_of + BLOCK] = kept
            place.volume.write_bytes(data)


@pytest.mark.parametrize("what", ["digest", "place", "generation", "older"])
def test_another_root_is_refused(place: Place, what: str) -> None:
    with place.engine() as engine:
        write(engine, b"file", b"one")
        assert engine.number("publish") == 0
        older = engine.ask("root")
        for _ in range(3):
            write(engine, b"file", os.urandom(5000))
            assert engine.number("publish") == 0
        generation, digest, where = engine.ask("root").split(":")
        wrong = {
            "digest": f"{generation}:{'0' * 64}:{where}",
            "place": f"{generation}:{digest}:{int(where) + 1}",
            "generation": f"{int(generation) + 1}:{digest}:{where}",
            "older": older,
        }
        assert engine.number("reload", wrong[what]) == -errno.EBADMSG
        assert engine.number("reload", f"{generation}:{digest}:{where}") == 0, "the control"


def test_no_number_is_given_again_after_a_loss(place: Place) -> None:
    """Somebody has the lost file open: it must not become another file in his hands."""
    with place.engine() as engine:
        root = engine.ask("root")
        lost = write(engine, b"lost", b"x")
        assert engine.number("reload", root, "lost") == 0
        assert engine.number("show", lost) == -errno.ESTALE
        assert write(engine, b"other", b"y") != lost
        assert engine.number("show", lost) == -errno.ESTALE
        assert engine.number("read", lost, 0, 1) == -errno.ESTALE
        assert engine.number("write", lost, 0, "00") == -errno.ESTALE


def test_nameless_files(place: Place) -> None:
    with place.engine() as engine:
        inode = engine.number("nameless", FILE)
        assert engine.number("write", inode, 0, b"text".hex()) == 4
        assert engine.number("link", inode, ROOT_INODE, b"named".hex()) == 0
        gone = engine.number("nameless", FILE)
        assert engine.number("commit") == 0
    with place.engine() as engine:
        assert content(engine, b"named") == b"text"
        assert engine.number("forget") == 0
        assert engine.number("show", gone) == -errno.ESTALE
        assert engine.ask("show", inode).split()[1] == "1"


@pytest.mark.parametrize("seed", range(3))
def test_holes_are_where_nothing_was_written(place: Place, seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 - where data is
    with place.engine() as engine:
        inode = engine.number("make", ROOT_INODE, b"file".hex(), FILE)
        size = 3 * FANOUT * BLOCK + 100
        full = [draw.random() < 0.02 for _ in range(size // BLOCK + 1)]
        for block, has in enumerate(full):
            if has:
                assert engine.number("write", inode, block * BLOCK, b"x".hex()) == 1
        assert engine.number("resize", inode, size) == 0
        start, end = sorted((draw.randrange(size), draw.randrange(size)))
        assert engine.number("punch", inode, start, end - start) == 0
        for block in range(len(full)):
            full[block] = full[block] and not start <= block * BLOCK < end
        for _ in range(30):
            offset = draw.randrange(size)
            assert engine.number("data", inode, offset) == after(full, offset, size, data=True)
            assert engine.number("hole", inode, offset) == after(full, offset, size, data=False)
        assert engine.number("data", inode, size) == -errno.ENXIO
        assert engine.number("commit") == 0
    assert place.committed() == {
        b"file": b"".join(b"x" + bytes(BLOCK - 1) if has else bytes(BLOCK) for has in full)[:size]
    }


def after(full: list[bool], offset: int, size: int, *, data: bool) -> int:
    """As lseek(2) has SEEK_DATA and SEEK_HOLE."""
    for block in range(offset // BLOCK, len(full)):
        if full[block] == data:
            return max(block * BLOCK, offset)
    return -errno.ENXIO if data else size


def test_punching_zeroes_only_what_it_says(place: Place) -> None:
    with place.engine() as engine:
        right = bytearray(os.urandom(100 * BLOCK))
        inode = write(engine, b"file", bytes(right))
        for start, size in ((10, 20), (BLOCK, BLOCK), (3 * BLOCK + 1, 40 * BLOCK), (90 * BLOCK, 1 << 40)):
            assert engine.number("punch", inode, start, size) == 0
            end = min(start + size, len(right))
            right[start:end] = bytes(end - start)
            assert content(engine, b"file") == right
        assert engine.number("punch", ROOT_INODE, 0, 1) == -errno.ENODEV


def test_room(place: Place) -> None:
    with place.engine() as engine:
        blocks, free, inodes, free_inodes = map(int, engine.ask("space").split())
        write(engine, b"file", os.urandom(50 * BLOCK))
        assert engine.number("commit") == 0
        more, _, _, fewer_inodes = map(int, engine.ask("space").split())
        assert more >= blocks - free + 50
        assert fewer_inodes == free_inodes - 1
        assert inodes > free_inodes


# ---- families, as the runtime has them: each an engine, all with one container and one root


@dataclass
class Families:
    """The root that the guard would keep, what is true at it, and engines that ask for it before and tell after."""

    place: Place
    draw: random.Random
    root: str = ""
    tree: "dict[bytes, object]" = field(default_factory=dict)
    engines: list[Engine] = field(default_factory=list)
    known: list[str] = field(default_factory=list)

    def begin(self) -> None:
        first = self.place.engine()
        self.root = first.ask("root")
        self.engines.append(first)
        self.known.append(self.root)

    def join(self) -> None:
        self.engines.append(self.place.engine(self.root))
        assert self.engines[-1].opened == 0
        self.known.append(self.root)

    def turn(self) -> None:
        """One family does something, sees what the others did, and tells of it: or is killed in the middle."""
        who = self.draw.randrange(len(self.engines))
        engine = self.engines[who]
        if self.known[who] != self.root:
            assert engine.number("reload", self.root) == 0
        model = Model(engine, self.draw, copied(self.tree))
        for _ in range(self.draw.randrange(1, 6)):
            model.step()
        if self.draw.random() < 0.1:
            self.kill(who)
            return
        if self.draw.random() < 0.1:
            assert engine.number("reload", self.root, "lost") == 0
            self.known[who] = self.root
            return
        assert engine.number("commit" if self.draw.random() < 0.2 else "publish") == 0
        self.root = self.known[who] = engine.ask("root")
        self.tree = model.root

    def kill(self, who: int) -> None:
        self.engines[who].kill()
        del self.engines[who], self.known[who]
        self.join()

    def end(self) -> None:
        for engine in self.engines:
            engine.kill()


def copied(tree: "dict[bytes, object]", seen: "dict[int, bytearray] | None" = None) -> "dict[bytes, object]":
    """A copy in which links still share."""
    seen = {} if seen is None else seen
    made: dict[bytes, object] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            made[name] = copied(value, seen)
        elif isinstance(value, bytearray):
            made[name] = seen.setdefault(id(value), bytearray(value))
    return made


@pytest.mark.parametrize("seed", range(4))
def test_families_see_each_others_states_and_nothing_else(place: Place, seed: int) -> None:
    families = Families(place, random.Random(seed))  # noqa: S311
    families.begin()
    families.join()
    families.join()
    for _ in range(60):
        families.turn()
    engine = families.engines[0]
    assert engine.number("reload", families.root) == 0
    assert engine.number("commit") == 0
    families.end()
    assert place.committed() == flattened(families.tree)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_durable_survives_whatever_is_published(place: Place, seed: int) -> None:
    """The power goes at any moment, with any of the sectors since the last sync."""
    draw = random.Random(seed)  # noqa: S311
    before = place.volume.read_bytes()
    states: list[dict[bytes, object]] = [{}]
    with place.engine() as engine:
        log = place.logs[-1]
        ends = [0]
        model = Model(engine, draw)
        for _ in range(5):
            for _ in range(draw.randrange(1, 8)):
                for _ in range(3):
                    model.step()
                assert engine.number("publish") == 0
                if draw.random() < 0.3:
                    assert engine.number("reload", engine.ask("root")) == 0
            assert engine.number("commit") == 0
            states.append(model.state())
            ends.append(sum(1 for _ in journal(log)))
    writes = list(journal(log))
    for cut in sorted(draw.sample(range(len(writes) + 1), min(25, len(writes)))):
        place.volume.write_bytes(crashed(before, writes, cut, draw))
        done = max(number for number, end in enumerate(ends) if end <= cut)
        assert place.committed() in states[done : done + 2], f"after {cut} of {len(writes)} writes"


def test_generations_only_grow(place: Place) -> None:
    with place.engine() as engine:
        seen = []
        for turn in range(12):
            write(engine, b"file", os.urandom(100))
            assert engine.number("commit" if turn % 5 == 3 else "publish") == 0
            seen.append(int(engine.ask("root").split(":")[0]))
    assert seen == sorted(set(seen))
    with VolumeKey.read(place.key) as key, Container(place.volume, key) as container:
        assert container.root.generation in seen
        assert isinstance(container.root, VolumeRoot)


def test_publishing_again_and_again_takes_no_more_room(place: Place) -> None:
    with place.engine() as engine:
        sizes = []
        for _ in range(12):
            write(engine, b"file", os.urandom(20 * BLOCK))
            assert engine.number("publish") == 0
            sizes.append(place.volume.stat().st_size)
    assert sizes[-1] == sizes[3]
