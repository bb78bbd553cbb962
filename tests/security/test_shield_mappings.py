"""Mappings of shielded files damage none: not one that took an inode, nor what another program wrote meanwhile."""

import subprocess
from pathlib import Path

import pytest
from tests.security.shielded_runs import PYTHON, Policy, compiled

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_root, pytest.mark.needs_program(PYTHON)]

REMOVED = """
import mmap, os
os.chdir("/data")
number = os.open("old", os.O_RDWR | os.O_CREAT)
os.write(number, b"old." * 2048)
mapped = mmap.mmap(number, 8192)
os.unlink("old")
os.closerange(3, 100)
for i in range(4):
    with open(f"new{i}", "wb") as file: file.write(b"new." * 2048)
mapped[4096:4100] = b"OLD."
if os.fork() == 0: os._exit(0)
os.wait()
print([open(f"new{i}", "rb").read() == b"new." * 2048 for i in range(4)], mapped[0:4], mapped[4096:4100])
"""


def test_a_file_that_is_only_mapped_lives_on(tmp_path: Path) -> None:
    said = Policy(directory=tmp_path, strict=False, memory=("/data",)).python(REMOVED)
    assert said == "[True, True, True, True] b'old.' b'OLD.'\n"


BESIDE = """
import mmap, os, subprocess, sys
os.chdir("/data")
with open("file", "wb") as file: file.write(b"a" * 65536)
number = os.open("file", os.O_RDWR)
mapped = mmap.mmap(number, 65536)
mapped[0:5] = b"mine."
other = "import os; n = os.open('file', os.O_WRONLY); os.pwrite(n, b'other', 20000)"
subprocess.run([sys.argv[1], "-S", "-c", other], check=True)
print(os.pread(number, 5, 0), os.pread(number, 5, 20000))
mapped[40000:40005] = b"again"
mapped.flush()
print(os.pread(number, 5, 20000), mapped[20000:20005])
"""


def test_what_another_program_wrote_is_not_undone(tmp_path: Path) -> None:
    """The program's mapping is older than what the other one, which came by exec, wrote to the same file."""
    policy = Policy(directory=tmp_path, strict=False, encrypted=Path("/data"))
    said = policy.python(BESIDE, PYTHON)
    assert said == "b'mine.' b'other'\nb'other' b'other'\n"
    after = "f = open('/data/file', 'rb').read(); print(f[:5], f[20000:20005], f[40000:40005])"
    assert policy.python(after) == "b'mine.' b'other' b'again'\n"


SAID = {
    "cut": "013a Bb\none 01a3aaaa\nother Bbbbbbbb\none 01a3aaaa\nother Bbbbbbbb\n",
    "fixed": "01\none 0aaaaaaa\nother 1bbbbbbb\n",
    "refused": "Permission denied\nNo such device\none 0aaaaaaa\n",
    "guarded": "a Permission denied\n",
    "written": "4096 4096\none Aaaaaaaa\n",
    "spliced": "8 8 spliced\n",
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled("mappings", tmp_path_factory.mktemp("mappings"))


@pytest.mark.needs_program("cc")
@pytest.mark.parametrize("scenario", SAID)
def test_what_is_cut_covered_or_refused_is_as_natively(tmp_path: Path, program: Path, scenario: str) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    native = subprocess.run(
        [str(program), str(plain), scenario], capture_output=True, text=True, timeout=60, check=True
    )
    assert native.stdout == SAID[scenario], "the scenario itself"
    shielded = Policy(directory=tmp_path, strict=False, memory=("/data",)).run([str(program), "/data", scenario])
    assert (shielded.returncode, shielded.stdout) == (0, SAID[scenario]), shielded.stderr
