"""Programs that live from their files, on every kind of place: each does the same there as natively on a disk.

SQLite, PostgreSQL, git and the tools of every administrator; CPython's own tests of files.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.services.postgres import ACCOUNT, as_account, programs
from tests.system.file_places import PLACES, Place, place_named
from tests.system.process_tree import kill, moments, tree, wait_until_gone
from tests.system.test_breadth_cpython import LINE, WITHOUT_HOST, interpreter

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime, pytest.mark.slow]

WORK = Path(__file__).parent / "programs" / "breadth"
OTHERS = PLACES[1:]
PYTHON = "/usr/bin/python3"


@pytest.fixture(params=OTHERS)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Each kind of place but the one that the others are compared with; other users may go there."""
    with tempfile.TemporaryDirectory(prefix="cloister-test-") as name:
        beside = Path(name)
        beside.chmod(0o755)
        with place_named(request.param, beside) as found:
            yield found


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Place]:
    """Natively, on a disk."""
    beside = tmp_path / "native"
    beside.mkdir()
    with place_named("native disk", beside) as found:
        yield found


def worked(place: Place, words: str, *, seconds: float = 100.0) -> tuple[int, str]:
    """Status and output of a command of the shell in the place's directory, which is made if it is not there."""
    done = place.run(["sh", "-c", f"cd {place.directory} && {words}"], seconds=seconds, check=False)
    return done.returncode, (done.stdout + done.stderr).replace(str(place.directory), "DIRECTORY")


LEFT_OUT = "fifo|chroot"  # a volume has no pipes, and there is no chroot(2) under a shield (LIMITATIONS.md)
SCRIPTS = {
    "tools": f"grep -Ev '{LEFT_OUT}' {WORK / 'files_work.sh'} > {{beside}}/work.sh; exec bash {{beside}}/work.sh 2>&-",
    "git": f"exec bash {WORK / 'git_work.sh'}",
    "sqlite writers": f"exec {PYTHON} {WORK / 'sqlite_writers.py'}",
}


@pytest.mark.needs_program("bash", "git", "rsync", PYTHON)
@pytest.mark.parametrize("name", list(SCRIPTS))
def test_same_work(name: str, place: Place, disk: Place) -> None:
    native, there = (worked(one, SCRIPTS[name].format(beside=one.beside)) for one in (disk, place))
    assert native[0] == 0, native
    assert there == native


SQL = """\
.bail on
PRAGMA journal_mode = {journal};
PRAGMA mmap_size = {mapped};
PRAGMA synchronous = FULL;
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, weight INTEGER);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
    INSERT INTO item SELECT i, 'item ' || i, i * 7919 % 10007 FROM n;
COMMIT;
CREATE INDEX item_weight ON item (weight);
UPDATE item SET weight = weight + 1 WHERE id % 3 = 0;
BEGIN; DELETE FROM item; ROLLBACK;
DELETE FROM item WHERE id % 5 = 0;
VACUUM;
PRAGMA integrity_check;
SELECT count(*), sum(weight) FROM item;
"""


TOTALS = f"4000|{sum(i * 7919 % 10007 + (i % 3 == 0) for i in range(1, 5001) if i % 5)}"


@pytest.mark.needs_program("sqlite3")
@pytest.mark.parametrize("mapped", [0, 1 << 28])
@pytest.mark.parametrize("journal", ["delete", "truncate", "persist", "wal"])
def test_sqlite(place: Place, journal: str, mapped: int) -> None:
    statements = SQL.format(journal=journal, mapped=mapped)
    database = str(place.directory / "items.db")
    done = place.run(["sqlite3", "-batch", database], given=statements)
    assert done.stdout.split() == [journal, str(mapped), "ok", TOTALS]
    if place.name != "shielded memory":
        asked = place.run(["sqlite3", "-batch", database, "PRAGMA integrity_check; SELECT count(*) FROM item"])
        assert asked.stdout.split() == ["ok", "4000"]


MODULES = (
    "test_os", "test_posix", "test_io", "test_fileio", "test_file", "test_largefile", "test_mmap", "test_mailbox",
    "test_shutil", "test_tempfile", "test_pathlib", "test_glob", "test_fcntl", "test_dbm", "test_dbm_dumb",
    "test_shelve", "test_sqlite3", "test_zipfile", "test_tarfile", "test_bz2", "test_gzip", "test_lzma",
    "test_fileinput", "test_filecmp", "test_stat", "test_genericpath", "test_posixpath", "test_import",
)  # fmt: skip


DIFFERENT = {
    r"xattr|test_os\.ExtendedAttributeTests": "a volume holds no extended attributes",
    r"fifo|named_pipe|TestExtractionFilters\.test_pipe|test_stat\..*test_socket": "nor pipes and sockets",
    r"test_os\.UtimeTests|TestMaildir\.test_clean": "nor times of access",
    r"test_os\.FileTests\.test_splice": "splice(2) is refused: programs read and write then",
    r"LargeMmapTests": "64 MiB of a region's files are mapped at a time",
    r"MmapTests\.test_(basic|offset)\b": "mremap(2) of shared mappings is refused",
}
"""Tests that end otherwise on a shielded directory (LIMITATIONS.md)."""


