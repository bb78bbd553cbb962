"""The administrator has the container of a shielded directory: he changes, cuts, mixes, replays and deletes it.

Real programs must be told (an error) or find the last committed state; never anything else.
"""

import hashlib
import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest
from tests.security.shielded import BLOCK, PYTHON, Region, cloister
from tests.system.arms import CLOISTER_ENVIRONMENT

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_runtime, pytest.mark.needs_program(PYTHON), pytest.mark.slow,
]  # fmt: skip

FILL = """
import os, sys
base, seed = sys.argv[1], int(sys.argv[2])
os.makedirs(f"{base}/d", exist_ok=True)
for number in range(6):
    with open(f"{base}/d/f{number}", "wb") as file:
        file.write(bytes([seed + number]) * (3000 + number * 9000))
        file.flush(); os.fsync(file.fileno())
os.symlink("d/f1", f"{base}/link{seed}")
"""
LOOK = """
import hashlib, os, sys
base, whole, wrong = sys.argv[1], hashlib.sha256(), 0
for folder, folders, names in sorted(os.walk(base, onerror=lambda e: print("told", e.errno))):
    for name in sorted(names):
        path = f"{folder}/{name}"
        try:
            data = os.readlink(path).encode() if os.path.islink(path) else open(path, "rb").read()
        except OSError as error:
            print("told", error.errno)
            continue
        print("file", path[len(base):], hashlib.sha256(data).hexdigest())
"""
ALLOWED = {"5", "74"}  # EIO, EBADMSG


@pytest.fixture
def region(tmp_path: Path) -> Region:
    """A region with some files."""
    made = Region(tmp_path).make()
    done = made.python(FILL, "1")
    assert done.returncode == 0, done.stderr
    return made


def looked(region: Region, more: str = "") -> tuple[set[str], bool]:
    """What a program finds there: its files with their digests; and whether it was told that something is wrong."""
    done = region.python(LOOK, more=more)
    lines = done.stdout.splitlines()
    errors = {line.split()[1] for line in lines if line.startswith("told ")}
    assert errors <= ALLOWED, f"errors that say something else: {errors}"
    return {line for line in lines if line.startswith("file ")}, bool(errors) or done.returncode != 0


