"""What a benchmark needs on this machine: installed programs, and its own C programs, compiled when first used."""

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from benchmarks.benchmark import Need, NotMeasured, PackageMissing

__all__ = ["C_COMPILER", "PROGRAMS", "compiled", "find", "require"]

C_COMPILER = Need(program="cc", package="gcc")
PROGRAMS = Path(__file__).parent / "programs"
# Debian keeps the programs that a database server needs, and users do not, away from the others.
DATABASE = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
# Debian's own programs first: a python3 from elsewhere may be a shell script that looks for another python3.
PLACES = ":".join([*DATABASE, "/usr/bin:/bin:/usr/sbin:/sbin", os.environ.get("PATH", "")])
COMPILE_SECONDS = 60


def find(program: str) -> str:
    """The absolute path of an installed program, or NotMeasured."""
    path = shutil.which(program, path=PLACES)
    if path is None:
        raise NotMeasured(f"{program} is not installed")
    return path


def require(needs: Iterable[Need]) -> None:
    """Raise PackageMissing, naming the packages, unless every program is installed."""
    missing = [need.package for need in needs if shutil.which(need.program, path=PLACES) is None]
    if missing:
        raise PackageMissing(f"package {', '.join(dict.fromkeys(missing))} missing")


def compiled(name: str, scratch: Path) -> str:
    """The path of benchmarks/programs/NAME.c, compiled into `scratch` unless it is there already."""
    program = scratch / name
    if not program.exists():
        command = [find("cc"), "-O2", "-pthread", "-o", str(program), str(PROGRAMS / f"{name}.c")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False)
        if done.returncode:
            raise NotMeasured(f"{name}.c does not compile: {done.stderr.strip()}")
    return str(program)
