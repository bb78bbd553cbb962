"""Emulated TEEs in experiments: the command that runs a program in one."""

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cloister.emulate.inside import Request, load_program
from cloister.measure.image import Architecture

__all__ = ["MEMORY", "emulator", "runs_here"]

MEMORY: Final = 64
"""MiB of DRAM: enough for a program to examine, and searched at every sample."""

HERE: Final = {"x86_64": Architecture.X86_64, "aarch64": Architecture.ARM64, "riscv64": Architecture.RISCV64}


def emulator(tee: str, dram: Path) -> Callable[[list[str]], list[str]]:
    """What turns a program's words into those of an emulated machine that runs it, with DRAM in a file."""
    request = Request(tee=tee, memory=MEMORY, dram=str(dram))

    def wrapped(words: list[str]) -> list[str]:
        return request.command(words, "-B")  # writes no file but DRAM

    return wrapped


def runs_here(program: str) -> bool:
    """Whether this machine's own processor runs a static program. CannotEnclave, NotFound."""
    return load_program(program).architecture is HERE.get(platform.machine())
