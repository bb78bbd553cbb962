"""Suites of files on every kind of place: what POSIX says, random work against a model, programs that test disks.

Natively they show that they are right; enclaved and shielded that files behave there as they do natively.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.file_places import PLACES, Place, place_named

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime, pytest.mark.slow]

PROGRAMS = Path(__file__).parent / "programs" / "files"
PYTHON = "/usr/bin/python3"
POSIX = "tests.system.programs.files.posix"
TREES = "tests.system.programs.files.trees"
SEEDS = (1, 2, 3)
LONG_SEEDS = range(10, 30)
NEVER_SHIELDED = {
    "a_pipe_by_name": "a volume holds files, directories and links (docs/formats/volume.md)",
    "a_socket_by_name": "likewise",
    "attributes_of_a_user": "a volume holds no extended attributes",
    "a_program_in_the_directory_runs": "nothing in a region is executed (LIMITATIONS.md)",
}
"""Checks that fail on a shielded directory, and why that is so."""
NOT_YET = {
    "record_locks_keep_other_processes_out": "F_GETLK does not say whose lock it is: l_pid is -1",
}
"""Checks that fail there today although they need not: what is left to do. None of them loses or shows data."""


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Each kind of place."""
    tmp_path.chmod(0o755)
    with place_named(request.param, tmp_path) as found:
        yield found


