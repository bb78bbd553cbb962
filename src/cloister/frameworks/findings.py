"""What is said about a dangerous setting: how bad, where, why, and what to do."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Severity"]


class Severity(StrEnum):
    """How bad it is."""

    DANGEROUS = "dangerous"
    RISKY = "risky"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One setting. `key` as the file calls it, `place` its file and line."""

    severity: Severity
    key: str
    place: str
    reason: str
    advice: str
