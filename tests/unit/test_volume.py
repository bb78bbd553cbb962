"""Volumes: what goes in comes out, records are strict, and the command does what its help says."""

import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.forge.volumes import FILE, KEY, build, contents

from cloister.cli import main
from cloister.errors import ParseError, UsageError
from cloister.seal.fresh_file import fresh_file
from cloister.shield.volume.building import Builder, Facts
from cloister.shield.volume.checking import check
from cloister.shield.volume.container import Container, VolumeRoot
from cloister.shield.volume.keys import VolumeKey
from cloister.shield.volume.layout import (
    BLOCK,
    FANOUT,
    HOLE,
    Entry,
    Inode,
    Mode,
    check_inode,
    directory_blocks,
    levels_for,
    parse_directory_block,
    parse_node,
)
from cloister.shield.volume.reading import Volume

NAMES = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=40).filter(
    lambda name: name not in {".", ".."}
)
CONTENT = st.binary(max_size=300) | st.integers(0, 3 * BLOCK).map(os.urandom)
TREES = st.recursive(
    st.dictionaries(NAMES, CONTENT, max_size=6), lambda inner: st.dictionaries(NAMES, CONTENT | inner, max_size=6)
)


def flattened(tree: "dict[str, object]", prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in tree.items():
        found[prefix + name] = None if isinstance(value, dict) else value
        if isinstance(value, dict):
            found |= flattened(value, f"{prefix}{name}/")
    return found


@given(tree=TREES, mode=st.sampled_from([Mode.ENCRYPTED, Mode.AUTHENTICATED]))
def test_what_goes_in_comes_out(tmp_path_factory: pytest.TempPathFactory, tree: "dict[str, object]", mode: int) -> None:
    path = tmp_path_factory.mktemp("volume") / "v"
    root = build(path, tree, mode=mode)
    assert contents(path) == flattened(tree)
    with Container(path, KEY) as container:
        assert container.root == root
        assert not container.torn
        assert check(Volume(container)).files == sum(value is not None for value in flattened(tree).values())


@pytest.mark.parametrize(
    "blocks", [1, 2, FANOUT - 1, FANOUT, FANOUT + 1, 2 * FANOUT, FANOUT * FANOUT, FANOUT * FANOUT + 1]
)
def test_trees_of_every_height(tmp_path: Path, blocks: int) -> None:
    """Sparse, so that large ones are quick: only first and last bytes are there."""
    size = blocks * BLOCK - 1

    def pieces() -> "list[bytes]":
        middle = [bytes(BLOCK)] * (blocks - 2)
        first = [b"A".ljust(BLOCK, b"\0")] if blocks > 1 else []
        return [*first, *middle, b"Z".rjust(BLOCK - 1, b"\0")]

    with fresh_file(tmp_path / "v") as file:
        builder = Builder(file, KEY)
        builder.directory(FILE_DIRECTORY, [Entry(b"big", builder.add(FILE, pieces()))], root=True)
        builder.finish()
        file.publish()
    assert (tmp_path / "v").stat().st_size < 20 * BLOCK
    with Container(tmp_path / "v", KEY) as container:
        volume = Volume(container)
        number = volume.find("big")
        assert volume.inode(number).size == size
        assert volume.inode(number).levels == levels_for(size)
        assert b"".join(volume.content(number)) == b"".join(pieces())
        check(volume)


FILE_DIRECTORY = Facts(stat.S_IFDIR | 0o700)


def test_many_files_in_one_directory(tmp_path: Path) -> None:
    tree = {f"file {number:05} {'x' * (number % 200)}": str(number).encode() for number in range(3000)}
    build(tmp_path / "v", tree)
    assert contents(tmp_path / "v") == tree


def test_nothing_of_an_encrypted_volume_is_readable(tmp_path: Path) -> None:
    tree = {"MARKER-NAME": b"MARKER-CONTENT" * 1000, "MARKER-DIR": {"x": b"MARKER-CONTENT"}}
    build(tmp_path / "v", tree)
    assert b"MARKER" not in (tmp_path / "v").read_bytes()
    build(tmp_path / "a", tree, mode=Mode.AUTHENTICATED)
    assert b"MARKER-CONTENT" in (tmp_path / "a").read_bytes()


def test_two_volumes_of_the_same_files_have_no_block_in_common(tmp_path: Path) -> None:
    for name in ("one", "two"):
        build(tmp_path / name, {"file": bytes([7]) * 20 * BLOCK})
    blocks = [
        {data[at : at + BLOCK] for at in range(0, len(data), BLOCK)}
        for data in ((tmp_path / name).read_bytes() for name in ("one", "two"))
    ]
    assert not blocks[0] & blocks[1]
    assert len(blocks[0]) == (tmp_path / "one").stat().st_size // BLOCK


@given(names=st.lists(NAMES.map(str.encode).filter(lambda name: len(name) <= 255), unique=True))
def test_directory_blocks_give_their_entries_back(names: list[bytes]) -> None:
    entries = [Entry(name, number + 2) for number, name in enumerate(names)]
    blocks = list(directory_blocks(entries))
    assert all(len(block) == BLOCK for block in blocks)
    assert [entry for block in blocks for entry in parse_directory_block(block)] == entries


@given(junk=st.binary(min_size=BLOCK, max_size=BLOCK), start=st.binary(max_size=64))
def test_directories_of_junk_are_refused_or_right(junk: bytes, start: bytes) -> None:
    block = (start + junk)[:BLOCK]
    try:
        entries = list(parse_directory_block(block))
    except ParseError:
        return
    assert all(entry.inode and entry.name and b"/" not in entry.name for entry in entries)


def test_a_hole_with_a_tag_is_no_hole() -> None:
    with pytest.raises(ParseError, match="all zeros"):
        parse_node(b"\0" * 31 + b"\1" + bytes(BLOCK - 32))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"mode": 0}, "free inode"),
        ({"mode": stat.S_IFSOCK | 0o600}, "not stored"),
        ({"mode": stat.S_IFREG | 1 << 16}, "not stored"),
        ({"mode": stat.S_IFDIR | 0o700, "size": 5}, "directory of 5 bytes"),
        ({"levels": 1}, "1 levels"),
    ],
)
def test_inodes_that_contradict_themselves(changes: dict[str, int], reason: str) -> None:
    fields = dict.fromkeys(("links", "uid", "gid", "mtime", "ctime", "parent", "levels"), 0)
    fields |= {"mode": stat.S_IFREG | 0o600, "size": 5} | changes
    with pytest.raises(ParseError, match=reason):
        check_inode(Inode(**fields, root=HOLE), 3)


