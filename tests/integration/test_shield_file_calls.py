"""Random calls on files say the same natively and on a shielded directory (tests/fuzz/file_program.py)."""

import subprocess
from pathlib import Path

import pytest
from tests.security.shielded_runs import PYTHON, ROOT, Policy

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_root, pytest.mark.needs_program(PYTHON)]

PROGRAM = ROOT / "tests" / "fuzz" / "file_program.py"
STEPS = 200


def words(directory: Path, seed: int, steps: int = STEPS) -> list[str]:
    return [PYTHON, "-S", str(PROGRAM), str(directory), str(seed), str(steps)]


def native(directory: Path, seed: int, steps: int = STEPS) -> list[str]:
    """On the host's file system, where the region will be."""
    directory.mkdir()
    done = subprocess.run(words(directory, seed, steps), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    subprocess.run(["rm", "-rf", directory], check=True)
    return done.stdout.splitlines()


def compare(tmp_path: Path, seed: int, kind: str) -> None:
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)  # some seeds give up root
    region = tmp_path / "region"
    expected = native(region, seed)
    policy = Policy(
        directory=tmp_path,
        strict=False,
        memory=(str(region),) if kind == "memory" else (),
        encrypted=region if kind == "encrypted" else None,
    )
    done = policy.run(words(region, seed), seconds=100)
    said = done.stdout.splitlines()
    differing = [pair for pair in zip(expected, said, strict=False) if pair[0] != pair[1]]
    assert not differing[:3], f"seed {seed}"
    assert len(said) == len(expected), done.stderr[-2000:]
    assert not region.exists()


@pytest.mark.parametrize("seed", range(12))
def test_random_calls_in_memory(tmp_path: Path, seed: int) -> None:
    compare(tmp_path, seed, "memory")


@pytest.mark.parametrize("seed", range(100, 104))
def test_random_calls_in_a_volume(tmp_path: Path, seed: int) -> None:
    compare(tmp_path, seed, "encrypted")


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_random_calls_of_many_seeds(tmp_path: Path) -> None:
    for seed in range(1000, 1300):
        place = tmp_path / str(seed)
        place.mkdir()
        compare(place, seed, "memory")
