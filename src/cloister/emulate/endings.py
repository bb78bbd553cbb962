"""How a run ends, and which signal Linux would have sent: programs here end as they end natively."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cloister.measure.image import Architecture

__all__ = ["BUS_ERROR", "KILLED", "SEGMENTATION_FAULT", "Ending", "of_exception", "of_instruction"]

ILLEGAL_INSTRUCTION: Final = 128 + 4
BREAKPOINT: Final = 128 + 5
BUS_ERROR: Final = 128 + 7
ARITHMETIC_ERROR: Final = 128 + 8
KILLED: Final = 128 + 9
SEGMENTATION_FAULT: Final = 128 + 11


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: the program's exit status (128 + signal if it was killed), and why the machine stopped it.

    `mistake` says to a person what the program did wrong, where a signal ended it; endings are compared without it.
    """

    status: int
    stopped: str = ""
    mistake: str = field(default="", compare=False)


MISTAKES: Final[Mapping[Architecture, Mapping[int, tuple[int, str]]]] = {
    Architecture.X86_64: {
        0: (ARITHMETIC_ERROR, "divide error"),
        1: (BREAKPOINT, "debug exception"),
        3: (BREAKPOINT, "breakpoint"),
        12: (BUS_ERROR, "stack fault"),
        13: (SEGMENTATION_FAULT, "general protection"),
        16: (ARITHMETIC_ERROR, "floating-point error"),
        17: (BUS_ERROR, "alignment check"),
        19: (ARITHMETIC_ERROR, "SIMD floating-point error"),
    },
    Architecture.ARM64: {7: (BREAKPOINT, "breakpoint")},
    Architecture.RISCV64: {3: (BREAKPOINT, "breakpoint")},
}
"""Exceptions that Linux tells a program of by another signal than SIGILL: exit status, and what it was.

x86: Intel SDM volume 3A, table 6-1, and arch/x86/kernel/idt.c; arm64: QEMU's EXCP_BKPT; riscv64: cause 3 (Privileged
Architecture, table 3.6).
"""

EBREAK: Final = (b"\x02\x90", b"\x73\x00")
"""The first two bytes of c.ebreak and ebreak, which the engine takes for illegal; ecall, alike, is a system call."""


VEX: Final = frozenset({0xC4, 0xC5, 0x62})
"""What AVX and AVX-512 instructions begin with in 64-bit mode (Intel SDM volume 2A, 2.3.5 and 2.7.1)."""


def of_exception(architecture: Architecture, number: int, address: int) -> Ending:
    """What an exception of the CPU makes of the program at an address."""
    known = MISTAKES[architecture].get(number)
    if known is None:
        return Ending(ILLEGAL_INSTRUCTION, f"exception {number} at {address:#x}")
    return Ending(known[0], mistake=f"{known[1]} at {address:#x}")


def of_instruction(architecture: Architecture, address: int, start: bytes) -> Ending:
    """What an instruction that the engine does not know makes of the program; `start` is its first two bytes."""
    if architecture is Architecture.RISCV64 and start in EBREAK:
        return Ending(BREAKPOINT, mistake=f"breakpoint at {address:#x}")
    known = ""
    if architecture is Architecture.X86_64 and start[0] in VEX:
        known = " (AVX, which this processor has not: compile without -march=native and -mavx)"
    return Ending(ILLEGAL_INSTRUCTION, f"illegal instruction at {address:#x}{known}")