def run(*words: object) -> int:
    return main(["volume", *map(str, words)])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "file").write_bytes(b"content\n")
    (folder / "link").symlink_to("sub/file")
    os.link(folder / "sub" / "file", folder / "again")
    os.utime(folder / "sub" / "file", ns=(1, 1_600_000_000_000_000_007))
    return folder


def test_the_command_makes_lists_shows_and_verifies(
    tmp_path: Path, data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    volume, key = tmp_path / "v", tmp_path / "k"
    assert run("create", "--key", key, "--from", data, volume) == 0
    root = VolumeRoot.parse(capfd.readouterr().out)
    assert (stat.S_IMODE(key.stat().st_mode), stat.S_IMODE(volume.stat().st_mode)) == (0o600, 0o600)
    assert run("ls", "--json", "--key", key, volume) == 0
    rows = {row["path"]: row for row in json.loads(capfd.readouterr().out)}
    assert rows.keys() == {"again", "link", "sub", "sub/file"}
    assert rows["link"]["target"] == "sub/file"
    assert rows["again"]["links"] == rows["sub/file"]["links"] == 2
    assert rows["sub/file"]["mtime_ns"] == 1_600_000_000_000_000_007
    assert run("cat", "--key", key, volume, "/sub/file") == 0
    assert capfd.readouterr().out == "content\n"
    assert run("ls", "--key", key, volume, "sub") == 0
    assert capfd.readouterr().out.endswith("sub/file\n")
    assert run("verify", "--json", "--key", key, "--root", root, volume) == 0
    assert json.loads(capfd.readouterr().out) == {
        "verified": True, "root": str(root), "files": 2, "directories": 2, "bytes": 16, "blocks": 5,
        "one_superblock": False,
    }  # fmt: skip


def test_rekeying_keeps_everything_and_uses_the_new_key(
    tmp_path: Path, data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    assert run("create", "--key", tmp_path / "k1", "--from", data, old) == 0
    assert run("rekey", "--key", tmp_path / "k1", "--new-key", tmp_path / "k2", old, new) == 0
    with VolumeKey.read(tmp_path / "k1") as k1, VolumeKey.read(tmp_path / "k2") as k2:
        assert contents(old, k1) == contents(new, k2)
    capfd.readouterr()
    assert run("verify", "--key", tmp_path / "k1", new) == 5
    assert "no volume of this key" in capfd.readouterr().err


def test_nothing_is_overwritten(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "v").write_text("mine")
    assert run("create", "--key", tmp_path / "k", tmp_path / "v") == 2
    assert "exists already" in capfd.readouterr().err
    assert (tmp_path / "v").read_text() == "mine"
    assert not (tmp_path / "k").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o777])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int, capfd: pytest.CaptureFixture[str]) -> None:
    VolumeKey.make(tmp_path / "k").close()
    (tmp_path / "k").chmod(mode)
    assert run("create", "--key", tmp_path / "k", tmp_path / "v") == 2
    assert "may be used by others" in capfd.readouterr().err


def test_what_is_no_key_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "k").write_bytes(bytes(48))
    (tmp_path / "k").chmod(0o600)
    with pytest.raises(UsageError, match="no volume key"):
        VolumeKey.read(tmp_path / "k")
    (tmp_path / "link").symlink_to(tmp_path / "k")
    with pytest.raises(UsageError, match="cannot read"):
        VolumeKey.read(tmp_path / "link")


def test_what_volumes_do_not_hold_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    os.mkfifo(tmp_path / "data" / "pipe")
    assert run("create", "--key", tmp_path / "k", "--from", tmp_path / "data", tmp_path / "v") == 2
    assert "data/pipe is no file" in capfd.readouterr().err
    assert not (tmp_path / "v").exists()


def test_paths_that_are_not_there(tmp_path: Path, data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run("create", "--key", tmp_path / "k", "--from", data, tmp_path / "v")
    wrong = {"nothing": "there is no", "again/x": "no directory", "sub": "is no file", "link": "is no file"}
    for path, reason in wrong.items():
        capfd.readouterr()
        assert run("cat", "--key", tmp_path / "k", tmp_path / "v", path) == 2
        assert reason in capfd.readouterr().err


def test_names_cannot_steer_a_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "red\x1b[31m").write_bytes(b"")
    (folder / os.fsdecode(b"\xff")).write_bytes(b"")
    run("create", "--key", tmp_path / "k", "--from", folder, tmp_path / "v")
    capfd.readouterr()
    assert run("ls", "--key", tmp_path / "k", tmp_path / "v") == 0
    shown = capfd.readouterr().out
    assert "\x1b" not in shown
    assert r"red\x1b[31m" in shown


@pytest.mark.parametrize("text", ["", "3", "3:xyz", "3:" + "0" * 63, "-1:" + "0" * 64])
def test_roots_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="no root of a volume"):
        VolumeRoot.parse(text)
