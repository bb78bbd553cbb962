"""Programs in emulated machines by the command that users type, and natively for comparison."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.machines.build import linked
from tests.system.arms import CLOISTER_ENVIRONMENT, CLOISTER_RUN, ENVIRONMENT

from cloister.emulate.catalogue import KINDS
from cloister.measure.image import Architecture

__all__ = ["COMPILERS", "MACHINES", "PROGRAMS", "X86", "Keyed", "Result", "architecture", "build", "tree_of"]

PROGRAMS = Path(__file__).parent / "programs"
MACHINES = ("native", *KINDS)
COMPILERS = {
    Architecture.X86_64: "gcc",
    Architecture.ARM64: "aarch64-linux-gnu-gcc",
    Architecture.RISCV64: "riscv64-linux-gnu-gcc",
}
X86 = tuple(name for name in MACHINES if name == "native" or KINDS[name].architecture is Architecture.X86_64)


def architecture(machine: str) -> Architecture:
    """What a machine runs; the one without a TEE runs everything, here x86-64."""
    return Architecture.X86_64 if machine == "native" else KINDS[machine].architecture


def build(directory: Path, source: Path, compiler: str, *libraries: str) -> str:
    """The path of a static program, linked once for all tests."""
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / f"{source.stem}-{compiler}"
    if not target.exists():
        target.write_bytes(linked(source, compiler, *libraries))
        target.chmod(0o755)
    return str(target)


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a program ended, as a shell shows it (128 + signal), and what it wrote."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def said(self) -> str:
        """Standard error as text."""
        return self.stderr.decode(errors="replace")


def finished(words: Sequence[str], cwd: Path, given: bytes, environment: Mapping[str, str], seconds: float) -> Result:
    """Run to the end, with `given` as standard input."""
    done = subprocess.run(
        words, cwd=cwd, input=given, env=environment, capture_output=True, timeout=seconds, check=False
    )
    status = done.returncode if done.returncode >= 0 else 128 - done.returncode
    return Result(status=status, stdout=done.stdout, stderr=done.stderr)


@dataclass(frozen=True)
class Keyed:
    """`cloister run --tee` with the emulated manufacturers' keys in one directory, so that they are made once."""

    keys: Path
    inside: bool = False
    """In the software enclave, as users have it; the tests' own machines run outside, which needs no rights."""

    def words(self, machine: str, *words: str, options: Sequence[str] = ()) -> list[str]:
        """The command line."""
        place = () if self.inside else ("--unsafe-outside",)
        return [*CLOISTER_RUN, "--tee", machine, *place, "--keys", str(self.keys), *options, "--", *words]

    def run(
        self,
        machine: str,
        *words: str,
        cwd: Path,
        given: bytes = b"",
        options: Sequence[str] = (),
        environment: Mapping[str, str] = CLOISTER_ENVIRONMENT,
        seconds: float = 100,
    ) -> Result:
        """One program in one machine, to the end."""
        return finished(self.words(machine, *words, options=options), cwd, given, environment, seconds)

    @staticmethod
    def natively(*words: str, cwd: Path, given: bytes = b"", environment: Mapping[str, str] = ENVIRONMENT) -> Result:
        """The same program on the machine that runs the tests."""
        return finished(words, cwd, given, environment, 100)


def tree_of(directory: Path) -> dict[bytes, tuple[int, bytes]]:
    """Every file and directory below: mode, and content or nothing."""
    found = {}
    for place, _, names in os.walk(os.fsencode(directory)):
        for path in (place, *(os.path.join(place, name) for name in names)):  # noqa: PTH118 - bytes, which paths are
            content = b"" if os.path.isdir(path) else Path(os.fsdecode(path)).read_bytes()  # noqa: PTH112
            found[os.path.relpath(path, os.fsencode(directory))] = (os.stat(path).st_mode, content)
    return found
