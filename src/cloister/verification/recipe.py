"""The numbered steps that every TEE's verification follows, and the only place where VerifiedEvidence is made.

A recipe is a list of steps; each step compares something and returns what it compared, or raises. Nothing is formatted
while verifying: the explanation is made from what the steps returned, when somebody asks for it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Generic, NamedTuple, TypeVar

from cloister._wire import Record
from cloister.endorse.anchors import TrustAnchor
from cloister.errors import EndorsementUnavailable, NotFresh, SignatureInvalid, VerificationError
from cloister.model import Challenge, Tee, Unchecked

__all__ = [
    "Allowances",
    "Check",
    "CheckState",
    "Compared",
    "Outcome",
    "Recipe",
    "Step",
    "Tcb",
    "VerifiedEvidence",
    "freshness",
    "shown",
    "verified",
]

C = TypeVar("C")
E = TypeVar("E")


class Compared(NamedTuple):
    """What a step compared. `set_by` says who demanded `expected`, where that is not the step's own source."""

    expected: object
    actual: object
    set_by: str = ""


Outcome = Compared | Unchecked
"""What a step returns. A step that finds a difference raises instead."""


class CheckState(StrEnum):
    """What became of a step."""

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"  # an endorsement was missing or outside its window
    UNCHECKED = "not checked"  # on purpose, with a reason
    NOT_REACHED = "not reached"  # an earlier step ended the recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of an explanation. `number` is the recipe's and the step's, like `SGX-7`; all values are for people."""

    number: str
    title: str
    state: CheckState
    expected: str = ""
    actual: str = ""
    set_by: str = ""
    detail: str = ""
    fix: str = ""
    cost: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(Generic[C]):
    """One numbered check: where it is specified, what would fix a failure, and what accepting it anyway would cost."""

    number: str
    title: str
    source: str
    fix: str
    cost: str
    run: Callable[[C], Outcome]


