"""The program that is attacked, compiled for a machine's instruction set."""

import functools
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloister.emulate.symbols import symbols_of
from cloister.errors import UsageError
from cloister.measure.image import Architecture, Image, read_image

__all__ = ["COMPILERS", "Victim", "compiled", "victim"]

SOURCE: Final = Path(__file__).with_name("victim.c")
SECONDS: Final = 60
COMPILERS: Final[Mapping[Architecture, tuple[str, ...]]] = {
    Architecture.X86_64: ("x86_64-linux-gnu-gcc", "gcc", "cc"),
    Architecture.ARM64: ("aarch64-linux-gnu-gcc",),
    Architecture.RISCV64: ("riscv64-linux-gnu-gcc",),
}
PACKAGES: Final = {
    Architecture.X86_64: "gcc",
    Architecture.ARM64: "gcc-aarch64-linux-gnu",
    Architecture.RISCV64: "gcc-riscv64-linux-gnu",
}
FLAGS: Final = (
    "-O1",
    "-static",
    "-nostdlib",
    "-ffreestanding",
    "-fno-stack-protector",
    "-fno-pie",
    "-no-pie",
    "-Wl,--build-id=none",
)


@dataclass(frozen=True)
class Victim:
    """The image, and where its symbols stand in memory."""

    image: Image
    symbols: Mapping[str, int]


@functools.cache
def victim(architecture: Architecture) -> Victim:
    """The compiled victim. UsageError if this machine has no compiler for the architecture."""
    data = compiled(SOURCE, architecture, FLAGS)
    return Victim(read_image(data, SOURCE.name), symbols_of(data))


def compiled(source: Path, architecture: Architecture, flags: tuple[str, ...]) -> bytes:
    """The linked program. UsageError with the compiler's words, or with the package that has one."""
    compiler = next(filter(None, map(shutil.which, COMPILERS[architecture])), None)
    if compiler is None:
        raise UsageError(
            f"no compiler for {architecture} here, tried {', '.join(COMPILERS[architecture])}: "
            f"install one, for example with `apt-get install {PACKAGES[architecture]}`"
        )
    with tempfile.TemporaryDirectory(prefix="cloister-victim-") as directory:
        target = Path(directory) / "victim"
        done = subprocess.run(
            [compiler, *flags, "-o", str(target), str(source)],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        if done.returncode:
            raise UsageError(f"{compiler} refuses {source}:\n{done.stderr.strip()}")
        return target.read_bytes()
