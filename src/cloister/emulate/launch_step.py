"""One message of a launch, whatever the TEE: who says what to whom, and what the receiver makes of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

__all__ = ["Stage", "Step"]


class Stage(IntEnum):
    """The four stages of a launch."""

    DEPLOY = 1
    LAUNCH = 2
    MEASURE = 3
    SECRET = 4


@dataclass(frozen=True, slots=True)
class Step:
    """One message and what its receiver made of it.

    `fields` are for people, `message` is what travelled. `check` says what the receiver has verified; `failure` is
    empty, or says why the dialogue ends here. `expected` and `actual` are what the check compared, where it compared
    two values.
    """

    stage: Stage
    sender: str
    receiver: str
    name: str
    fields: Mapping[str, str]
    message: bytes = field(repr=False)
    check: str
    failure: str = ""
    expected: str = ""
    actual: str = ""

    @property
    def ok(self) -> bool:
        """Whether the receiver goes on."""
        return not self.failure
