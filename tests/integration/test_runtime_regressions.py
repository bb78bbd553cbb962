"""What once went wrong around a program: how it is linked, who its parent is, under which limits it starts."""

import subprocess
import sys
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from tests.integration.runtime_programs.arms import both, build, enclaved, run

from cloister.launch import _abi

pytestmark = pytest.mark.needs_runtime

GNU_STACK, NULL_HEADER = 0x6474E551, 0


@pytest.mark.parametrize("how", ["dynamic", pytest.param("musl", marks=pytest.mark.needs_program("musl-gcc"))])
def test_detached_threads_end(tmp_path: Path, how: str) -> None:
    native, inside = both(build(tmp_path, "detached_threads", how))
    assert native.output == "ran 500\n"
    assert inside == native


def test_a_reaper_of_orphans_does_not_wait_for_its_guards(tmp_path: Path) -> None:
    program = build(tmp_path, "orphan_reaper")
    native = run([str(program), "reaper", str(program)])
    assert native.output == "reaped 1\n"
    assert run([str(program), "reaper", *enclaved(program)]) == native


def test_no_shared_segment_comes_over_memory_of_the_programs_own(tmp_path: Path) -> None:
    """Natively it does, and goes when the memory goes; in an enclave it stayed, and secrets stood in it."""
    native, inside = both(build(tmp_path, "shared_segment"))
    assert native.output == "over 0, shared 0\n"
    assert inside.output == "over 22, shared 0\n"


@pytest.mark.needs_root
@pytest.mark.needs_program("unshare")
def test_neither_does_the_first_process_of_a_namespace(tmp_path: Path) -> None:
    program = build(tmp_path, "orphan_reaper")
    native = run(["unshare", "-fp", "--mount-proc", str(program)])
    assert native.output == "reaped 1\n"
    assert run(["unshare", "-fp", "--mount-proc", *enclaved(program)]) == native


@pytest.mark.needs_root
@pytest.mark.needs_program("unshare")
def test_programs_are_executed_in_a_new_pid_namespace() -> None:
    command = ["/usr/bin/unshare", "-fp", "--mount-proc", "sh", "-c", "echo $$; ls / | wc -l"]
    native, inside = run(command), run(enclaved(Path(command[0]), *command[1:]))
    assert native.output.startswith("1\n")
    assert inside == native


def with_stack_header(program: Path, *, kind: int, flags: int) -> Path:
    """A copy whose PT_GNU_STACK header has another type and flags."""
    content = bytearray(program.read_bytes())
    with program.open("rb") as file:
        elf = ELFFile(file)
        index = next(i for i in range(elf.num_segments()) if elf.get_segment(i)["p_type"] == "PT_GNU_STACK")
        place = elf["e_phoff"] + index * elf["e_phentsize"]
    content[place : place + 8] = kind.to_bytes(4, "little") + flags.to_bytes(4, "little")
    changed = program.with_name(f"{program.name}-{kind}-{flags}")
    changed.write_bytes(content)
    changed.chmod(0o755)
    return changed


@pytest.mark.parametrize(("kind", "flags"), [(GNU_STACK, 7), (NULL_HEADER, 0)], ids=["asked for", "not ruled out"])
def test_executable_stacks_are_refused(tmp_path: Path, kind: int, flags: int) -> None:
    """They would be ordinary memory, and so would the stacks of all threads."""
    outcome = run(enclaved(with_stack_header(build(tmp_path, "detached_threads"), kind=kind, flags=flags)))
    assert outcome.status == _abi.EXIT_CANNOT_ENCLAVE
    assert "executable stack" in outcome.errors


def test_control_the_usual_header_is_accepted(tmp_path: Path) -> None:
    outcome = run(enclaved(with_stack_header(build(tmp_path, "detached_threads"), kind=GNU_STACK, flags=6)))
    assert outcome.status == 0


def test_headers_that_claim_more_than_the_file_has_take_no_memory(tmp_path: Path) -> None:
    program = build(tmp_path, "detached_threads")
    content = bytearray(program.read_bytes())
    with program.open("rb") as file:
        elf = ELFFile(file)
        index = next(i for i in range(elf.num_segments()) if elf.get_segment(i)["p_type"] == "PT_LOAD")
        place = elf["e_phoff"] + index * elf["e_phentsize"] + 32
    content[place : place + 16] = (1 << 40).to_bytes(8, "little") * 2
    program.write_bytes(content)
    outcome = run(enclaved(program))
    assert outcome.status == _abi.EXIT_CANNOT_ENCLAVE
    assert "headers" in outcome.errors


def test_a_report_does_not_need_the_stack_of_the_program(tmp_path: Path) -> None:
    program, report = build(tmp_path, "regression_scenarios"), tmp_path / "report"
    outcome = run(enclaved(program, "small_alternate_stack", options=(f"--report={report}",)))
    assert outcome.status == 0, outcome.errors
    assert report.read_text().count('"secret_bytes"') == 2  # parent and child


LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_a_file_size_limit_that_leaves_no_room_is_named() -> None:
    command = [sys.executable, "-c", LIMITED, *enclaved(Path("/bin/echo"), "ran")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == _abi.EXIT_CANNOT_PROTECT
    assert done.stdout == ""
    assert "ulimit -f" in done.stderr


LIMITING_ITSELF = """
import mmap, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
memory = mmap.mmap(-1, 64 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory[:] = bytes(len(memory))
print("filled")
"""


@pytest.mark.parametrize(("limit", "ends"), [(1 << 20, (0, "filled\n")), (64 << 10, (1, ""))])
def test_a_program_that_limits_file_sizes_is_not_killed_for_memory(limit: int, ends: tuple[int, str]) -> None:
    """Secret memory is files of the kernel's: one larger than the limit would send SIGXFSZ."""
    outcome = run(enclaved(Path(sys.executable).resolve(), "-c", LIMITING_ITSELF, str(limit)))
    assert (outcome.status, outcome.output) == ends
    assert limit > 64 << 10 or "Cannot allocate memory" in outcome.errors


LIMITED_ADDRESS_SPACE = """
ulimit -v 600000
ulimit -v
exec "$0" -c '
import resource
print(resource.getrlimit(resource.RLIMIT_AS))
for mebibytes in (100, 700):
    try:
        print(len(bytearray(mebibytes << 20)))
    except MemoryError:
        print("no memory")
'
"""


def test_a_limit_of_address_space_holds_for_what_is_executed() -> None:
    words = ["-c", LIMITED_ADDRESS_SPACE, str(Path(sys.executable).resolve())]
    native, inside = both(Path("/bin/bash"), *words)
    assert native.output.splitlines()[-2:] == [str(100 << 20), "no memory"]
    assert inside == native


def test_children_survive_the_start_of_the_guards() -> None:
    """Guard 2 once read what stood on guard 1's stack after that had gone on: one start in five was killed."""
    command = enclaved(Path("/bin/sh"), "-c", "id -un; grep CapEff /proc/self/status")
    assert [run(command).status for _ in range(40)] == [0] * 40
