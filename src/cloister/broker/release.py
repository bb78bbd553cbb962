"""Who gets which secret: a session applied to attestation results. What is not allowed is denied.

    accepted = policy.accept(token, at=now, nonce=nonce, max_age=...)   NotAttested, ParseError
    decision = policy.decide(accepted, at=now)                          never raises for poor results
    decision = policy.release(accepted, names, at=now)                  Denied, Undecided, NotAttested

Deciding and releasing are apart so that a denial can be explained and logged like a release. Three answers are never
mixed: denied (403), not attested (401: a new attestation may help), could not be decided (503: asking later may help).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NoReturn

from cloister.appraise.vector import Tier
from cloister.broker.release_checks import CheckOutcome, ReleaseCheck, check_rule
from cloister.broker.session.read_people import fingerprint
from cloister.broker.session.session import Service, Session
from cloister.errors import (
    BindingInvalid,
    Denied,
    EndorsementUnavailable,
    NotAttested,
    NotFresh,
    SignatureInvalid,
    Undecided,
)
from cloister.model import Challenge, Unchecked
from cloister.result.attestation import AttestationResult
from cloister.result.keys import VerificationKey
from cloister.result.verify import LEEWAY, verify_result

__all__ = ["Accepted", "Decision", "ReleaseOutcome", "ReleasePolicy", "Trial"]

_MADE_HERE: Final = object()
BROKER: Final = "the broker's keys"


class ReleaseOutcome(StrEnum):
    """What was decided."""

    RELEASE = "release"
    DENIED = "denied"
    NOT_ATTESTED = "not attested"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """An attestation result whose signature, nonce and dates were checked. Made by `ReleasePolicy.accept` only.

    `verifier` is the SHA-256 of the key that signed it; it counts until `until`.
    """

    result: AttestationResult
    verifier: str
    until: datetime
    _token: object = field(repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        """Refuse to be made elsewhere. Python cannot make that unforgeable; it makes it visible in review."""
        if self._token is not _MADE_HERE:
            raise TypeError("Accepted is made by ReleasePolicy.accept only")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One attested program (`submodule`) before one alternative of one service, and every check of it."""

    service: str
    submodule: str
    place: str
    checks: tuple[ReleaseCheck, ...]

    @property
    def outcome(self) -> CheckOutcome:
        """FAILED if any check failed, else UNDECIDED if any could not be decided."""
        found = {one.outcome for one in self.checks}
        return next((one for one in (CheckOutcome.FAILED, CheckOutcome.UNDECIDED) if one in found), CheckOutcome.PASSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Which services the attester is, what it may get, and why.

    `recipient` is the attested key, DER SubjectPublicKeyInfo: secrets go to that key and to no other.
    """

    outcome: ReleaseOutcome
    reason: str
    services: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    recipient: bytes = b""
    general: tuple[ReleaseCheck, ...] = ()
    """Checks of the result as a whole."""
    trials: tuple[Trial, ...] = ()

    def __bool__(self) -> NoReturn:
        """Refuse: three of the four outcomes are not a yes, and differ."""
        raise TypeError("a decision is neither true nor false: look at .outcome")

    @property
    def checks(self) -> tuple[ReleaseCheck, ...]:
        """Every check, those of the whole first."""
        return (*self.general, *(one for trial in self.trials for one in trial.checks))

    def explanation(self) -> Iterator[str]:
        """Every check in lines for people: expected, found, who set it, what would mend it."""
        yield f"{self.outcome}: {self.reason}"
        yield from _lines(self.general)
        for trial in self.trials:
            yield f"service {trial.service}, {trial.place}, against {trial.submodule}: {trial.outcome}"
            yield from _lines(trial.checks)


def _lines(checks: Iterable[ReleaseCheck]) -> Iterator[str]:
    for one in checks:
        yield f"  {one.outcome}: {one.title}"
        values = (("expected", one.expected), ("found", one.found), ("set by", one.set_by), ("to fix", one.fix))
        yield from (f"      {label:<9} {value}" for label, value in values if value)


class ReleasePolicy:
    """The appraisal policy for attestation results (RFC 9334, section 8.5) that a session is."""

    def __init__(self, session: Session, trusted: Iterable[VerificationKey]) -> None:
        """`trusted` are the verifiers' keys that the broker believes; a session may believe fewer, never others."""
        self.session = session
        wanted = {one.fingerprint for one in session.verifiers}
        self._keys = tuple(one for one in trusted if not wanted or fingerprint(one.spki) in wanted)
        self._verifiers = {fingerprint(one.spki) for one in self._keys}

    def accept(
        self, token: bytes, *, at: datetime, nonce: Challenge | Unchecked, max_age: timedelta | Unchecked
    ) -> Accepted:
        """The result in a token (JWT or CWT); NotAttested if it is not valid now, ParseError if it is malformed."""
        refusal: Exception = SignatureInvalid("no verifier's key is trusted by both the broker and the session")
        for key in self._keys:
            try:
                result = verify_result(token, [key], at=at, nonce=nonce, max_age=max_age)
            except SignatureInvalid as error:
                refusal = error
            except (BindingInvalid, EndorsementUnavailable, NotFresh) as error:
                raise _not_attested(error) from error
            else:
                return Accepted(
                    result=result, verifier=fingerprint(key.spki), until=_until(result, max_age), _token=_MADE_HERE
                )
        raise _not_attested(refusal) from refusal

    def decide(self, accepted: Accepted, *, at: datetime, service: str | None = None) -> Decision:
        """What the attester may get at that time, as `service` or as every service that it is."""
        general = tuple(self._whole(accepted, at))
        failed = next((one for one in general if one.outcome is not CheckOutcome.PASSED), None)
        if failed is not None:
            reason = f"{failed.title}: expected {failed.expected}, found {failed.found}"
            return Decision(outcome=ReleaseOutcome.NOT_ATTESTED, reason=reason, general=general)
        wanted = [one for one in self.session.services if service in {None, one.name}]
        trials = tuple(trial for one in wanted for trial in _trials(one, accepted.result))
        return self._conclude(general, trials, accepted.result)

    def release(
        self, accepted: Accepted, names: Iterable[str], *, at: datetime, service: str | None = None
    ) -> Decision:
        """The decision that lets these secrets go to `recipient`; Denied, Undecided or NotAttested, which explain."""
        decision = self.decide(accepted, at=at, service=service)
        if decision.outcome is not ReleaseOutcome.RELEASE:
            raise _refusal(decision)
        wanted = tuple(names)
        missing = sorted(set(wanted) - set(decision.secrets))
        if missing:
            # The same words whether the secret exists or not: names are not for everybody to try.
            raise _with_checks(
                Denied(
                    f"{' and '.join(decision.services)} may not get: {', '.join(missing)}",
                    expected=decision.secrets, actual=wanted, set_by=self.session.file,
                ), decision,
            )  # fmt: skip
        return decision

    def _whole(self, accepted: Accepted, at: datetime) -> Iterator[ReleaseCheck]:
        """The result as a whole, at the time at which something is released: it may have been accepted long ago."""
        yield _general(
            "A verifier signed it whose results count", accepted.verifier in self._verifiers,
            " or ".join(sorted(self._verifiers)) or "none", accepted.verifier,
            self.session.file if self.session.verifiers else BROKER,
        )  # fmt: skip
        starts = accepted.result.issued_at - LEEWAY
        yield _general(
            "The attestation result is valid now", starts <= at < accepted.until,
            f"{accepted.result.issued_at:%Y-%m-%d %H:%M:%S} to {accepted.until:%Y-%m-%d %H:%M:%S} UTC",
            f"{at:%Y-%m-%d %H:%M:%S} UTC", "the attestation result, or the broker's maximum age",
        )  # fmt: skip

    def _conclude(
        self, general: tuple[ReleaseCheck, ...], trials: tuple[Trial, ...], result: AttestationResult
    ) -> Decision:
        passed = [one for one in trials if one.outcome is CheckOutcome.PASSED]
        keys = {result.submodules[one.submodule].attested_key for one in passed}
        if not passed:
            undecided = [one for one in trials if one.outcome is CheckOutcome.UNDECIDED]
            outcome = ReleaseOutcome.UNDECIDED if undecided else ReleaseOutcome.DENIED
            return Decision(outcome=outcome, reason=_why(undecided or trials), general=general, trials=trials)
        if len(keys) != 1 or b"" in keys:
            reason = "the result vouches for no single key: secrets could go to anybody; bind a key in the evidence"
            return Decision(outcome=ReleaseOutcome.NOT_ATTESTED, reason=reason, general=general, trials=trials)
        services = tuple(dict.fromkeys(one.service for one in passed))
        found = {name for one in services for name in self._secrets_of(one)}
        return Decision(
            outcome=ReleaseOutcome.RELEASE, reason=f"attested as {' and '.join(services)}", services=services,
            secrets=tuple(sorted(found)), recipient=keys.pop(), general=general, trials=trials,
        )  # fmt: skip

    def _secrets_of(self, name: str) -> tuple[str, ...]:
        service = self.session.service(name)
        return self.session.secrets_of(service) if service else ()


def _trials(service: Service, result: AttestationResult) -> Iterator[Trial]:
    """Each alternative against each submodule; the other submodules must then be affirmed."""
    for rule in service.attestation:
        for name, module in result.submodules.items():
            checks = (*check_rule(rule, module), *_others(name, result))
            place = f"{rule.place.file}:{rule.place.line}"
            yield Trial(service=service.name, submodule=name, place=place, checks=checks)


def _others(name: str, result: AttestationResult) -> Iterator[ReleaseCheck]:
    """What else the result says: of other attesters, and of the whole."""
    statuses = {f"submodule {other}": module.status for other, module in result.submodules.items() if other != name}
    if result.status > max(one.status for one in result.submodules.values()):
        statuses["the whole"] = result.status
    for what, status in statuses.items():
        yield ReleaseCheck(
            title=f"{what.capitalize()} is affirmed too", outcome=OTHERS[status], expected="affirming",
            found=str(status), set_by="the session's default",
        )  # fmt: skip


OTHERS: Final = {
    Tier.AFFIRMING: CheckOutcome.PASSED,
    Tier.NONE: CheckOutcome.UNDECIDED,
    Tier.WARNING: CheckOutcome.FAILED,
    Tier.CONTRAINDICATED: CheckOutcome.FAILED,
}


def _general(title: str, passed: bool, expected: str, found: str, set_by: str) -> ReleaseCheck:  # noqa: FBT001 - the answer
    outcome = CheckOutcome.PASSED if passed else CheckOutcome.FAILED
    return ReleaseCheck(title=title, outcome=outcome, expected=expected, found=found, set_by=set_by)


def _why(trials: Iterable[Trial]) -> str:
    """The trial that came closest, in a sentence."""
    order = tuple(trials)
    if not order:
        return "the session has no such service"
    closest = min(
        order, key=lambda one: sum(check.outcome is CheckOutcome.FAILED for check in one.checks) - len(one.checks)
    )
    wrong = next(one for one in closest.checks if one.outcome is closest.outcome)
    return f"not {closest.service} ({closest.place}): {wrong.title}: expected {wrong.expected}, found {wrong.found}"


def _until(result: AttestationResult, max_age: timedelta | Unchecked) -> datetime:
    """When a result stops counting; one that never does is refused."""
    ends = [] if result.expires_at is None else [result.expires_at]
    if isinstance(max_age, timedelta):
        ends.append(result.issued_at + max_age)
    if not ends:
        raise NotAttested(
            "the attestation result never expires, so it could be sent again for ever; give it a time to live, or "
            "demand a maximum age", expected="a time at which it expires", actual="none", set_by=BROKER,
        )  # fmt: skip
    return min(ends)


def _not_attested(error: Exception) -> NotAttested:
    given = {name: getattr(error, name, "") for name in ("expected", "actual", "set_by")}
    return NotAttested(f"not attested: {error}", **given)


def _refusal(decision: Decision) -> Denied | NotAttested | Undecided:
    kinds: dict[ReleaseOutcome, type[Denied | NotAttested | Undecided]] = {
        ReleaseOutcome.DENIED: Denied, ReleaseOutcome.NOT_ATTESTED: NotAttested, ReleaseOutcome.UNDECIDED: Undecided,
    }  # fmt: skip
    return _with_checks(kinds[decision.outcome](decision.reason), decision)


def _with_checks(error: Denied | NotAttested | Undecided, decision: Decision) -> Denied | NotAttested | Undecided:
    error.checks = decision.checks
    return error
