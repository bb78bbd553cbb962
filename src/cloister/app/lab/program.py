"""The exercise's program: its source, and a working directory in which it is compiled with the machine's compiler."""

import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

from cloister.errors import ObservationError

__all__ = ["DUMP_SCRIPT", "EXPECTED_HASH", "PROMPT", "SECRET", "compile_program", "compiler", "source_of"]

# The value of the class exercise. The lab shows it in its report and on the terminal on purpose: it is published,
# and to see it (or not) in a dump is what the lab is about. Nothing else in Cloister displays a secret.
SECRET = "FUNFOO"  # noqa: S105 - a published demonstration value
EXPECTED_HASH = "2084933351"
PROMPT = "Enter a secret: "
DUMP_SCRIPT = "dumpmem.py"


def source_of(name: str) -> str:
    """The text of one of the exercise's files: `app.c` or `dumpmem.py`."""
    return (files("cloister.app.lab") / "exercise" / name).read_text(encoding="utf-8")


def compiler() -> str:
    """The path of the machine's C compiler, or ObservationError with the command that installs one."""
    found = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if found is None:
        raise ObservationError(
            "there is no C compiler (cc) on this machine; install one: sudo apt install gcc libc6-dev"
        )
    return found


def compile_program(directory: Path) -> Path:
    """Write the exercise's files into `directory`, compile app.c there, and return the program's path."""
    for name in ("app.c", DUMP_SCRIPT):
        (directory / name).write_text(source_of(name), encoding="utf-8")
    program = directory / "app"
    command = [compiler(), "-O2", "-Wall", "-o", str(program), str(directory / "app.c")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise ObservationError(f"{' '.join(command)} failed: {done.stderr.strip()}; is libc6-dev installed?")
    return program
