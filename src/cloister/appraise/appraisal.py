"""What a verifier concludes from verified evidence, reference values and policy: data, not yet signed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from cloister.appraise.vector import Tier, TrustVector
from cloister.model import Tee
from cloister.verification.recipe import Check, Tcb

__all__ = ["Appraisal", "Claim"]

Claim = str | int | bool | list["Claim"]
"""What evidence says about one thing, in a form that JSON has too. Bytes are lowercase hexadecimal digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Appraisal:
    """The verdict on one piece of evidence, and everything it rests on."""

    tee: Tee
    status: Tier
    vector: TrustVector
    tcb: Tcb
    claims: Mapping[str, Claim]
    checks: tuple[Check, ...]
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

    def __bool__(self) -> NoReturn:
        """Refuse: an appraisal is not a yes."""
        raise TypeError("an appraisal is neither true nor false: look at .status")
