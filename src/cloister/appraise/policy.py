"""What a verifier's owner demands of evidence (RFC 9334: appraisal policy for evidence), as data.

`cloister.appraise.parse_policy` makes one from a TOML file; `cloister.appraise.judge` applies it. Everything that is
not said denies: a TEE without a section, a section without a rule about the program, an anchor that is not hardware.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cloister.appraise.rules import AllOf, AnyOf, Comparison, Constraint, Operator, Reference, claims_in, described
from cloister.appraise.vector import tier_of
from cloister.endorse.anchors import AnchorKind
from cloister.model import Tee

__all__ = [
    "HARDWARE_ONLY",
    "NEVER_TOLERABLE",
    "TOLERABLE",
    "EvidencePolicy",
    "ReferenceFiles",
    "Rule",
    "Section",
    "TcbPolicy",
    "pins",
    "worse",
]

TOLERABLE: Final = frozenset(
    {
        "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded", "OutOfDate",
        "OutOfDateConfigurationNeeded", "TDRelaunchAdvised", "TDRelaunchAdvisedConfigurationNeeded",
    }
)  # fmt: skip
"""Vendors' words for a platform that is genuine but not at its best."""

NEVER_TOLERABLE: Final = frozenset({"Revoked", "NotSupported"})
"""Vendors' words for a platform that they no longer, or never, vouched for."""


HARDWARE_ONLY: Final = frozenset({AnchorKind.HARDWARE})
"""The anchors that a policy accepts if it names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One demand. `failure` gives the value of each AR4SI claim that the rule decides, should it fail."""

    title: str
    constraint: Constraint
    place: str
    """Where it stands: `policy.toml:12`."""
    failure: Mapping[str, int]
    names_program: bool
    """Whether it holds only for programs that somebody named."""
    subject: str = ""
    """The claim, if the rule is about a single one."""
    expected: str = field(init=False)
    """The constraint in words."""
    claims: tuple[str, ...] = field(init=False)
    """The names of all claims that it looks at."""
    because: str = ""

    def __post_init__(self) -> None:
        """Put into words once what every explanation repeats."""
        object.__setattr__(self, "expected", described(self.constraint, subject=self.subject))
        object.__setattr__(self, "claims", tuple(sorted(claims_in(self.constraint))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What is demanded of one TEE. The unsafe switches hold the place that sets them; empty is off."""

    tee: Tee
    place: str
    rules: tuple[Rule, ...] = ()
    unsafe_any_measurement: str = ""
    unsafe_allow_debug: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TcbPolicy:
    """Standings of the platform that are tolerated though not the best. Each name has the place that names it."""

    place: str
    tolerated: Mapping[str, str] = field(default_factory=dict)
    tolerated_advisories: Mapping[str, str] = field(default_factory=dict)
    unsafe_tolerated: Mapping[str, str] = field(default_factory=dict)
    unsafe_any_advisory: str = ""
    oldest: datetime | None = None
    """The TCB date must not be before this; None if the policy does not look at dates."""
    oldest_place: str = ""
    on_failure: int = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceFiles:
    """Where the reference values are. Files and signers each have the place that names them."""

    files: tuple[tuple[str, str], ...] = ()
    """Relative to the policy."""
    signers: tuple[tuple[str, str], ...] = ()
    """Public keys, PEM, that may sign CoRIMs."""
    unsafe_unsigned: str = ""
    """Where unsigned CoRIMs are accepted; empty if they are not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidencePolicy:
    """A whole policy file."""

    name: str
    policy_id: str
    """`sha256:` and the hash of the file's text."""
    sections: Mapping[Tee, Section]
    tcb: TcbPolicy
    accept_anchors: frozenset[AnchorKind] = HARDWARE_ONLY
    anchors_place: str = ""
    references: ReferenceFiles = ReferenceFiles()


PINNING: Final = frozenset({Operator.EQUAL, Operator.IN})


def pins(constraint: Constraint, claims: frozenset[str]) -> bool:
    """Whether the constraint can hold only for values of one of `claims` that somebody named.

    Of alternatives, every one must; `not` names nothing.
    """
    if isinstance(constraint, Comparison):
        return constraint.claim in claims and constraint.operator in PINNING
    if isinstance(constraint, Reference):
        return constraint.claim in claims
    if isinstance(constraint, AllOf):
        return any(pins(part, claims) for part in constraint.parts)
    if isinstance(constraint, AnyOf):
        return bool(constraint.parts) and all(pins(part, claims) for part in constraint.parts)
    return False


def worse(one: int, other: int) -> int:
    """The worse of two values of an AR4SI claim; the first if they are equally bad."""
    return other if tier_of(other) > tier_of(one) else one
