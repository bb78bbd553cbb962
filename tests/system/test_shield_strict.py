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
