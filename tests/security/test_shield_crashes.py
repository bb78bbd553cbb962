"""Programs on a shielded directory are killed in the middle of their work, or their disk is full: nothing is lost.

What a program was told is durable must be there afterwards, whole; what it was not told may be there or not.
"""

import errno
import random
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.security.mounts import unmount
from tests.security.shielded import PYTHON, Region
from tests.system.process_tree import kill, tree, wait_until_gone

from cloister.shield.volume.checking import check
from cloister.shield.volume.container import Container
from cloister.shield.volume.keys import VolumeKey
from cloister.shield.volume.reading import Volume

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_runtime, pytest.mark.needs_program(PYTHON), pytest.mark.slow,
    pytest.mark.timeout(300),
]  # fmt: skip

KILLS, MANY_KILLS = 15, 200
LONGEST_LIFE = 0.25  # seconds after the first sign of life


def killed(region: Region, words: list[str], life: float, given: str = "") -> list[str]:
    """The lines that a program said before it and all its processes were killed."""
    orders = region.base / "orders"
    orders.write_text(given)
    with orders.open() as file:
        process = region.start(words, given=file)
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], 30)
    assert ready, "it says nothing"
    time.sleep(life)
    members = list(tree([process.pid]))
    kill(members)
    said = process.stdout.read()
    process.wait(20)
    wait_until_gone(members, seconds=5)
    process.stdout.close()
    assert process.stderr is not None
    errors = process.stderr.read()
    process.stderr.close()
    assert process.returncode == -signal.SIGKILL, f"it ended by itself: {errors}"
    return [line for line in said.split("\n")[:-1] if line]  # the last may be cut


def verified(region: Region) -> None:
    """The container as it lies there is right, from its root to the last block in use."""
    with VolumeKey.read(region.key) as key, Container(region.volume, key) as container:
        check(Volume(container))


SQL = "CREATE TABLE IF NOT EXISTS t(n INTEGER PRIMARY KEY, pad BLOB); PRAGMA synchronous = EXTRA;\n"
"""EXTRA: the removal of the journal, which commits, is followed by fsync(2); FULL leaves that for later."""


