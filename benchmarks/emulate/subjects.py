"""The programs that are measured, linked statically, natively and in emulated machines."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.benchmark import NotMeasured, PackageMissing

__all__ = ["SUBJECTS", "Subject"]

PROGRAMS: Final = Path(__file__).parent / "programs"
COMPILE_SECONDS: Final = 120


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One program: `size` is its argument, `goal` the slowdown that issue and documentation promise (0: none)."""

    name: str
    size: int
    goal: float
    link: tuple[str, ...] = ()
    header: str = ""
    package: str = "gcc"

    def compiled(self, scratch: Path) -> Path:
        """The static program. PackageMissing, NotMeasured."""
        if self.header and not Path(self.header).exists():
            raise PackageMissing(f"package {self.package} missing")
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            raise PackageMissing("package gcc missing")
        target = scratch / self.name
        include = [f"-I{Path(self.header).parent}"] if self.header else []
        command = [
            compiler,
            "-O2",
            "-static",
            *include,
            "-o",
            str(target),
            str(PROGRAMS / f"{self.name}.c"),
            *self.link,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False)
        if done.returncode:
            raise NotMeasured(f"{self.name}.c does not compile: {done.stderr.strip()}")
        return target


SUBJECTS: Final = (
    Subject(name="sha256", size=16, goal=12),
    Subject(name="sort", size=300, goal=8),
    Subject(
        name="lua",
        size=5,
        goal=25,
        link=("-l:liblua5.4.a", "-lm"),
        header="/usr/include/lua5.4/lua.h",
        package="liblua5.4-dev",
    ),
    Subject(
        name="sqlite",
        size=30,
        goal=0,
        link=("-lsqlite3", "-lm"),
        header="/usr/include/sqlite3.h",
        package="libsqlite3-dev",
    ),
)
