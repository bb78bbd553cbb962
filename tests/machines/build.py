"""Programs for the emulated machines, compiled once for each run of the tests."""

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from cloister.emulate.attacks.victims import COMPILERS, compiled
from cloister.errors import UsageError
from cloister.measure.image import Architecture

__all__ = ["ARCHITECTURES", "LAB_PROGRAM", "assembled", "linked", "program"]

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


@functools.cache
def _linked(source: Path, compiler: str, libraries: tuple[str, ...]) -> bytes | str:
    found = shutil.which(compiler)
    if found is None:
        return f"not installed: {compiler}"
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / source.stem
        done = subprocess.run(
            [found, "-O1", "-static", "-o", target, source, *libraries],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        return target.read_bytes() if done.returncode == 0 else done.stderr


def linked(source: Path, compiler: str, *libraries: str) -> bytes:
    """A static program, by a compiler and with libraries of its own; skipped where one of them is not installed."""
    found = _linked(source, compiler, libraries)
    if isinstance(found, str):
        if "not installed" in found or "No such file" in found or "cannot find" in found:
            pytest.skip(f"{found.strip().splitlines()[-1]} (scripts/install-test-programs)")
        pytest.fail(found)
    return found
