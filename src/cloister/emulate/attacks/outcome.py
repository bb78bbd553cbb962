"""What came of an attack."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Outcome"]


class Outcome(StrEnum):
    """Whether the adversary reached the goal."""

    SUCCEEDED = "succeeded"  # a secret was read, or the program went on with what the adversary chose
    DETECTED = "detected"  # the adversary changed something, and the machine, the program or the verifier noticed
    STOPPED = "stopped"  # neither: refused, or nothing useful came of it


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one attempt, and what was observed that says so, for people."""

    outcome: Outcome
    observed: str