class Recipe(Generic[C]):
    """The steps of one TEE, in order. Declare them with `@recipe.step(...)`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.steps: list[Step[C]] = []
        self._runs: list[Callable[[C], Outcome]] = []

    def step(
        self, title: str, *, source: str, fix: str, cost: str
    ) -> Callable[[Callable[[C], Outcome]], Callable[[C], Outcome]]:
        """Add the decorated function as the next step."""

        def add(run: Callable[[C], Outcome]) -> Callable[[C], Outcome]:
            number = f"{self.name}-{len(self.steps) + 1}"
            self.steps.append(Step(number=number, title=title, source=source, fix=fix, cost=cost, run=run))
            self._runs.append(run)
            return run

        return add

    def follow(self, case: C) -> list[Outcome]:
        """Run every step; the outcomes, in order. A failure carries all checks, done and not reached."""
        outcomes: list[Outcome] = []
        try:
            for run in self._runs:
                outcomes.append(run(case))  # noqa: PERF401 - what was done before a failure must survive it
        except (VerificationError, EndorsementUnavailable) as error:
            error.checks = self.explain(outcomes, error)
            raise
        return outcomes

    def explain(
        self, outcomes: Sequence[Outcome], error: VerificationError | EndorsementUnavailable | None = None
    ) -> tuple[Check, ...]:
        """Every step as a line: those with an outcome, the one that raised `error`, those not reached."""
        checks = []
        for index, step in enumerate(self.steps):
            if index < len(outcomes):
                checks.append(_done(step, outcomes[index]))
            elif error is not None and index == len(outcomes):
                checks.append(_failed(step, error))
            else:
                checks.append(Check(number=step.number, title=step.title, state=CheckState.NOT_REACHED))
        return tuple(checks)


def _done(step: Step[C], outcome: Outcome) -> Check:
    if isinstance(outcome, Unchecked):
        return Check(
            number=step.number, title=step.title, state=CheckState.UNCHECKED,
            detail=outcome.reason, fix=step.fix, cost=step.cost,
        )  # fmt: skip
    return Check(
        number=step.number, title=step.title, state=CheckState.PASSED,
        expected=shown(outcome.expected), actual=shown(outcome.actual), set_by=outcome.set_by or step.source,
    )  # fmt: skip


def _failed(step: Step[C], error: VerificationError | EndorsementUnavailable) -> Check:
    expected, actual = shown(error.expected), shown(error.actual)
    if isinstance(error, SignatureInvalid) and not expected and not actual:
        expected, actual = "a signature that verifies", "one that does not"
    return Check(
        number=step.number, title=step.title,
        state=CheckState.FAILED if isinstance(error, VerificationError) else CheckState.UNDECIDED,
        expected=expected, actual=actual, set_by=error.set_by or step.source,
        detail=error.reason, fix=step.fix, cost=step.cost,
    )  # fmt: skip


LEADING: Final = frozenset({"at most", "from", "signed by", "until"})
"""Words among compared values that no comma follows."""


def shown(value: object) -> str:
    """A compared value as people read it: bytes in hexadecimal, times in UTC."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, tuple | list | set | frozenset):
        items = [shown(item) for item in value]
        return "".join(one + (" " if one in LEADING else ", ") for one in items[:-1]) + (items[-1] if items else "")
    return "" if isinstance(value, Record) else str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowances:
    """What the caller accepts knowingly. Each weakens what a verdict means, and is listed as not checked."""

    unsafe_allow_debug: bool = False
    """Debug enclaves and VMs: their host can read and change everything in them."""

    unsafe_skip_revocation: bool = False
    """No revocation list needed: a key that its vendor has withdrawn is believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tcb:
    """The vendor's standing of the platform, in the vendor's words (`UpToDate`, `OutOfDate`), with its advisories.

    An empty `status` means that this vendor publishes none.
    """

    status: str = ""
    advisories: tuple[str, ...] = ()
    date: datetime | None = None


_MADE_HERE: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedEvidence(Generic[E]):
    """Evidence whose authenticity was verified. Made by `verified` only; whether its content is good is not said.

    `anchor` vouches for it; `at` is the time at which everything was valid; `facts` are what endorsements said about
    the platform, by claim name.
    """

    tee: Tee
    evidence: E
    anchor: TrustAnchor
    at: datetime
    tcb: Tcb
    recipe: Recipe[object]
    outcomes: tuple[Outcome, ...]
    facts: Mapping[str, object] = field(default_factory=dict)
    _token: object = field(repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        """Refuse to be made elsewhere. Python cannot make that unforgeable; it makes it visible in review."""
        if self._token is not _MADE_HERE:
            raise TypeError("VerifiedEvidence is made by cloister.verification only")

    @property
    def checks(self) -> tuple[Check, ...]:
        """Every step of the recipe and what it compared."""
        return self.recipe.explain(self.outcomes)

    @property
    def unchecked(self) -> tuple[str, ...]:
        """What was not checked, and why."""
        done = zip(self.recipe.steps, self.outcomes, strict=True)
        return tuple(f"{step.title}: {one.reason}" for step, one in done if isinstance(one, Unchecked))


def verified(
    recipe: Recipe[C],
    case: C,
    *,
    tee: Tee,
    evidence: E,
    at: datetime,
    conclude: Callable[[C], tuple[TrustAnchor, Tcb, Mapping[str, object]]],
) -> VerifiedEvidence[E]:
    """Follow the recipe on `case`; afterwards `conclude` reads the anchor, the TCB standing and the facts from it."""
    outcomes = recipe.follow(case)
    anchor, tcb, facts = conclude(case)
    return VerifiedEvidence(
        tee=tee, evidence=evidence, anchor=anchor, at=at, tcb=tcb, facts=facts,
        recipe=recipe, outcomes=tuple(outcomes), _token=_MADE_HERE,  # type: ignore[arg-type] # a recipe only explains here
    )  # fmt: skip


def freshness(challenge: Challenge | Unchecked, report_data: bytes, *, field_name: str) -> Outcome:
    """The step that every TEE has: the nonce stands in the report data, followed by zeros."""
    if isinstance(challenge, Unchecked):
        return challenge
    if not challenge.answered_by(report_data):
        raise NotFresh(
            f"{field_name} does not contain the nonce: this evidence answers another challenge, or none",
            expected=challenge.nonce, actual=report_data, set_by="the caller's nonce",
        )  # fmt: skip
    return Compared(challenge.nonce, report_data, "the caller's nonce")