@pytest.mark.needs_program("sqlite3")
@pytest.mark.parametrize(
    "kills", [KILLS, pytest.param(MANY_KILLS, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_sqlite_keeps_what_it_committed(tmp_path: Path, journal: str, kills: int) -> None:
    region = Region(tmp_path).make()
    draw = random.Random(journal)  # noqa: S311 - when to kill
    database = str(region.path / "db")
    begin = 1
    for _ in range(kills):
        inserts = "".join(
            f"INSERT INTO t VALUES({n}, randomblob({draw.randrange(10, 9000)})); SELECT 'is {n}';\n"
            for n in range(begin, begin + 3000)
        )
        words = ["sqlite3", "-batch", "-bail", database]
        said = killed(region, words, draw.uniform(0, LONGEST_LIFE), f"PRAGMA journal_mode = {journal};\n{SQL}{inserts}")
        verified(region)
        done = max((int(line.split()[1]) for line in said if line.startswith("is ")), default=begin - 1)
        asked = region.run([*words, "PRAGMA integrity_check; SELECT count(*), coalesce(max(n), 0) FROM t"])
        assert asked.returncode == 0, asked.stderr
        right, numbers = asked.stdout.split()
        count, last = map(int, numbers.split("|"))
        assert (right, count) == ("ok", last), "a row is missing"
        assert done <= last <= done + 1, f"told of {done}, found {last}"
        begin = last + 1
    assert begin > kills, "it never got far"


STEPS = """
import os, sys
base = sys.argv[1]
number = int(open(f"{base}/now").read()) if os.path.exists(f"{base}/now") else 0
print("begun", flush=True)
while True:
    number += 1
    with open(f"{base}/new", "w") as file:
        file.write(f"{number}".ljust(number % 20000))
        file.flush()
        os.fsync(file.fileno())
    os.rename(f"{base}/new", f"{base}/now")
    with open(f"{base}/log", "ab") as log:
        log.write(number.to_bytes(8, "little") * 100)
        log.flush()
        os.fsync(log.fileno())
    print(number, flush=True)
"""
STATE = """
import sys
base = sys.argv[1]
print(int(open(f"{base}/now").read()))
data = open(f"{base}/log", "rb").read()
numbers = [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 800)]
whole = all(data[i : i + 800] == data[i : i + 8] * 100 for i in range(0, len(data) // 800 * 800, 800))
print(whole, numbers == sorted(set(numbers)), max(numbers, default=0))
"""


@pytest.mark.parametrize(
    "kills", [KILLS, pytest.param(MANY_KILLS, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
def test_a_file_that_is_replaced_is_the_old_or_the_new_one(tmp_path: Path, kills: int) -> None:
    region = Region(tmp_path).make()
    draw = random.Random(5)  # noqa: S311
    last = 0
    for _ in range(kills):
        words = [PYTHON, "-I", "-S", "-c", STEPS, str(region.path)]
        said = killed(region, words, draw.uniform(0, LONGEST_LIFE))
        verified(region)
        told = max((int(line) for line in said if line.isdecimal()), default=last)
        if told == 0:
            continue
        state = region.python(STATE)
        assert state.returncode == 0, state.stderr
        now, log = state.stdout.splitlines()
        assert told <= int(now) <= told + 1
        assert log.startswith("True True "), log
        assert int(log.split()[2]) >= told
        last = int(now)
    assert last > kills, "it never got far"


SHELL = """
n=$(cat "$1/now" 2>/dev/null || echo 0)
echo begun
while :; do
    n=$((n + 1))
    seq $n $((n + 500)) > "$1/new" && sync "$1/new" && mv "$1/new" "$1/list" && echo $n > "$1/now" && sync "$1/now" "$1"
    echo $n
done
"""


@pytest.mark.needs_program("bash")
@pytest.mark.parametrize("kills", [5, pytest.param(60, marks=[pytest.mark.long, pytest.mark.timeout(1200)])])
def test_a_script_whose_programs_come_and_go(tmp_path: Path, kills: int) -> None:
    """Each `seq`, `sync` and `mv` is a program of its own that has the volume open."""
    region = Region(tmp_path).make()
    draw = random.Random(8)  # noqa: S311
    seen = 0
    for _ in range(kills):
        said = killed(region, ["bash", "-c", SHELL, "bash", str(region.path)], draw.uniform(0.2, 1.5))
        verified(region)
        told = max((int(line) for line in said if line.isdecimal()), default=seen)
        found = region.run(
            ["bash", "-c", f"head -1 {region.path}/list; wc -l < {region.path}/list; cat {region.path}/now"]
        )
        if told == 0:
            continue
        first, lines, now = (found.stdout.split() + ["0"] * 3)[:3]
        assert int(lines) == 501, found
        assert told <= int(first) <= told + 1
        assert int(now) in (told, told + 1)
        seen = int(now)
    assert seen > 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk that is full after two MiB."""
    mount = tmp_path / "small"
    mount.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "small", mount], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no mounts here: {done.stderr.decode().strip()}")
    try:
        yield mount
    finally:
        unmount(mount)


FULL = """
import os, sys
base = sys.argv[1]
def put(name, data):
    with open(f"{base}/{name}", "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
put("kept", b"k" * 300_000)
print("kept", flush=True)
failed = 0
for number in range(60):
    try:
        put(f"more{number}", bytes([number]) * 100_000)
        print("more", number, flush=True)
    except OSError as error:
        failed = error.errno
        break
print("failed", failed, flush=True)
print("still", open(f"{base}/kept", "rb").read() == b"k" * 300_000, flush=True)
"""


def test_a_full_disk_is_an_error_and_loses_nothing(small_disk: Path) -> None:
    region = Region(small_disk).make()
    done = region.python(FULL)
    said = done.stdout.splitlines()
    assert f"failed {errno.ENOSPC}" in said, done
    assert "still True" in said
    verified(region)
    kept = [line.split()[1] for line in said if line.startswith("more ")]
    look = (
        "import sys; b = sys.argv[1]; print(open(b + '/kept', 'rb').read() == b'k' * 300000,"
        f" all(open(f'{{b}}/more{{n}}', 'rb').read() == bytes([n]) * 100000 for n in {list(map(int, kept))}))"
    )
    assert region.python(look).stdout == "True True\n"


def test_room_that_is_given_back_can_be_used_again(small_disk: Path) -> None:
    region = Region(small_disk).make()
    assert region.python(FULL).returncode == 0
    again = FULL.replace('put("kept"', '[os.unlink(f"{base}/{n}") for n in os.listdir(base)]; os.sync(); put("kept"')
    done = region.python(again)
    assert re.search(r"^more 5$", done.stdout, re.MULTILINE), done
    verified(region)


LIMIT = 3 << 20  # a volume grows by steps of a MiB


def test_a_limit_on_the_size_of_files_is_an_error_too(tmp_path: Path) -> None:
    """RLIMIT_FSIZE is the container's, which the program does not know: it is told, and nothing is lost."""
    region = Region(tmp_path).make()
    limited = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    limited += f"resource.setrlimit(resource.RLIMIT_FSIZE, ({LIMIT}, {LIMIT}))\n"
    done = region.python(limited + FULL)
    assert re.search(rf"^failed ({errno.EFBIG}|{errno.ENOSPC}|{errno.EIO})$", done.stdout, re.MULTILINE), done
    assert "still True" in done.stdout
    verified(region)
    assert region.volume.stat().st_size <= LIMIT
