"""Memory that a program frees goes back to the system; memory that it uses in turn is not touched anew each time."""

from pathlib import Path

import pytest
from tests.integration.runtime_programs.arms import both, build, enclaved, run

pytestmark = pytest.mark.needs_runtime

FREED, TOLERANCE = 200 << 10, 0.1  # KiB
WAYS = ["unmapped", "discarded", "broken", "broken_in_steps", "uncommitted", "pieces", "small", "scattered"]
MORE_THAN_IS_KEPT_ANYWAY = 24  # MiB


def number(output: str, name: str) -> int:
    word, value = output.split()
    assert word == name
    return int(value)


@pytest.mark.parametrize("way", WAYS)
def test_freed_memory_goes_back(tmp_path: Path, way: str) -> None:
    native, inside = both(build(tmp_path, "memory_return"), way)
    assert (native.status, inside.status) == (0, 0), inside.errors
    assert number(inside.output, "kept") <= number(native.output, "kept") + TOLERANCE * FREED


@pytest.mark.parametrize("way", ["unmapped", "discarded"])
def test_nothing_is_kept_of_a_large_mapping(tmp_path: Path, way: str) -> None:
    """It stands in extents of its own."""
    inside = run(enclaved(build(tmp_path, "memory_return"), way))
    assert number(inside.output, "kept") <= 1 << 10


def test_most_goes_back_where_a_page_here_and_there_stays(tmp_path: Path) -> None:
    """Pieces of half a MiB are whole extents but for their edges."""
    inside = run(enclaved(build(tmp_path, "memory_return"), "discarded_in_pieces"))
    assert number(inside.output, "kept") <= 0.4 * FREED


def test_threads_do_not_meet_each_others_memory(tmp_path: Path) -> None:
    assert run(enclaved(build(tmp_path, "memory_threads"), "4")).output == "right\n"


@pytest.mark.parametrize("how", ["again", "discard"])
@pytest.mark.parametrize("mebibytes", [1, 4, MORE_THAN_IS_KEPT_ANYWAY])
def test_memory_in_turns_is_recycled(tmp_path: Path, how: str, mebibytes: int) -> None:
    """Ten rounds: three to learn in, then at most two pages of each hundred that the program touches are new."""
    inside = run(enclaved(build(tmp_path, "memory_return"), how, str(mebibytes), "10"))
    assert inside.status == 0, inside.errors
    assert number(inside.output, "faults") <= 7 * (mebibytes << 20) // 4096 // 50
