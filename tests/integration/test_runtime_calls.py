"""Random programs of system calls do the same natively and in the enclave, and so do those that once did not."""

import itertools
import shutil
from pathlib import Path

import pytest
from tests.fuzz import calls
from tests.fuzz.calls import Program, Runner, generated

pytestmark = pytest.mark.needs_runtime

QUICK_SEEDS = 5
REGRESSIONS = sorted(calls.FOUND.iterdir())


@pytest.fixture(scope="module")
def binaries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """For each way of linking that is possible here."""
    directory = tmp_path_factory.mktemp("calls")
    return {how: calls.built(directory, how) for how, words in calls.HOW.items() if shutil.which(words[0])}


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.name)
def test_what_once_differed_does_the_same(binaries: dict[str, Path], path: Path) -> None:
    program = Program(tuple(path.read_text().splitlines()))
    for binary in binaries.values():
        runner = Runner.enclaved(binary)
        native = runner.native_log(program)
        assert native[-1] == "status: 0", native
        for arm in runner.arms:
            assert runner.log(arm, program) == native, f"{binary.name}, {arm}"


@pytest.mark.parametrize("profile", calls.PROFILES)
def test_random_programs_do_the_same(binaries: dict[str, Path], profile: str) -> None:
    hows = itertools.cycle(binaries.values())
    for seed in range(QUICK_SEEDS):
        arm = "unguarded" if seed % QUICK_SEEDS else "guarded"
        found = Runner.enclaved(next(hows), arm).difference(generated(seed, profile))
        assert found is None, f"seed {seed}: {found}"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("profile", calls.PROFILES)
def test_many_random_programs_do_the_same(binaries: dict[str, Path], profile: str) -> None:
    hows = itertools.cycle(binaries.values())
    for seed in range(1000, 1060):
        found = Runner.enclaved(next(hows), "unguarded" if seed % 3 else "guarded").difference(generated(seed, profile))
        assert found is None, f"seed {seed}: {found}"


def test_a_small_stack_is_enough_to_start_a_program_from_a_shielded_directory(binaries: dict[str, Path]) -> None:
    """With musl, posix_spawn(3) gives its child 5 KiB."""
    program = Program(("arena 0 1", "borrow 3", "borrow 1 0"))
    for binary in binaries.values():
        assert Runner.shielded(binary).difference(program) is None, binary.name


SHIELDED_PROFILES = ("files", "memory", "children", "processes", "signals")


@pytest.mark.parametrize("profile", SHIELDED_PROFILES)
def test_random_programs_do_the_same_in_a_shielded_directory(binaries: dict[str, Path], profile: str) -> None:
    hows = itertools.cycle(binaries.values())
    for seed in range(2000, 2003):
        found = Runner.shielded(next(hows)).difference(generated(seed, profile, shielded=True))
        assert found is None, f"seed {seed}: {found}"


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("profile", calls.PROFILES)
def test_many_random_programs_do_the_same_in_a_shielded_directory(binaries: dict[str, Path], profile: str) -> None:
    hows = itertools.cycle(binaries.values())
    for seed in range(3000, 3200):
        found = Runner.shielded(next(hows)).difference(generated(seed, profile, shielded=True))
        assert found is None, f"seed {seed}: {found}"


# ---------------------------------------------------------------- the control


def other_program(binaries: dict[str, Path], directory: Path) -> Runner:
    """Instead of an enclave, natively a program that unmaps one page less than it is told to."""
    changed = directory / "changed"
    shutil.copytree(calls.SOURCES, changed)
    source = (changed / "memory.c").read_text()
    wrong = source.replace("munmap(at(first), size) :", "munmap(at(first), PAGE) :")
    assert wrong != source
    (changed / "memory.c").write_text(wrong)
    return Runner(
        binary=binaries["dynamic"], arms={"changed": [str(calls.built(directory, "dynamic", sources=changed))]}
    )


def test_a_call_that_does_something_else_is_found_and_made_small(binaries: dict[str, Path], tmp_path: Path) -> None:
    runner = other_program(binaries, tmp_path)
    programs = ((runner.difference(one), one) for one in (generated(seed, "memory") for seed in range(30)))
    seen, program = next((found, one) for found, one in programs if found)
    small = calls.shrunk(program, calls.alike(runner, seen))
    assert seen.operation == "unmap:"
    assert any(line.startswith("unmap ") for line in small.lines)
    assert len(small.lines) < 5, small.text
