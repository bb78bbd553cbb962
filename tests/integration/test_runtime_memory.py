"""Random walks over the memory calls: each checks every byte against a model, and both arms must log the same.

Differences that are documented and that the walks leave out:
- MADV_FREE: what may be read before the next write is open in madvise(2): natively old bytes, in the enclave zeroes.
- MADV_DONTNEED of a private file mapping that was written: natively the file's bytes come back, in the enclave zeroes.
- mremap(2) with MREMAP_DONTUNMAP or an old size of 0, MADV_WIPEONFORK: refused in the enclave.
- mremap(2) that may not move, of memory that is or was executable: ENOMEM in the enclave even where there is room.
- a hint without MAP_FIXED is not followed; a private mapping past the end of its file reads as zero instead of SIGBUS.
"""

import itertools
from pathlib import Path

import pytest
from tests.integration.runtime_programs.arms import Outcome, both, build

pytestmark = pytest.mark.needs_runtime

QUICK_SEEDS, SLOW_SEEDS = 40, 600
FILE_PAGES, PAGE = 64, 4096


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("walks")


def by_seed(outcome: Outcome) -> dict[str, list[str]]:
    """The log cut at its `seed N` lines."""
    lines = outcome.output.splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("seed ")]
    return {lines[a]: lines[a:b] for a, b in itertools.pairwise([*starts, len(lines)])}


def compare(native: Outcome, enclaved: Outcome, seeds: int) -> None:
    assert "WRONG" not in native.output, "the walk's model is not the kernel's"
    assert native.status == 0, native.errors
    logs, others = by_seed(native), by_seed(enclaved)
    assert len(logs) == seeds
    for seed, log in logs.items():
        other = others.get(seed, [])
        first = next((i for i, pair in enumerate(itertools.zip_longest(log, other)) if len(set(pair)) == 2), None)
        assert first is None, f"{seed}, line {first}:\n  " + "\n  ".join(
            ["native:", *log[max(0, first - 6) : first + 2], "enclaved:", *other[max(0, first - 6) : first + 4]]
        )
    assert enclaved.status == 0, enclaved.errors


def walk(program: Path, first: int, seeds: int, steps: int, *more: str) -> None:
    compare(*both(program, str(first), str(seeds), str(steps), *more), seeds)


@pytest.fixture(scope="module")
def patterned_file(programs: Path) -> str:
    path = programs / "file"
    path.write_bytes(bytes((i // PAGE * 7 + i) % 251 for i in range(FILE_PAGES * PAGE)))
    return str(path)


@pytest.mark.parametrize("how", ["dynamic", "static"])
def test_calls_inside_one_arena(programs: Path, how: str) -> None:
    walk(build(programs, "memory_walk", how), 1, QUICK_SEEDS, 60)


def test_calls_inside_one_arena_with_forks(programs: Path) -> None:
    walk(build(programs, "memory_walk"), 1000, QUICK_SEEDS // 2, 60, "fork")


@pytest.mark.needs_program("musl-gcc")
def test_calls_inside_one_arena_under_musl(programs: Path) -> None:
    walk(build(programs, "memory_walk", "musl"), 2000, QUICK_SEEDS // 4, 60, "fork")


@pytest.mark.parametrize("how", ["dynamic", "static-pie"])
def test_heap_regions_and_files(programs: Path, patterned_file: str, how: str) -> None:
    walk(build(programs, "heap_walk", how), 1, 10, 90, patterned_file)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(10_000, 10_000 + SLOW_SEEDS, 60))
def test_many_walks(programs: Path, patterned_file: str, first: int) -> None:
    walk(build(programs, "memory_walk"), first, 60, 80, "fork")
    walk(build(programs, "heap_walk"), first, 12, 150, patterned_file)