def used_part(volume: Path) -> bytes:
    """The volume without the room behind it that is kept ready for more: zeros, which no block of ciphertext is."""
    content = volume.read_bytes().rstrip(b"\0")
    return content.ljust(-(-len(content) // BLOCK) * BLOCK, b"\0")


def test_the_control_what_is_not_attacked_is_found(region: Region) -> None:
    found, told = looked(region)
    assert (len(found), told) == (7, False)
    wanted = hashlib.sha256(b"\x03" * (3000 + 2 * 9000)).hexdigest()
    assert f"file /d/f2 {wanted}" in found


def test_a_change_in_any_block_is_noticed_or_changes_nothing(region: Region) -> None:
    """Both superblocks at once: one alone is what a crash leaves, and the other is taken."""
    right, _ = looked(region)
    original = used_part(region.volume)
    draw = random.Random(7)  # noqa: S311 - which bits are flipped
    noticed = 0
    for block in range(1, len(original) // BLOCK):
        changed = bytearray(original)
        for number in {0, 1} if block == 1 else {block}:
            changed[number * BLOCK + draw.randrange(BLOCK - 1000)] ^= 1 << draw.randrange(8)
        region.volume.write_bytes(changed)
        found, told = looked(region)
        assert found <= right, f"block {block}: something else was served"
        assert told or found == right, f"block {block}: files are missing, and nobody was told"
        noticed += told
    assert noticed >= len(original) // BLOCK // 2, "most blocks are in use"


def test_blocks_in_each_others_place(region: Region) -> None:
    right, _ = looked(region)
    original = used_part(region.volume)
    draw = random.Random(3)  # noqa: S311
    noticed = 0
    for _ in range(15):
        one, two = draw.sample(range(2, len(original) // BLOCK), 2)
        changed = bytearray(original)
        for here, there in ((one, two), (two, one)):
            changed[here * BLOCK : (here + 1) * BLOCK] = original[there * BLOCK : (there + 1) * BLOCK]
        region.volume.write_bytes(changed)
        found, told = looked(region)
        assert found <= right
        assert told or found == right
        noticed += told
    assert noticed >= 8


def test_a_volume_that_is_cut_off(region: Region) -> None:
    right, _ = looked(region)
    original = used_part(region.volume)
    size = len(original)
    for cut in (0, 1, BLOCK - 1, BLOCK, 2 * BLOCK, size // 4, size // 2, size - 40 * BLOCK, size - 1):
        region.volume.write_bytes(original[:cut])
        found, told = looked(region)
        assert told or found == right, f"cut at {cut}: nobody was told"
        assert told or cut > size // 2, "only what was not used yet may be missing"
        assert found <= right


def test_volumes_in_each_others_place(tmp_path: Path, region: Region) -> None:
    other = Region(tmp_path, "two").make()
    assert other.python(FILL, "100").returncode == 0
    first, second = region.volume.read_bytes(), other.volume.read_bytes()
    region.volume.write_bytes(second)
    other.volume.write_bytes(first)
    for one in (region, other):
        assert looked(one) == (set(), True)


def test_another_volume_of_the_same_key_is_not_the_one_of_the_root(tmp_path: Path, region: Region) -> None:
    other = Region(tmp_path, "two")
    shutil.copy(region.key, other.key)
    cloister("volume", "create", "--key", other.key, other.volume)
    assert other.python(FILL, "100").returncode == 0
    root = region.root()
    shutil.copy(other.volume, region.volume)
    assert looked(region, f'root = "{root}"') == (set(), True)


def test_an_older_volume_between_runs(region: Region) -> None:
    """With the root it is refused. Without, nothing tells old from new, and `cloister run` says so beforehand."""
    old = region.volume.read_bytes()
    before, _ = looked(region)
    assert region.python(FILL.replace("os.symlink", "0 and os.symlink"), "50").returncode == 0
    after, root = looked(region)[0], region.root()
    assert before != after
    region.volume.write_bytes(old)
    assert looked(region, f'root = "{root}"') == (set(), True)
    assert looked(region)[0] == before
    said = subprocess.run(
        [word for word in region.command(["true"]) if word != "--quiet"], capture_output=True, text=True, check=False,
        env=CLOISTER_ENVIRONMENT,
    )  # fmt: skip
    assert "no root is given" in said.stderr


def test_a_root_is_a_least_one(region: Region) -> None:
    root = region.root()
    assert region.python(FILL.replace("os.symlink", "0 and os.symlink"), "60").returncode == 0
    found, told = looked(region, f'root = "{root}"')
    assert not told
    assert len(found) == 7


CONVERSE = """
import os, sys
base = sys.argv[1]
fd = os.open(f"{base}/d/f5", os.O_RDWR)
for line in sys.stdin:
    word, *rest = line.split()
    try:
        if word == "read":
            found = set()
            for number in range(6):
                with open(f"{base}/d/f{number}", "rb") as file:
                    found |= set(file.read())
            print("found", *sorted(found), flush=True)
        elif word == "churn":
            with open(f"{base}/churn", "w+b") as file:
                for _ in range(512):
                    file.write(os.urandom(65536))
                file.seek(0)
                while file.read(65536):
                    pass
            print("done", flush=True)
        elif word == "write":
            for number in range(6):
                with open(f"{base}/d/f{number}", "r+b") as file:
                    file.write(bytes([int(rest[0])]) * (3000 + number * 9000))
                    file.flush()
                    os.fsync(file.fileno())
            print("written", flush=True)
    except OSError as error:
        print("told", error.errno, flush=True)
"""
"""Talks: `churn` pushes everything else out of the cache."""


class Talk:
    """A conversation with a running program."""

    def __init__(self, region: Region, code: str = CONVERSE) -> None:
        self.process = region.start([PYTHON, "-I", "-S", "-c", code, str(region.path)])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=20)

    def say(self, words: str) -> list[str]:
        """One line there, one line back."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().split()


def overwrite(path: Path, data: bytes) -> None:
    """In place, as whoever has the file open sees it."""
    with path.open("r+b") as file:
        file.write(data)
        file.truncate(len(data))


def test_an_older_volume_during_a_run(region: Region) -> None:
    """The program has it open. What it reads from then on is what it wrote, or an error: never the old."""
    old = region.volume.read_bytes()
    with Talk(region) as talk:
        assert talk.say("write 200") == ["written"]
        assert talk.say("churn") == ["done"]
        overwrite(region.volume, old)
        told = False
        for words in ("read", "churn", "read", "write 210", "read", "churn", "read"):
            answer = talk.say(words)
            told |= answer[0] == "told"
            assert answer in (*RIGHT, ["found", "210"], ["done"], ["written"]), answer
    assert told, "what was rolled back was noticed"


RIGHT = (["found", "200"], ["told", "5"], ["told", "74"])


CHANGES: dict[str, Callable[[bytearray], None]] = {
    "zeros": lambda data: data.__setitem__(slice(2 * BLOCK, None), bytes(len(data) - 2 * BLOCK)),
    "noise": lambda data: data.__setitem__(slice(2 * BLOCK, None), os.urandom(len(data) - 2 * BLOCK)),
    "everything cut off": lambda data: data.__delitem__(slice(0, None)),
    "superblocks gone": lambda data: data.__setitem__(slice(0, 2 * BLOCK), bytes(2 * BLOCK)),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_a_volume_that_is_changed_during_a_run(region: Region, change: str) -> None:
    with Talk(region) as talk:
        assert talk.say("write 200") == ["written"]
        talk.say("churn")
        data = bytearray(region.volume.read_bytes())
        CHANGES[change](data)
        overwrite(region.volume, bytes(data))
        for words in ("read", "churn", "read", "write 210", "read"):
            answer = talk.say(words)
            assert answer in (*RIGHT, ["found", "210"], ["done"], ["written"]), answer


def test_a_volume_that_is_deleted_or_exchanged_during_a_run(tmp_path: Path, region: Region) -> None:
    """The program holds its own: another file under the name is none of its business."""
    other = Region(tmp_path, "two").make()
    with Talk(region) as talk:
        assert talk.say("write 200") == ["written"]
        region.volume.rename(tmp_path / "away")
        shutil.copy(other.volume, region.volume)
        assert talk.say("write 201") == ["written"]
        talk.say("churn")
        assert talk.say("read") == ["found", "201"]
        region.volume.unlink()
        assert talk.say("write 202") == ["written"]
    assert looked(region) == (set(), True)
    (tmp_path / "away").rename(region.volume)
    found, told = looked(region)
    assert not told
    assert f"file /d/f0 {hashlib.sha256(bytes([202]) * 3000).hexdigest()}" in found


def test_a_stopped_program_is_no_opportunity(region: Region) -> None:
    with Talk(region) as talk:
        assert talk.say("write 200") == ["written"]
        old = region.volume.read_bytes()
        assert talk.say("write 201") == ["written"]
        talk.say("churn")
        os.kill(talk.process.pid, 19)  # SIGSTOP
        overwrite(region.volume, old)
        os.kill(talk.process.pid, 18)
        assert talk.say("read") in (["found", "201"], ["told", "5"], ["told", "74"])


def test_what_is_written_is_nowhere_in_the_clear(region: Region) -> None:
    """Neither in the container nor beside it nor in a temporary file: not whole, not in part."""
    marker = os.urandom(12).hex()
    code = (
        "import os, sys; s = sys.stdin.readline().strip(); f = open(sys.argv[1] + '/n-' + s, 'w'); f.write(s * 500);"
        " f.flush(); os.fsync(f.fileno()); print('there', flush=True); sys.stdin.readline()"
    )
    with Talk(region, code) as talk:
        assert talk.say(marker) == ["there"]
        files = [path for path in region.base.rglob("*") if path.is_file()]
        opened = [path for path in Path(f"/proc/{talk.process.pid}/fd").iterdir() if path.is_file()]
        assert region.volume in files
        assert region.volume in {path.resolve() for path in opened}, "the container is open, and read here too"
        assert not [path for path in (*files, *opened) if marker.encode() in path.read_bytes()]
        assert not [path for path in files if marker in path.name]
        assert talk.say("") == []
    assert f"n-{marker}" in cloister("volume", "ls", "--key", region.key, region.volume).stdout


def test_another_key_opens_nothing(tmp_path: Path, region: Region) -> None:
    other = Region(tmp_path, "two").make()
    shutil.copy(other.key, region.key)
    assert looked(region) == (set(), True)


def test_a_read_only_region_is_not_written(region: Region) -> None:
    before = region.volume.read_bytes()
    done = region.python(FILL, "1", more="read_only = true")
    assert re.search(r"Errno 30\b", done.stderr), done.stderr
    assert region.volume.read_bytes() == before


LINK = """
import ctypes, os, sys
libc, (region, outside) = ctypes.CDLL(None, use_errno=True), sys.argv[1:]
native = os.open(outside, os.O_TMPFILE | os.O_RDWR)
print(libc.linkat(native, b"", -100, f"{region}/named".encode(), 0x1000), ctypes.get_errno())
shielded = os.open(region, os.O_TMPFILE | os.O_RDWR)
os.write(shielded, b"secret")
print(libc.linkat(shielded, b"", -100, f"{outside}/named".encode(), 0x1000), ctypes.get_errno())
print("named" in os.listdir(region), "named" in os.listdir(outside))
"""


def test_an_open_file_gets_no_name_on_the_other_side(tmp_path: Path, region: Region) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    done = region.run([PYTHON, "-c", LINK, str(region.path), str(outside)])
    assert done.stdout.split() == ["-1", "18", "-1", "18", "False", "False"], done.stdout + done.stderr
    assert not region.path.exists()
