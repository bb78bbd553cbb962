"""What a verifier answers: the status of everything in one envelope, and what it rests on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from cloister.appraise.appraisal import Appraisal, Claim
from cloister.appraise.vector import Tier
from cloister.envelope import Envelope
from cloister.model import Tee
from cloister.verification.recipe import Check, VerifiedEvidence

__all__ = ["Authentic", "Verdict"]


@dataclass(frozen=True, kw_only=True)
class Authentic:
    """Everything in an envelope, verified: each part, and what binds them. Whether it is good is not said yet."""

    envelope: Envelope
    parts: tuple[VerifiedEvidence[Any], ...]
    """The primary one first."""
    bindings: tuple[Check, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The answer about one envelope. Its primary evidence gives `tee`, `tcb_status`, `advisories` and `claims`.

    There is no verdict about evidence that is not authentic: that is an exception.
    """

    authentic: Authentic
    appraisals: tuple[Appraisal, ...]
    """One per part, in the same order."""

    @property
    def status(self) -> Tier:
        """The worst status of all parts."""
        return max(one.status for one in self.appraisals)

    @property
    def tee(self) -> Tee:
        """What kind of environment the primary evidence is about."""
        return self.appraisals[0].tee

    @property
    def tcb_status(self) -> str:
        """The platform's standing in the vendor's words; empty where the vendor publishes none."""
        return self.appraisals[0].tcb.status

    @property
    def advisories(self) -> tuple[str, ...]:
        """The vendor's advisories that apply to the platform."""
        return self.appraisals[0].tcb.advisories

    @property
    def claims(self) -> Mapping[str, Claim]:
        """What the primary evidence says, by name."""
        return self.appraisals[0].claims

    @property
    def checks(self) -> tuple[Check, ...]:
        """Every check of every part, then what binds them."""
        return (*(check for one in self.appraisals for check in one.checks), *self.authentic.bindings)

    @property
    def unchecked(self) -> tuple[str, ...]:
        """What was not checked, and why."""
        bound = (f"{one.title}: {one.detail}" for one in self.authentic.bindings if one.state == "not checked")
        left = (f"not looked at: {one}" for one in self.authentic.envelope.leftovers)
        return (*(line for one in self.appraisals for line in one.unchecked), *bound, *left)

    def __bool__(self) -> NoReturn:
        """Refuse: a verdict is not a yes."""
        raise TypeError("a verdict is neither true nor false: compare .status with Tier.AFFIRMING")
