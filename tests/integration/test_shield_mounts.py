"""Volumes under real processes: what one changes all see, whatever is killed, and what is there afterwards."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from tests.integration.runtime_programs.arms import HERE, build
from tests.services.shielded import Shielded

from cloister.shield_policy.words import FileKind

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_program("cc")]

LITTLE_CACHE = 3 << 20


@pytest.fixture(scope="module")
def hammer(tmp_path_factory: pytest.TempPathFactory) -> str:
    target = tmp_path_factory.mktemp("hammer") / "hammer"
    subprocess.run(["cc", "-O1", "-Wall", "-o", target, HERE / "hammer.c"], check=True)
    return str(target)


@pytest.fixture
def place(tmp_path: Path) -> Shielded:
    return Shielded(tmp_path)


def sh(place: Shielded, script: str, *, seconds: float = 60.0) -> list[str]:
    done = place.run("/bin/sh", "-c", script, seconds=seconds)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()


# ---- from one process to another, and to the next run


@pytest.mark.parametrize("kind", [FileKind.ENCRYPTED, FileKind.AUTHENTICATED])
def test_the_next_run_finds_what_the_last_one_wrote(place: Shielded, kind: FileKind) -> None:
    """Nobody synced."""
    place.kind = kind
    assert sh(place, "echo one > /data/a; mkdir /data/d; ln -s ../a /data/d/link") == []
    assert place.tree() == {b"a": b"one\n", b"d": None, b"d/link": b"../a"}
    assert sh(place, "cat /data/d/link; echo two >> /data/a") == ["one"]
    assert sh(place, "cat /data/a") == ["one", "two"]


def test_what_is_executed_sees_it_and_is_seen(place: Shielded) -> None:
    script = """
    echo from the shell > /data/x; /bin/cat /data/x
    /bin/sh -c 'echo from a child > /data/y; /bin/cat /data/x /data/y'
    cat /data/y; read -r line < /data/y; echo "$line"
    (echo from a fork > /data/z); /bin/cat /data/z
    """
    assert sh(place, script) == [
        "from the shell", "from the shell", "from a child", "from a child", "from a child", "from a fork",
    ]  # fmt: skip


def test_a_child_alone_writes_and_its_shell_never_looked(place: Shielded) -> None:
    """What was published and not committed is committed by the last to go."""
    assert sh(place, "/bin/cp /etc/hostname /data/copy; exit 0") == []
    assert place.tree() == {b"copy": Path("/etc/hostname").read_bytes()}


def test_an_open_descriptor_is_handed_on(place: Shielded) -> None:
    script = """
    exec 3> /data/x; echo one >&3; /bin/sh -c 'echo two >&3'; echo three >&3; exec 3>&-; cat /data/x
    exec 4< /data/x; rm /data/x; read -r line <&4; echo "$line"; /bin/cat <&4; ls /data
    """
    assert sh(place, script) == ["one", "two", "three", "one", "two", "three"]
    assert place.tree() == {}


def test_a_region_of_memory_is_one_for_all_and_gone_afterwards(place: Shielded) -> None:
    place.memory = True
    assert sh(place, "echo x > /memory/x; /bin/cat /memory/x; /bin/sh -c 'echo y > /memory/y'; cat /memory/y") == [
        "x",
        "y",
    ]
    assert sh(place, "ls /memory") == []


def test_room_of_removed_files_comes_back(place: Shielded) -> None:
    """In one family, and when others have removed them."""
    script = "dd if=/dev/urandom of=/data/f bs=1M count=4 2>/dev/null; rm /data/f; ls /data"
    sizes = []
    for _ in range(5):
        assert sh(place, f"{script}; {script}") == []
        sizes.append(place.volume.stat().st_size)
    assert sizes[-1] <= sizes[1]
    assert place.tree() == {}


# ---- more than memory holds


@pytest.mark.needs_program("python3")
def test_more_than_the_cache_holds(place: Shielded) -> None:
    place.cache = LITTLE_CACHE
    program = """
import hashlib, os, random
draw = random.Random(1)
content = bytearray()
with open("/data/f", "w+b") as file:
    for _ in range(400):
        at, piece = draw.randrange(20_000_000), draw.randbytes(draw.randrange(1, 60_000))
        file.seek(at); file.write(piece)
        content.extend(bytes(max(at - len(content), 0))); content[at : at + len(piece)] = piece
    file.flush()
    file.seek(0)
    print(file.read() == content)
    os.fsync(file.fileno())
print(hashlib.sha256(content).hexdigest())
"""
    done = place.run("/usr/bin/python3", "-c", program, seconds=100)
    same, digest = done.stdout.split()
    assert same == "True"
    assert sh(place, "sha256sum < /data/f") == [f"{digest}  -"]


# ---- without a lock


def test_reads_among_threads_and_signals(place: Shielded, tmp_path: Path) -> None:
    """What the cache holds is read without a lock: never half of a change, nor another file's."""
    place.cache = 8 << 20
    done = place.run(str(build(tmp_path, "peeking")), "/data", "1500")
    assert (done.stdout, done.returncode) == ("right\n", 0), done.stderr


# ---- killed at any moment


