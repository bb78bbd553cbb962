"""What a verifier concludes from verified evidence, reference values and policy: data, not yet signed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import NoReturn, Protocol

from cloister.appraise.vector import Tier, TrustVector
from cloister.model import Tee
from cloister.verification.recipe import Check, Tcb

__all__ = ["Appraisal", "Claim", "Explanation"]

Claim = str | int | bool | list["Claim"]
"""What evidence says about one thing, in a form that JSON has too. Bytes are lowercase hexadecimal digits."""


class Explanation(Protocol):
    """Whoever can say what was checked: verified evidence its recipe, the judge the policy's rules."""

    @property
    def checks(self) -> tuple[Check, ...]:
        """Line by line, for people; made when somebody asks."""


@dataclass(frozen=True, kw_only=True)
class Appraisal:
    """The verdict on one piece of evidence, and everything it rests on."""

    tee: Tee
    status: Tier
    vector: TrustVector
    tcb: Tcb
    claims: Mapping[str, Claim]
    explanations: tuple[Explanation, ...] = field(repr=False)
    """The steps of the verification, then the rules of the policy."""
    unchecked: tuple[str, ...]
    """What was not checked, and why."""
    policy_id: str
    """Like `sha256:...`; empty if there was no policy."""
    at: datetime
    """The time at which everything was valid."""
    anchor_kind: str
    """What the evidence is worth: `hardware`, `owner`, `software` or `testing`."""
    anchor: str
    """The name of the trust anchor."""

    def __post_init__(self) -> None:
        """Refuse a status that is better than the claims it sums up."""
        if not self.vector.bears(self.status):
            raise ValueError(f"status {self.status} is better than the worst claim, which is {self.vector.worst()}")

    @cached_property
    def checks(self) -> tuple[Check, ...]:
        """Every step of the verification and every rule of the policy, in words. Costs more than the appraisal did."""
        return tuple(check for one in self.explanations for check in one.checks)

    def __bool__(self) -> NoReturn:
        """Refuse: an appraisal is not a yes."""
        raise TypeError("an appraisal is neither true nor false: look at .status")
