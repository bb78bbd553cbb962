"""What has been decided so far while evidence is appraised."""

from dataclasses import dataclass, field
from typing import Final

from cloister.appraise.policy import worse
from cloister.appraise.vector import NO_CLAIM, Tier, TrustVector
from cloister.verification.recipe import Check, CheckState

__all__ = ["Ledger"]


NOTHING_CLAIMED: Final = TrustVector().values()


@dataclass(kw_only=True)
class Ledger:
    """What has been decided so far."""

    values: dict[str, int] = field(default_factory=NOTHING_CLAIMED.copy)
    status: Tier = Tier.AFFIRMING
    checks: list[Check] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    def affirm(self, claim: str, value: int) -> None:
        """Say something good about a claim of which nothing was said."""
        if self.values[claim] == NO_CLAIM:
            self.values[claim] = value

    def lower(self, claim: str, value: int) -> None:
        """Say something bad; what was said before stays if it is worse."""
        self.values[claim] = worse(self.values[claim], value)

    def cap(self, status: Tier) -> None:
        """The status is no better than this, whatever the claims are."""
        self.status = max(self.status, status)

    def note(self, title: str, state: CheckState, **about: str) -> None:
        """Add a numbered line to the explanation; one that was not checked is listed as such too."""
        self.checks.append(Check(number=f"POLICY-{len(self.checks) + 1}", title=title, state=state, **about))
        if state is CheckState.UNCHECKED:
            self.unchecked.append(f"{title}: {about['detail']}")
