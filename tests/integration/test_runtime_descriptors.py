"""The runtime's descriptors live for microseconds, on numbers that the program may choose for its own files."""

from pathlib import Path

import pytest
from tests.integration.runtime_programs.arms import both, build

pytestmark = pytest.mark.needs_runtime

SECONDS = "3"


@pytest.mark.parametrize("how", ["dynamic", "static"])
def test_files_put_on_free_numbers_are_not_met_by_memory(tmp_path: Path, how: str) -> None:
    """Once, 400 files in five seconds got the size of secret memory, or were that memory."""
    program = build(tmp_path, "descriptor_numbers", how)
    native, inside = both(program, str(tmp_path / "file"), SECONDS)
    assert native.output == "ok\n"
    assert inside == native


def test_memory_is_had_while_somebody_closes_every_number(tmp_path: Path) -> None:
    """Wrong, but harmless natively."""
    native, inside = both(build(tmp_path, "descriptor_numbers"), str(tmp_path / "file"), SECONDS, "close")
    assert native.output == "ok\n"
    assert inside == native
