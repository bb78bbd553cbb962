"""Goals: what a row is aimed at. A goal missed is a figure in a table, never a failed run."""

from dataclasses import dataclass
from enum import Enum

__all__ = ["Aim", "Goal", "at_most", "extra", "speed", "times"]


class Aim(Enum):
    """What of a row is compared with the goal's limit."""

    SPEED = "speed"
    AT_MOST = "at most"
    EXTRA = "extra"
    TIMES = "times"


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A limit, in the unit of the row or, for speeds and times, without one."""

    aim: Aim
    limit: float


def speed(limit: float) -> Goal:
    """At least this fraction of the native speed."""
    return Goal(aim=Aim.SPEED, limit=limit)


def at_most(limit: float) -> Goal:
    """The enclaved figure itself is at most this."""
    return Goal(aim=Aim.AT_MOST, limit=limit)


def extra(limit: float) -> Goal:
    """At most this much more than natively."""
    return Goal(aim=Aim.EXTRA, limit=limit)


def times(limit: float) -> Goal:
    """At most this many times the native figure."""
    return Goal(aim=Aim.TIMES, limit=limit)