def is_known(name: str, place: Place) -> bool:
    return place.shielded and any(re.search(pattern, name) for pattern in DIFFERENT)


def endings(place: Place, module: str) -> dict[str, str]:
    """How each of its tests ended."""
    words = [interpreter(module), "-m", "test", "-v", "--tempdir", str(place.directory), "-i", WITHOUT_HOST, module]
    done = place.run(words, seconds=1400, check=False)
    return {found["name"]: found["end"] for found in LINE.finditer(done.stdout + done.stderr)}


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("module", MODULES)
def test_cpython(module: str, place: Place, disk: Place) -> None:
    native, there = endings(disk, module), endings(place, module)
    if not native:
        pytest.skip(f"no Python here has {module}")
    different = {
        name: (native.get(name), there.get(name)) for name in native | there if native.get(name) != there.get(name)
    }
    assert not {name: ends for name, ends in different.items() if not is_known(name, place)}


SETTINGS = ("listen_addresses=", "shared_buffers=16MB", "max_connections=20", "checkpoint_timeout=30s", "fsync=on")


class Cluster:
    """A PostgreSQL server whose data lies in the place, and whose socket beside it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.data = place.directory / "data"
        shutil.chown(place.beside, ACCOUNT)

    def run(self, program: str, *words: str, seconds: float = 100.0) -> str:
        """One of PostgreSQL's programs, in the place."""
        return self.place.run([*as_account(), str(programs() / program), *words], seconds=seconds).stdout

    def client(self, program: str, *words: str) -> str:
        """One that speaks to the server, natively."""
        where = ["-h", str(self.place.beside), "-U", ACCOUNT]
        done = subprocess.run(
            [*as_account(), str(programs() / program), *where, *words], capture_output=True, text=True, timeout=100,
            cwd=self.place.beside, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def make(self) -> None:
        """A cluster with checksums."""
        base = self.place.directory
        initdb = [*as_account(), str(programs() / "initdb"), "-D", str(self.data), "-A", "trust", "-U", ACCOUNT, "-k"]
        self.place.run(
            [
                "sh",
                "-c",
                f"chmod 755 {base} && mkdir {self.data} && chown {ACCOUNT} {self.data} && exec {' '.join(initdb)}",
            ]
        )

    @contextlib.contextmanager
    def running(self) -> Iterator["subprocess.Popen[bytes]"]:
        """The server; killed with all its processes at the end, if it is still there."""
        settings = [word for setting in SETTINGS for word in ("-c", setting)]
        postgres = [*as_account(), str(programs() / "postgres"), "-D", str(self.data), "-k", str(self.place.beside)]
        with (self.place.beside / "log").open("ab") as log:
            process = subprocess.Popen(
                self.place.start([*postgres, *settings]), stdout=log, stderr=log, cwd=self.place.beside,
                env=self.place.environment,
            )  # fmt: skip
        try:
            self.wait(process)
            yield process
        finally:
            members = list(tree([process.pid]))
            kill(members)
            process.wait(20)
            wait_until_gone(members, seconds=5)

    def wait(self, process: "subprocess.Popen[bytes]") -> None:
        """Until it answers."""
        for _ in moments(30):
            with contextlib.suppress(AssertionError):
                self.client("pg_isready", "-q")
                return
            assert process.poll() is None, (self.place.beside / "log").read_text()
        raise AssertionError((self.place.beside / "log").read_text())


@pytest.mark.timeout(300)
@pytest.mark.needs_program("psql", "setpriv")
def test_postgres_survives_its_death(place: Place) -> None:
    """Loaded, killed in the middle of transactions, recovered, checked block by block."""
    if place.name == "shielded memory":
        pytest.skip("what is only in memory ends with the program that made it")
    cluster = Cluster(place)
    cluster.make()
    with cluster.running() as server:
        cluster.client("pgbench", "-i", "-q", "-s", "1", "postgres")
        load = [
            *as_account(),
            str(programs() / "pgbench"),
            "-h",
            str(place.beside),
            "-U",
            ACCOUNT,
            "-c",
            "2",
            "-T",
            "20",
            "postgres",
        ]
        with subprocess.Popen(load, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=place.beside) as client:
            time.sleep(2)
            before = balance(cluster)
            assert len(set(before)) == 1
            kill(tree([server.pid]))
            client.wait(30)
    with cluster.running() as server:
        assert len(set(balance(cluster))) == 1, (
            "accounts, tellers and branches disagree: a transaction is there in part"
        )
        assert int(cluster.client("psql", "-Atc", "select count(*) from pgbench_history", "postgres")) > 0
        os.kill(server.pid, signal.SIGINT)
        server.wait(60)
    assert re.search(
        r"Bad checksums: +0$", cluster.run("pg_checksums", "--check", "-D", str(cluster.data)), re.MULTILINE
    )


def balance(cluster: Cluster) -> list[str]:
    """What the three tables of pgbench, and its history, say was moved; in one snapshot they agree."""
    asked = (
        "select (select sum(abalance) from pgbench_accounts), (select sum(tbalance) from pgbench_tellers),"
        " (select sum(bbalance) from pgbench_branches), (select coalesce(sum(delta), 0) from pgbench_history)"
    )
    return cluster.client("psql", "-Atc", asked, "postgres").strip().split("|")