@pytest.mark.parametrize("how", ["fork", "exec"])
def test_whoever_is_killed_leaves_everything_whole(place: Shielded, hammer: str, how: str) -> None:
    """Three at once, killed after some milliseconds, 12 times; and what the last leave is a right volume."""
    done = place.run(hammer, "/data", how, "12", str(os.getpid()), seconds=100)
    assert (done.returncode, done.stdout) == (0, "right\n"), done.stderr
    place.tree()
    done = place.run(hammer, "/data", "look")
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("seconds", [0.5, 6.5])
def test_the_whole_tree_is_killed(place: Shielded, hammer: str, seconds: float) -> None:
    """What is there is what was committed last: some seconds old at most."""
    assert place.run(hammer, "/data", "fork", "1", "1").stdout == "right\n"
    before = place.root()
    with place.start([hammer, "/data", "worker", "7"]) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=seconds)
        os.killpg(process.pid, signal.SIGKILL)
    if seconds > 5:
        assert place.root().generation > before.generation, "committed meanwhile"
    place.tree()
    done = place.run(hammer, "/data", "look")
    assert (done.returncode, done.stdout) == (0, "")


# ---- who may not


def test_two_trees_cannot_have_one_volume(place: Shielded) -> None:
    with place.start(["/bin/sh", "-c", "echo in use; read -r go; echo x > /data/x"]) as one:
        assert one.stdout
        assert one.stdout.readline() == "in use\n"
        other = place.run("/bin/true")
        assert other.returncode == 120
        assert "/data: another program has the volume of this region open" in other.stderr
        one.communicate("go\n", timeout=60)
    assert place.tree() == {b"x": b"x\n"}


# ---- what is said


def test_a_volume_that_is_not_there(place: Shielded) -> None:
    place.read_only = True
    done = place.run("/bin/true")
    assert done.returncode == 120
    assert "/data: the volume of this region does not exist" in done.stderr
    assert "fix: " in done.stderr


@pytest.mark.parametrize("what", ["another key", "another kind", "an older one", "no volume at all"])
def test_a_volume_that_cannot_be_used(place: Shielded, what: str) -> None:
    """The program gets an errno, a person the reason; nothing is written over."""
    assert sh(place, "echo x > /data/x") == []
    said = "does not hold what was written with this key"
    if what == "another key":
        place.key.unlink()
    elif what == "another kind":
        place.kind = FileKind.AUTHENTICATED
        said = "is not of the kind that the policy says"
    elif what == "an older one":
        place.generation = place.root().generation + 1
        said = "is older than the state that the policy asks for"
    else:
        place.volume.write_bytes(b"something else" * 1000)
    before = place.volume.read_bytes()
    done = place.run("/bin/sh", "-c", "cat /data/x; echo y > /data/y")
    assert done.returncode
    assert "x" not in done.stdout
    assert f"/data: its volume {said}" in done.stderr
    assert "fix: " in done.stderr
    assert place.volume.read_bytes() == before


def test_a_read_only_region(place: Shielded) -> None:
    assert sh(place, "echo x > /data/x; mkdir /data/d") == []
    before = place.volume.read_bytes()
    place.read_only = True
    done = place.run(
        "/bin/sh", "-c", "cat /data/x; echo y > /data/x; rm /data/x; rmdir /data/d; /bin/cat /data/x; /bin/sync"
    )
    assert done.stdout == "x\nx\n"
    assert done.stderr.count("Read-only file system") == 3
    assert place.volume.read_bytes() == before


def test_programs_share_what_they_only_read(place: Shielded) -> None:
    assert sh(place, "echo x > /data/x") == []
    place.read_only = True
    with place.start(["/bin/sh", "-c", "cat /data/x; read -r go; cat /data/x"]) as one:
        assert one.stdout
        assert one.stdout.readline() == "x\n"
        assert sh(place, "cat /data/x") == ["x"]
        assert one.communicate("go\n", timeout=60)[0] == "x\n"


# ---- a database that is killed

TRANSACTIONS = """
import sqlite3, sys
base = sqlite3.connect("/data/base", isolation_level=None)
base.execute("pragma journal_mode = " + sys.argv[1])
base.execute("pragma synchronous = extra")
base.execute("create table if not exists t (n integer primary key, filler blob)")
first = base.execute("select coalesce(max(n), 0) from t").fetchone()[0]
for n in range(first + 1, 1 << 30):
    base.execute("begin")
    base.execute("insert into t values (?, randomblob(3000))", (n,))
    base.execute("delete from t where n = ?", (n - 50,))
    base.execute("commit")
    print(n, flush=True)
"""
LOOK = """
import sqlite3
base = sqlite3.connect("/data/base")
print(base.execute("pragma integrity_check").fetchone()[0])
print(*base.execute("select min(n), max(n), count(*) from t").fetchone())
"""


@pytest.mark.needs_program("/usr/bin/python3")
@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize("parent", [[], ["/bin/sh", "-c", '"$@"; true', "sh"]], ids=["alone", "with a shell"])
def test_what_a_database_has_committed_survives_kills(place: Shielded, journal: str, parent: list[str]) -> None:
    """SIGKILL of the whole tree, four times at any moment. A family that works alone, and one that shares.

    To a volume that is as a power failure, so the database must sync as if it feared one ("extra").
    """
    last = 0
    for turn in range(4):
        with place.start([*parent, "/usr/bin/python3", "-c", TRANSACTIONS, journal]) as process:
            assert process.stdout
            for line in process.stdout:
                last = int(line)
                if last % 40 >= 20 + 5 * turn:
                    break
            os.killpg(process.pid, signal.SIGKILL)
            last = max([last, *map(int, process.stdout.read().split())])
        right, numbers = sh(place, f"/usr/bin/python3 -c '{LOOK}'")
        least, most, count = map(int, numbers.split())
        assert right == "ok"
        assert most in {last, last + 1}
        assert count == most - least + 1
