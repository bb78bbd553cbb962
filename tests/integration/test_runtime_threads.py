"""What a thread costs: its calls go by patched sites, not by signals, each of which is a stop of the guard."""

import json
from pathlib import Path

import pytest
from tests.integration.runtime_programs.arms import build, enclaved, run

from cloister.launch import _abi

pytestmark = pytest.mark.needs_runtime

THREADS = 500
END = bytes.fromhex("31ff89d00f05ebf8")
"""xor %edi,%edi; mov %edx,%eax; syscall; jmp: how a C library ends threads that patch.c knows."""


def traps(program: Path, report: Path) -> int:
    outcome = run(enclaved(program, options=(f"{_abi.OPTION_REPORT}{report}",)))
    assert outcome.output == f"ran {THREADS}\n"
    return int(json.loads(report.read_text())["traps"])


def test_the_end_of_a_thread_is_no_stop_of_the_guard(tmp_path: Path) -> None:
    if not any(END in path.read_bytes() for path in Path("/lib").glob("*/libc.so.6")):
        pytest.skip("this C library ends threads by other instructions than patch.c knows")
    counted = traps(build(tmp_path, "detached_threads"), tmp_path / "report")
    assert counted < THREADS // 10, f"{counted} of the calls of {THREADS} threads came by signals"
