"""Programs for the emulated machines, compiled once for each run of the tests."""

import functools
from pathlib import Path

import pytest

from cloister.emulate.attacks.victims import COMPILERS, compiled
from cloister.errors import UsageError
from cloister.measure.image import Architecture

__all__ = ["ARCHITECTURES", "LAB_PROGRAM", "assembled", "program"]

LAB_PROGRAM = Path("src/cloister/app/lab/exercise/app.c").resolve()
ARCHITECTURES = tuple(Architecture)


@functools.cache
def _compiled(source: Path, architecture: Architecture, flags: tuple[str, ...]) -> bytes | str:
    try:
        return compiled(source, architecture, flags)
    except UsageError as error:
        return str(error)


def program(
    source: Path, architecture: Architecture = Architecture.X86_64, flags: tuple[str, ...] = ("-O1", "-static")
) -> bytes:
    """A linked program; the test is skipped where there is no compiler for its instruction set."""
    found = _compiled(source, architecture, flags)
    if isinstance(found, str):
        if "no compiler" in found:
            pytest.skip(f"{found} (scripts/install-test-programs); tried {COMPILERS[architecture]}")
        pytest.fail(found)
    return found


def assembled(directory: Path, text: str, architecture: Architecture = Architecture.X86_64) -> bytes:
    """A program of a few instructions, given as assembly with a global `_start`."""
    source = directory / f"program-{architecture}.S"
    source.write_text(text)
    return program(source, architecture, ("-static", "-nostdlib", "-Wl,--build-id=none"))
