"""Threads and children that open, close and hand on shielded descriptors together: no number is taken for another."""

import errno
import subprocess
from pathlib import Path

import pytest
from tests.security.shielded import PYTHON, Region
from tests.security.shielded_runs import compiled

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_root, pytest.mark.needs_program("cc")]

SAID = {
    "spawn": [],
    "vforked": ["child: 0", "40 of the parent's"],
    "reused": ["0 failed"],
    "locked": ["100 locked, 100 for others", "50 for others"],
    "jumped": ["20 jumps, 4 written", "locked: 0"],
    "directories": ["200 directories"],
    "together": ["child: 0"],
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled("descriptors", tmp_path_factory.mktemp("descriptors"))


@pytest.mark.parametrize("scenario", SAID)
def test_shielded_as_natively(tmp_path: Path, program: Path, scenario: str) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    command = [str(program), str(plain), scenario]
    natively = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert natively.stdout.splitlines() == SAID[scenario], "the scenario itself"
    region = Region(tmp_path).make()
    shielded = region.run([str(program), str(region.path), scenario])
    assert (shielded.returncode, shielded.stdout, shielded.stderr) == (0, natively.stdout, "")


CLONES = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
FILES, VM, VFORK, CHILD = 0x400, 0x100, 0x4000, 17
for flags in (FILES | CHILD, FILES | VM | CHILD, FILES | VM | VFORK | CHILD):
    child = libc.syscall(56, ctypes.c_long(flags), 0, 0, 0, 0) if not flags & VM or sys.argv[1] == "shielded" else -1
    if child == 0: os._exit(0)
    if child > 0: os.waitpid(child, 0)
    print(child > 0, ctypes.get_errno())
"""
"""Not natively with VM: the child would go on on its parent's stack."""


@pytest.mark.needs_program(PYTHON)
def test_no_process_shares_descriptors_with_another(tmp_path: Path) -> None:
    """Each would know which of its own are shielded, and write to the other's in the clear."""
    region = Region(tmp_path).make()
    shielded = region.run([PYTHON, "-I", "-S", "-c", CLONES, "shielded"])
    assert shielded.stdout.splitlines() == [f"False {errno.EINVAL}"] * 3, shielded.stderr
    native = subprocess.run([PYTHON, "-I", "-S", "-c", CLONES, "natively"], capture_output=True, text=True, check=True)
    assert native.stdout.splitlines()[0] == "True 0", "control"


MANY_FILES = """
import os, sys
os.chdir(sys.argv[1])
for number in range(4500):
    os.close(os.open(f"f{number}", os.O_CREAT | os.O_WRONLY))
os.sync()
held = os.open("held", os.O_CREAT | os.O_RDWR)
os.write(held, b"held")
os.unlink("held")
for _ in range(20):
    with open("big", "wb") as file:
        file.write(b"x" * 1_000_000)
        file.flush()
        os.fsync(file.fileno())
    os.unlink("big")
    os.sync()
print(os.pread(held, 10, 0))
"""
"""More than the 4,096 that can be open at a time."""


@pytest.mark.needs_program(PYTHON)
def test_room_of_what_is_deleted_comes_back_however_many_files_were_open(tmp_path: Path) -> None:
    region = Region(tmp_path).make()
    done = region.python(MANY_FILES)
    assert done.stdout == "b'held'\n", done.stderr
    assert region.volume.stat().st_size < 10_000_000
