"""What has been decided so far while evidence is appraised."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from cloister.appraise.policy import worse
from cloister.appraise.rules import plain
from cloister.appraise.vector import NO_CLAIM, Tier, TrustVector
from cloister.verification.recipe import Check, CheckState

__all__ = ["Ledger", "Notes"]


NOTHING_CLAIMED: Final = TrustVector().values()


class Note(NamedTuple):
    """What a line of the explanation is made of: values as they are, put into words when somebody reads them."""

    title: str
    state: CheckState
    about: Mapping[str, object]


class Notes(tuple[Note, ...]):
    """What was decided, in order; numbered from 1."""

    __slots__ = ()

    @property
    def checks(self) -> tuple[Check, ...]:
        """Every note as a line for people."""
        return tuple(
            Check(
                number=f"POLICY-{number}", title=one.title, state=one.state,
                **{name: plain(value) for name, value in one.about.items()},
            )
            for number, one in enumerate(self, 1)
        )  # fmt: skip


@dataclass(kw_only=True)
class Ledger:
    """What has been decided so far."""

    values: dict[str, int] = field(default_factory=NOTHING_CLAIMED.copy)
    status: Tier = Tier.AFFIRMING
    noted: list[Note] = field(default_factory=list)
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

    def note(self, title: str, state: CheckState, **about: object) -> None:
        """Add a line to the explanation; one that was not checked is listed as such too."""
        self.noted.append(Note(title, state, about))
        if state is CheckState.UNCHECKED:
            self.unchecked.append(f"{title}: {about['detail']}")