@pytest.fixture(scope="session")
def exerciser(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program, compiled."""
    compiler = shutil.which("cc") or pytest.skip("no C compiler")
    target = tmp_path_factory.mktemp("exerciser") / "exerciser"
    source = PROGRAMS / "exerciser.c"
    subprocess.run([compiler, "-O1", "-Wall", "-Wextra", "-Werror", "-o", target, source], check=True, timeout=60)
    return str(target)


def failures(said: str) -> dict[str, str]:
    return dict(re.findall(r"^FAIL (\w+): (.*)", said, re.MULTILINE))


@pytest.mark.needs_program(PYTHON)
def test_posix(place: Place) -> None:
    done = place.run([PYTHON, "-m", POSIX, str(place.directory)], check=False)
    assert done.stdout.count("\n") > 60, f"it did not run to its end: {(done.stdout + done.stderr)[-2000:]}"
    failed = failures(done.stdout)
    if not place.shielded:
        assert not failed
        return
    assert NEVER_SHIELDED.keys() <= failed.keys(), "what cannot work there works"
    assert failed.keys() <= NEVER_SHIELDED.keys() | NOT_YET.keys(), f"{failed}\n{done.stderr}"


@pytest.mark.parametrize("seed", SEEDS)
def test_random_work_on_one_file(place: Place, exerciser: str, seed: int) -> None:
    done = place.run([exerciser, str(place.directory / "file"), str(seed), "2000"])
    assert done.stdout.startswith("ok 2000 operations")


@pytest.mark.needs_program(PYTHON)
@pytest.mark.parametrize("seed", SEEDS)
def test_random_work_on_a_tree_is_there_in_the_next_run(place: Place, seed: int) -> None:
    model = str(place.beside / "model")
    where = str(place.directory)
    place.run([PYTHON, "-m", TREES, "change", where, model, str(seed), "1500"])
    if place.name == "shielded memory":
        return  # it ends with the program
    done = place.run([PYTHON, "-m", TREES, "compare", where, model])
    assert done.stdout == "ok as it was left\n"


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.needs_program(PYTHON)
def test_much_random_work(place: Place, exerciser: str) -> None:
    for seed in LONG_SEEDS:
        place.run([exerciser, str(place.directory / f"file-{seed}"), str(seed), "20000"], seconds=300)
    (tree, model) = (str(place.directory), str(place.beside / "model"))
    make = f"mkdir {tree}/tree && exec {PYTHON} -m {TREES} change {tree}/tree {model} 99 10000"
    place.run(["sh", "-c", make], seconds=600)


ENGINES = ("psync", "pvsync2", "mmap", "sync", "posixaio")


@pytest.mark.needs_program("fio")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pattern", ["randrw", "rw"])
def test_fio_verifies_what_it_wrote(place: Place, engine: str, pattern: str) -> None:
    sizes = "4k-32k" if engine == "mmap" else "512-32k"
    words = [
        "fio",
        "--name=job",
        f"--directory={place.directory}",
        "--size=4M",
        f"--rw={pattern}",
        f"--bsrange={sizes}",
    ]
    words += ["--verify=crc32c", "--verify_fatal=1", "--do_verify=1", f"--ioengine={engine}", "--fsync=100"]
    words += ["--numjobs=2", "--thread", "--randseed=11"]
    done = place.run(words)
    assert "err= 0" in done.stdout
    assert not re.search(r"err=[ ]*[1-9]", done.stdout), done.stdout


@pytest.mark.needs_program("fio")
@pytest.mark.parametrize("place", [PLACES[0], PLACES[2], PLACES[3]], indirect=True)
def test_fio_past_the_cache(place: Place) -> None:
    words = ["fio", "--name=job", f"--directory={place.directory}", "--size=4M", "--rw=randrw", "--bs=4k", "--direct=1"]
    done = place.run([*words, "--verify=sha256", "--verify_fatal=1", "--ioengine=psync", "--randseed=5"])
    assert "err= 0" in done.stdout


@pytest.mark.needs_program("dbench")
def test_dbench(place: Place) -> None:
    """What a file server does: two processes make, rename, lock, list, flush and remove."""
    done = place.run(["dbench", "-D", str(place.directory), "-c", "/usr/share/dbench/client.txt", "-t", "3", "2"])
    assert re.search(r"^Throughput [1-9]", done.stdout, re.MULTILINE), done.stdout
    assert "ERROR" not in done.stdout


@pytest.mark.needs_program("fs_mark")
@pytest.mark.parametrize("sync", [0, 1, 3])
def test_fs_mark(place: Place, sync: int) -> None:
    words = f"fs_mark -d . -l {place.beside}/log -n 200 -s 5000 -S {sync} -t 2"  # a path may have 39 bytes
    done = place.run(["sh", "-c", f"cd {place.directory} && exec {words}"])
    assert re.search(r"^ *\d+ +400 +5000 ", done.stdout, re.MULTILINE), done.stdout


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.needs_program("bonnie++")
def test_bonnie(place: Place) -> None:
    words = ["bonnie++", "-d", str(place.directory), "-s", "64", "-r", "32", "-n", "4:20000:10:4", "-u", "root", "-q"]
    done = place.run(words, seconds=600)
    assert done.stdout.count(",") > 40, done.stderr


STRESSORS = (
    "access", "chdir", "chmod", "chown", "copy-file", "dentry", "dir", "dirmany", "dup", "fallocate", "fcntl",
    "file-ioctl", "filename", "flock", "fpunch", "fstat", "getdent", "hdd", "io", "iomix", "link", "locka", "lockf",
    "lockofd", "mknod", "open", "readahead", "rename", "revio", "seek", "sync-file", "symlink", "utime",
    "verity", "xattr",
)  # fmt: skip
QUICK_STRESSORS = ("rename", "link", "flock", "lockf", "seek", "dir", "fallocate", "getdent")
NO_STRESS = {"shielded": {"mknod", "xattr", "verity"}, "shielded memory": {"mknod", "xattr", "verity"}}


def stress(place: Place, stressor: str, operations: int, seconds: int) -> None:
    """A number of operations, checked by stress-ng itself; twice at once."""
    if stressor in NO_STRESS.get(place.name, ()):
        pytest.skip(f"{stressor}: a volume has no such thing")
    words = [
        "stress-ng",
        "--temp-path",
        str(place.directory),
        f"--{stressor}",
        "2",
        f"--{stressor}-ops",
        str(operations),
    ]
    done = place.run([*words, "--timeout", str(seconds), "--verify"], seconds=seconds + 60, check=False)
    said = done.stdout + done.stderr
    if place.name.startswith("native") and done.returncode:
        pytest.skip(f"it does not run here natively: {said[-300:]}")
    complaints = [line for line in said.splitlines() if ": fail:" in line or ": error:" in line]
    assert (done.returncode, complaints) == (0, []), said[-2000:]


@pytest.mark.needs_program("stress-ng")
@pytest.mark.parametrize("stressor", QUICK_STRESSORS)
def test_a_little_stress(place: Place, stressor: str) -> None:
    stress(place, stressor, 200, 5)


@pytest.mark.long
@pytest.mark.timeout(200)
@pytest.mark.needs_program("stress-ng")
@pytest.mark.parametrize("stressor", STRESSORS)
def test_stress(place: Place, stressor: str) -> None:
    stress(place, stressor, 10**8, 20)


@pytest.mark.long
@pytest.mark.timeout(1500)
@pytest.mark.needs_program(PYTHON)
def test_sqlite_by_the_tests_of_its_binding(place: Place) -> None:
    """APSW's own tests: thousands of uses of SQLite, its VFS and its locks, on a database in the place."""
    if subprocess.run([PYTHON, "-c", "import apsw.tests"], capture_output=True, check=False).returncode:
        pytest.skip("not installed: python3-apsw (scripts/install-test-programs)")
    place.environment["TESTFILEPREFIX"] = f"{place.directory}{os.sep}"
    done = place.run([PYTHON, "-m", "apsw.tests"], seconds=1200, check=False)
    assert re.search(r"^OK", done.stderr, re.MULTILINE), done.stderr[-3000:]
