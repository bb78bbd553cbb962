"""A volume on a disk that is full: writing says so, removing works, and then there is room again."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.needs_runtime,
    pytest.mark.needs_root,
    pytest.mark.needs_program("unshare", "mount", "/usr/bin/python3"),
]

ROOT = Path(__file__).parents[2]
MOUNT = 'mount -t tmpfs -o size=4m none "$1" && shift && exec "$@"'
OUTSIDE = """
import sys
from pathlib import Path
from tests.services.shielded import Shielded
place = Shielded(Path(sys.argv[1]))
print(place.run(*sys.argv[2:]).stdout, end="")
print(sorted(place.tree()))
"""
FILL = """
import os
big, size = os.open("/data/big", os.O_CREAT | os.O_RDWR), 0
try:
    while True:
        size += os.write(big, os.urandom(65536))
except OSError as error:
    print(error.strerror, size > 2_000_000)
os.fsync(big)
print(os.fstat(big).st_size == size, os.pread(big, 10, size - 10) != bytes(10))
os.close(big)
os.unlink("/data/big")
small = os.open("/data/small", os.O_CREAT | os.O_RDWR)
os.write(small, b"fine")
os.fsync(small)
"""


def on_a_small_disk(directory: Path, *words: str) -> list[str]:
    """What a program says there, and which files are in the volume afterwards."""
    command = ["unshare", "-m", "sh", "-c", MOUNT, "sh", str(directory), sys.executable, "-c", OUTSIDE, str(directory)]
    done = subprocess.run(
        [*command, *words], capture_output=True, text=True, timeout=100, check=False, cwd=ROOT,
        env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_program_alone(tmp_path: Path) -> None:
    said = on_a_small_disk(tmp_path, "/usr/bin/python3", "-c", FILL)
    assert said == ["No space left on device True", "True True", "[b'small']"]


def test_a_shell_and_its_children(tmp_path: Path) -> None:
    """Room that another program's file took comes back when the shell is alone again."""
    script = (
        "dd if=/dev/zero bs=64k count=200 2>/dev/null | tr '\\0' x > /data/big || echo full; /bin/rm /data/big;"
        " echo fine > /data/small; cat /data/small"
    )
    assert on_a_small_disk(tmp_path, "/bin/sh", "-c", script) == ["full", "fine", "[b'small']"]
