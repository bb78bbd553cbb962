"""The module's guards against a host that interrupts or faults a TD at every instruction.

intel/tdx-module 1.5, src/td_transitions/td_exit_stepping.c. Single-stepping: an interrupt right after entry is held
back while the TD goes on for a random number of instructions. Zero-stepping: a TD that faults again and again at one
instruction is not entered until the pages that it wants are there.

TDXdown (Wilke, Sieck, Eisenbarth, CCS 2024) made the processor so slow that one instruction took longer than "right
after entry" lasts: the first guard then sees nothing. Later modules count instructions.
"""

import secrets
from dataclasses import dataclass, field
from typing import Final

__all__ = ["SteppingGuard"]

INSTRUCTION: Final = 15
"""Bytes of the longest instruction (INTEL64_MAX_INST_LEN)."""

WINDOW: Final = 4096
"""Cycles of the time stamp counter (STEPPING_TSC_THRESHOLD)."""

FAULTS: Final = 6
"""EPT violations at one instruction that are not yet suspected (STEPPING_EPF_THRESHOLD)."""

LISTED: Final = 32
"""Pages that are remembered of those beyond (EPF_GPA_LIST_SIZE)."""

MOST: Final = 32


@dataclass(slots=True)
class SteppingGuard:
    """The guards of one virtual processor. `counts_instructions` is how modules since TDXdown know a step.

    `suspected` are the guest-physical addresses that a TD which does not get on has faulted at.
    """

    counts_instructions: bool = False
    suspected: list[int] = field(default_factory=list)
    _entry: int = 0
    _faults: int = 0

    def entered(self, rip: int) -> None:
        """The TD goes on at this instruction."""
        self._entry = rip

    def suspects(self, rip: int, instructions: int, cycles: int) -> bool:
        """Whether an interrupt here, so long after entry, looks like a step."""
        if self.counts_instructions:
            return instructions <= 1
        return abs(rip - self._entry) <= 2 * INSTRUCTION and cycles <= WINDOW

    @staticmethod
    def distance() -> int:
        """How many instructions the TD goes on for before the host gets its interrupt."""
        return 1 + secrets.randbelow(MOST)

    def faulted(self, rip: int, gpa: int) -> None:
        """The TD exits at this instruction, since a private page is not there."""
        if rip != self._entry:
            self._faults = 0
            self.suspected.clear()
        if self._faults < FAULTS:
            self._faults += 1
        elif gpa not in self.suspected and len(self.suspected) < LISTED:
            self.suspected.append(gpa)
