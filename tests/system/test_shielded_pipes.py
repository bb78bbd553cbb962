"""Pipes and socket pairs of a shielded program: what they do is what Linux says, though the kernel has records only."""

import subprocess
from pathlib import Path

import pytest
from tests.security.shielded_runs import PYTHON, Policy

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_root, pytest.mark.needs_program(PYTHON, "bash", "seq")]

PROGRAM = Path(__file__).with_name("programs") / "python_pipes.py"


PLAIN = ("/usr", "/etc", "/bin", "/lib", "/lib64", "/dev/shm", str(PROGRAM.parent))


def test_pipes_do_what_linux_says(tmp_path: Path) -> None:
    words = [PYTHON, "-S", PROGRAM.name]
    native = subprocess.run(words, capture_output=True, text=True, cwd=PROGRAM.parent, timeout=60, check=False)
    shielded = Policy(directory=tmp_path, memory=("/secret",), plain=PLAIN).run(words, cwd=PROGRAM.parent, seconds=120)
    assert shielded.stderr == native.stderr
    assert shielded.stdout.splitlines() == native.stdout.splitlines()
    assert (shielded.returncode, native.returncode) == (0, 0)
    assert len(native.stdout.splitlines()) > 40
