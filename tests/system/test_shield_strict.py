"""Strict enclave, strict policy: what the manifest measured comes in without a region, and nothing else does."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime]

POLICY = """
[shield]

[[shield.files]]
path = "/data"
kind = "memory"
"""
LOADER = "/lib64/ld-linux-x86-64.so.2"


def cloister(directory: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "cloister", *words]
    return subprocess.run(command, cwd=directory, capture_output=True, timeout=60, check=False)


def test_measured_libraries_need_no_region(tmp_path: Path) -> None:
    (tmp_path / "shield.toml").write_text(POLICY)
    measured = cloister(tmp_path, "measure", "-o", "cat.toml", "/bin/cat")
    assert measured.returncode == 0, measured.stderr
    run = ("run", "--quiet", "--manifest", "cat.toml", "--shield", "shield.toml", "--", "/bin/cat")
    listed = cloister(tmp_path, *run, LOADER)
    assert (listed.returncode, listed.stdout) == (0, Path(LOADER).read_bytes()), listed.stderr
    unlisted = cloister(tmp_path, *run, "/etc/hostname")
    assert unlisted.stderr == b"/bin/cat: /etc/hostname: Permission denied\n"


def test_a_plain_region_inside_a_shielded_one(tmp_path: Path) -> None:
    """The directories between the two need not exist in the volume, and lead nowhere else."""
    host = tmp_path / "host"
    host.mkdir()
    (host / "file").write_text("the host's\n")
    (tmp_path / "beside").write_text("not in the region\n")
    plain = f'[[shield.files]]\npath = "{host}"\nkind = "plain"\nunsafe_plain = true\n'
    inner = f'[[shield.files]]\npath = "{tmp_path.parent}"\nkind = "memory"\n'
    (tmp_path / "shield.toml").write_text(f"[shield]\nunsafe_open_files = true\n{inner}{plain}")
    run = ("run", "--quiet", "--shield", "shield.toml", "--", "/bin/cat")
    assert cloister(tmp_path, *run, str(host / "file")).stdout == b"the host's\n"
    assert b"No such file" in cloister(tmp_path, *run, str(tmp_path / "beside")).stderr
    assert b"No such file" in cloister(tmp_path, *run, str(host.parent / "beside")).stderr
