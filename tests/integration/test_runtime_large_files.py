"""Programs with large files: they are copied in huge pages, by two threads, and stand in memory as they should."""

import os
from pathlib import Path

import pytest
from tests.integration.runtime_programs.arms import HERE, build, enclaved, run

from cloister.launch import _abi

pytestmark = pytest.mark.needs_runtime

EXPECTED = "constants 10485760, wrong 0\ndata 1048576, wrong 0\n"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("large"), "large_file", "dynamic", str(HERE / "large_file.S"))


def test_large_tables_are_in_memory_as_in_the_file(program: Path) -> None:
    native, inside = run([str(program)]), run(enclaved(program))
    assert native.output == EXPECTED
    assert inside == native


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processors cannot be chosen here")
def test_one_processor_is_enough(program: Path) -> None:
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(mine)})
    try:
        assert run(enclaved(program)).output == EXPECTED
    finally:
        os.sched_setaffinity(0, mine)


def test_nobody_else_is_in_the_programs_memory_then(program: Path, tmp_path: Path) -> None:
    """The guards want it alone (guard_pair.c): the second thread has ended before they hold."""
    for _ in range(20):
        outcome = run(enclaved(program, options=(f"{_abi.OPTION_REPORT}{tmp_path / 'report'}",)))
        assert (outcome.status, outcome.errors) == (0, "")
    assert len((tmp_path / "report").read_text().splitlines()) == 20
