"""Many threads, signals at every moment, and memory that ends: as natively, and nothing stays behind."""

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.arms import ARMS, ENVIRONMENT, Arm, command
from tests.system.process_tree import moments

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime, pytest.mark.needs_program("cc")]

PROGRAMS = Path(__file__).parent / "programs" / "breadth"
MEMORY = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))
"""Where memory is limited: cgroups(7), version 1 before version 2, whose root has no such file."""
LIMITS = ("memory.limit_in_bytes", "memory.max")
MIB = 1 << 20


def result(arm: Arm, argv: list[str], seconds: float = 100) -> tuple[int, str, str]:
    done = subprocess.run(
        command(arm, argv), stdin=subprocess.DEVNULL, capture_output=True, text=True, env=ENVIRONMENT, timeout=seconds,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def compiled(name: str, directory: Path) -> str:
    subprocess.run(["cc", "-O1", "-pthread", "-o", directory / name, PROGRAMS / f"{name}.c"], check=True, timeout=60)
    return str(directory / name)


@pytest.mark.parametrize("count", [1000, pytest.param(10000, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_threads_at_once(count: int, tmp_path: Path) -> None:
    program = compiled("limits_threads", tmp_path)
    native, enclaved = (result(arm, [program, str(count)], 500) for arm in ARMS)
    if native[0]:
        pytest.skip(f"not natively either: {native[2]}")
    assert native == (0, f"{count} at once, sum {count * (count - 1) // 2}\n", "")
    assert enclaved == native


@pytest.mark.parametrize("seconds", [1, pytest.param(60, marks=[pytest.mark.long, pytest.mark.timeout(300)])])
def test_a_signal_every_two_milliseconds(seconds: int, tmp_path: Path) -> None:
    program = compiled("limits_signals", tmp_path)
    for arm in ARMS:
        assert result(arm, [program, str(seconds)], seconds + 100) == (0, "right\n", ""), arm


@pytest.fixture
def little_memory() -> Iterator[Path]:
    """A control group with 64 MiB; skipped where none can be made."""
    group = next((made for root in MEMORY if (made := limited_group(root))), None)
    if group is None:
        pytest.skip("no control group for memory can be made here")
    try:
        yield group
    finally:
        for _ in moments(10):  # who was killed leaves the group a little later
            if not (group / "cgroup.procs").read_text():
                break
        group.rmdir()


def limited_group(root: Path) -> Path | None:
    group = root / f"cloister-test-{uuid.uuid4().hex[:8]}"
    try:
        group.mkdir()
    except OSError:
        return None
    for name in LIMITS:
        if (group / name).exists():
            (group / name).write_text(str(64 * MIB))
            return group
    group.rmdir()
    return None


def hungry(group: Path, mebibytes: int) -> list[str]:
    """A program that enters the group and then fills so much memory."""
    enter = f"open({str(group / 'cgroup.procs')!r}, 'w').write('0')"
    code = f"{enter}; x = bytearray(b'x') * ({mebibytes} << 20); print(len(x))"
    return ["/usr/bin/python3", "-c", code]


@pytest.mark.needs_program("/usr/bin/python3")
@pytest.mark.parametrize(("mebibytes", "ends"), [(16, 0), (256, -9)])
def test_a_program_at_its_memory_limit(little_memory: Path, mebibytes: int, ends: int) -> None:
    """The kernel kills it, natively and enclaved; guards and children end with it, as every test here looks for."""
    for arm in ARMS:
        status, printed, _ = result(arm, hungry(little_memory, mebibytes))
        assert (status, printed) == (ends, "" if ends else f"{mebibytes * MIB}\n"), arm


@pytest.mark.needs_program("/usr/bin/python3")
@pytest.mark.xfail(
    strict=True, reason="RLIMIT_DATA is not about shared mappings, which secret memory is (LIMITATIONS.md)"
)
def test_a_limit_on_data() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_DATA, (50 << 20, 50 << 20))\n"
        "try: bytearray(200 << 20)\n"
        "except MemoryError: print('refused')\n"
        "else: print('given')"
    )
    native, enclaved = (result(arm, ["/usr/bin/python3", "-c", code]) for arm in ARMS)
    assert native[1] == "refused\n"
    assert enclaved == native
