"""Scenarios of memory, signals, processes, threads and futexes: the enclaved run prints and ends as the native one.

Documented differences, left out of the scenarios: SIGSYS is never blocked and never seen as blocked; clone(2) with
CLONE_VM and CLONE_UNTRACED, or with CLONE_FILES but not CLONE_VM, is EINVAL.
"""

import subprocess
from pathlib import Path

import pytest
from tests.integration.runtime_programs.arms import HERE, both, build

pytestmark = pytest.mark.needs_runtime

SOURCES = (
    "memory_scenarios",
    "signal_scenarios",
    "process_scenarios",
    "fork_scenarios",
    "fork_signal_scenarios",
    "thread_scenarios",
    "regression_scenarios",
    "patched_scenarios",
)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scenarios")


def names_in(source: str) -> list[str]:
    """The scenarios of a source, as its table lists them."""
    text = (HERE / f"{source}.c").read_text()
    table = text[text.index("static const struct scenario all[]") :]
    return [part.split(")")[0] for part in table.split("SCENARIO(")[1:]]


CASES = [(source, name) for source in SOURCES for name in names_in(source)]


def test_the_tables_are_read_right(programs: Path) -> None:
    for source in SOURCES:
        listed = subprocess.run([build(programs, source)], capture_output=True, text=True, check=True).stdout.split()
        assert listed == names_in(source)


@pytest.mark.parametrize(("source", "name"), CASES, ids=[f"{source.split('_')[0]}-{name}" for source, name in CASES])
def test_same_as_native(programs: Path, source: str, name: str) -> None:
    native, enclaved = both(build(programs, source), name)
    assert native.output, "the scenario prints nothing"
    assert enclaved.output == native.output, enclaved.errors
    assert enclaved.status == native.status, enclaved.errors


@pytest.mark.slow
@pytest.mark.parametrize("how", ["static", pytest.param("musl", marks=pytest.mark.needs_program("musl-gcc"))])
@pytest.mark.parametrize(("source", "name"), CASES, ids=[f"{source.split('_')[0]}-{name}" for source, name in CASES])
def test_same_as_native_in_other_builds(programs: Path, source: str, name: str, how: str) -> None:
    if how == "musl" and source in {"thread_scenarios", "regression_scenarios"}:
        pytest.skip("uses what glibc offers: stack sizes, robust and priority-inheriting mutexes")
    native, enclaved = both(build(programs, source, how), name)
    assert enclaved.output == native.output, enclaved.errors
    assert enclaved.status == native.status, enclaved.errors
