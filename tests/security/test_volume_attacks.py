"""Whoever stores a volume changes, cuts, moves, mixes and replays its blocks: nothing wrong is ever served."""

import hashlib
import os
import random
import shutil
from pathlib import Path

import pytest
from tests.forge.volumes import KEY, build, contents

from cloister.cli import main
from cloister.shield.volume.checking import check
from cloister.shield.volume.container import Container, VolumeRoot
from cloister.shield.volume.keys import VolumeBroken, VolumeKey
from cloister.shield.volume.layout import BLOCK, Mode
from cloister.shield.volume.reading import Volume

TREE = {"one": b"first " * 1000, "two": b"other " * 1000, "dir": {"deep": b"x" * 5}, "large": os.urandom(130 * BLOCK)}


@pytest.fixture(params=[Mode.ENCRYPTED, Mode.AUTHENTICATED], ids=["encrypted", "authenticated"])
def volume(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    build(tmp_path / "v", TREE, mode=request.param)
    return tmp_path / "v"


def verified(path: Path, key: VolumeKey = KEY) -> None:
    with Container(path, key) as container:
        check(Volume(container))


def test_a_change_in_any_block_is_noticed(volume: Path) -> None:
    """One bit of every block, at places drawn at random; both superblocks at once, for one alone is a torn write."""
    original = volume.read_bytes()
    draw = random.Random(0)  # noqa: S311 - which bits are flipped
    for block in range(len(original) // BLOCK):
        changed = bytearray(original)
        for number in {0, 1} if block < 2 else {block}:
            changed[number * BLOCK + draw.randrange(BLOCK)] ^= 1 << draw.randrange(8)
        volume.write_bytes(changed)
        with pytest.raises(VolumeBroken):
            verified(volume)


def test_what_is_served_of_a_changed_volume_is_right_or_nothing(volume: Path) -> None:
    """Reading single files does not read the others: those are served, and are right."""
    original, right = volume.read_bytes(), contents(volume)
    draw = random.Random(1)  # noqa: S311
    refused = 0
    for _ in range(150):
        changed = bytearray(original)
        changed[draw.randrange(2 * BLOCK, len(changed))] ^= 1 << draw.randrange(8)
        volume.write_bytes(changed)
        with Container(volume, KEY) as container:
            opened = Volume(container)
            for name in ("one", "two", "dir/deep", "large"):
                try:
                    assert b"".join(opened.content(opened.find(name))) == right[name]
                except VolumeBroken:
                    refused += 1
    assert refused >= 100


def test_blocks_that_change_places_are_noticed(volume: Path) -> None:
    original = volume.read_bytes()
    count = len(original) // BLOCK
    for block in range(2, count - 1):
        changed = bytearray(original)
        other = 2 + (block - 1) % (count - 2)
        here, there = slice(block * BLOCK, (block + 1) * BLOCK), slice(other * BLOCK, (other + 1) * BLOCK)
        changed[here], changed[there] = original[there], original[here]
        volume.write_bytes(changed)
        with pytest.raises(VolumeBroken):
            verified(volume)


@pytest.mark.parametrize("cut", [0, 1, BLOCK - 1, BLOCK, 2 * BLOCK, 3 * BLOCK + 7, -BLOCK, -1])
def test_a_volume_that_was_cut_off_is_noticed(volume: Path, cut: int) -> None:
    volume.write_bytes(volume.read_bytes()[:cut])
    with pytest.raises(VolumeBroken):
        verified(volume)


def test_blocks_of_another_volume_of_the_same_key_and_files_are_noticed(volume: Path, tmp_path: Path) -> None:
    """Same key, same content, same place: the identifier and the nonces differ."""
    build(tmp_path / "other", TREE)
    mine, other = volume.read_bytes(), (tmp_path / "other").read_bytes()
    for block in range(2, len(mine) // BLOCK):
        at = slice(block * BLOCK, (block + 1) * BLOCK)
        changed = bytearray(mine)
        changed[at] = other[at]
        volume.write_bytes(changed)
        with pytest.raises(VolumeBroken):
            verified(volume)


def test_superblocks_of_two_volumes_are_noticed(volume: Path, tmp_path: Path) -> None:
    build(tmp_path / "other", TREE)
    mine, other = bytearray(volume.read_bytes()), (tmp_path / "other").read_bytes()
    mine[:BLOCK] = other[:BLOCK]
    volume.write_bytes(mine)
    with pytest.raises(VolumeBroken, match="two volumes"):
        verified(volume)


def test_a_superblock_in_the_others_place_is_noticed(volume: Path) -> None:
    data = volume.read_bytes()
    volume.write_bytes(data[BLOCK : 2 * BLOCK] + data[:BLOCK] + data[2 * BLOCK :])
    with pytest.raises(VolumeBroken, match="contradict"):
        verified(volume)


def test_one_wrong_superblock_is_told(volume: Path) -> None:
    """That is what a write that was cut off looks like, so it must open; the person is told."""
    data = bytearray(volume.read_bytes())
    data[100] ^= 1
    volume.write_bytes(data)
    with Container(volume, KEY) as container:
        assert container.torn
        check(Volume(container))


def test_an_older_state_is_authentic_and_only_the_root_tells(tmp_path: Path) -> None:
    build(tmp_path / "v", {"balance": b"100"})
    shutil.copy(tmp_path / "v", tmp_path / "old")
    (tmp_path / "v").unlink()
    newest = build(tmp_path / "v", {"balance": b"5"})
    shutil.copy(tmp_path / "old", tmp_path / "v")
    with Container(tmp_path / "v", KEY) as container:
        check(Volume(container))
        with pytest.raises(VolumeBroken, match="not the volume of the given root"):
            newest.require(container.root, tmp_path / "v")
        with pytest.raises(VolumeBroken, match="rolled back"):
            VolumeRoot(newest.generation + 1, newest.digest).require(container.root, tmp_path / "v")
        with pytest.raises(VolumeBroken, match="newer"):
            VolumeRoot(newest.generation - 1, newest.digest).require(container.root, tmp_path / "v")


def test_the_digest_is_of_the_superblock_that_counts(tmp_path: Path) -> None:
    root = build(tmp_path / "v", {})
    data = (tmp_path / "v").read_bytes()
    at = root.generation % 2 * BLOCK
    assert root.digest == hashlib.sha256(data[at : at + BLOCK]).digest()


def test_another_key_opens_nothing(volume: Path) -> None:
    with pytest.raises(VolumeBroken, match="no volume of this key"):
        verified(volume, VolumeKey(os.urandom(32)))


def test_errors_say_nothing_of_contents_or_keys(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "SECRETNAME").write_text("SECRETCONTENT")
    main(["volume", "create", "--key", str(tmp_path / "k"), "--from", str(tmp_path / "data"), str(tmp_path / "v")])
    data = bytearray((tmp_path / "v").read_bytes())
    key = (tmp_path / "k").read_bytes()[16:]
    for block in range(2, len(data) // BLOCK):
        data[block * BLOCK] ^= 1
    (tmp_path / "v").write_bytes(data)
    assert main(["volume", "verify", "--key", str(tmp_path / "k"), str(tmp_path / "v")]) == 5
    said = capfd.readouterr()
    assert "SECRET" not in said.err + said.out
    assert key.hex() not in said.err
