"""execve(2) and its relatives, enclaved against native: what is handed over, kept and refused, down to the errno.

Differences that are documented, and left out here:
- execve(2) of a file that someone has open for writing runs it; natively it is ETXTBSY.
- open(2) and stat(2) of /proc/self/exe reach the runtime's file (LIMITATIONS.md).
- getauxval(AT_EXECFN) names the program's real path even after execve("/proc/self/exe").
"""

from pathlib import Path

import pytest
from tests.integration.runtime_programs.arms import HERE, Outcome, build, enclaved, run

pytestmark = pytest.mark.needs_runtime

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}
DIFFERENT = {"busy_text", "own_name", "own_file"}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exec")


def names() -> list[str]:
    text = (HERE / "exec_scenarios.c").read_text()
    table = text[text.index("static const struct scenario all[]") :]
    return [part.split(")")[0] for part in table.split("SCENARIO(")[1:]]


def in_empty_directory(place: Path, command: list[str]) -> Outcome:
    place.mkdir()
    return run(command, environment=ENVIRONMENT, cwd=place)


def arms(program: Path, name: str, place: Path) -> tuple[Outcome, Outcome]:
    native = in_empty_directory(place / "native", [str(program), name])
    return native, in_empty_directory(place / "enclaved", enclaved(program, name))


@pytest.mark.parametrize("how", ["dynamic", pytest.param("static", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [name for name in names() if name not in DIFFERENT])
def test_same_as_native(programs: Path, tmp_path: Path, name: str, how: str) -> None:
    native, other = arms(build(programs, "exec_scenarios", how), name, tmp_path)
    assert native.output
    assert other.output == native.output, other.errors
    assert other.status == native.status


@pytest.mark.needs_program("musl-gcc")
@pytest.mark.parametrize("name", ["arguments", "bad_pointers", "vfork_and_spawn", "small_stacks", "threads"])
def test_same_as_native_under_musl(programs: Path, tmp_path: Path, name: str) -> None:
    """Its posix_spawn gives the child, which executes, a stack of 5 KiB."""
    native, other = arms(build(programs, "exec_scenarios", "musl"), name, tmp_path)
    assert native.output
    assert other == native


def test_a_file_open_for_writing_runs(programs: Path, tmp_path: Path) -> None:
    native, other = arms(build(programs, "exec_scenarios"), "busy_text", tmp_path)
    assert native.output.splitlines()[0] == "open for writing: errno 26"
    assert other.output.splitlines()[0] == "open for writing: exit 0 signal 0"


def test_its_own_name(programs: Path, tmp_path: Path) -> None:
    native, other = arms(build(programs, "exec_scenarios"), "own_name", tmp_path)
    differing = [
        pair for pair in zip(native.output.splitlines(), other.output.splitlines(), strict=True) if len(set(pair)) > 1
    ]
    assert [(a.split()[:2], b.split()[0]) for a, b in differing] == [(["execfn", "/proc/self/exe"], "execfn")]


def test_its_own_file_is_the_runtimes(programs: Path, tmp_path: Path) -> None:
    native, other = arms(build(programs, "exec_scenarios"), "own_file", tmp_path)
    assert native.output == "stat 0 0 same 1\nopen 1 same 1\n"
    assert other.output == "stat 0 0 same 0\nopen 1 same 0\n"
