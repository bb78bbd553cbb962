"""The checks of one attested program against one alternative of a session: numbered, each with who demanded it.

1. The TEE is the one demanded.            5. Claims that the session names have their values.
2. An accepted anchor vouches for it.      6. It is not debug.
3. The program is the one named.           7. The platform's TCB status is the best, or tolerated, advisories too.
4. Signer, product, security version.      8. The verifier's verdict has no reservation that is not accounted for.

Only what the result says counts: what it does not say fails, or could not be decided where the verifier itself could
not. A reservation of the verifier is accounted for by a TCB status that the session tolerates, by debug that it
allows, or by the verifier having had no policy of its own about the program, which the session then names.
Contraindicated is never accounted for.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cloister.appraise.vector import (
    CONFIGURATION_UNSAFE,
    EXECUTABLES_UNRECOGNIZED,
    HARDWARE_UNSAFE,
    VERIFIER_MALFUNCTION,
    Tier,
    meaning_of,
    tier_of,
)
from cloister.broker.session.read_attestation import (
    MEASUREMENT_CLAIM,
    SIGNER_CLAIM,
    VERSION_CLAIM,
    WITH_TCB_STATUS,
)
from cloister.broker.session.session import Rule
from cloister.result.attestation import Basis, Json, Submodule

__all__ = ["CheckOutcome", "ReleaseCheck", "check_rule"]

BEST: Final = "UpToDate"
PRODUCT_CLAIM: Final = "isvprodid"


class CheckOutcome(StrEnum):
    """What became of a check."""

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseCheck:
    """One check, for people and logs. Nothing in it is secret."""

    title: str
    outcome: CheckOutcome
    expected: str = ""
    found: str = ""
    set_by: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True)
class _Case:
    """One submodule before one rule."""

    rule: Rule
    module: Submodule
    basis: Basis
    claims: Mapping[str, Json]


def check_rule(rule: Rule, module: Submodule) -> tuple[ReleaseCheck, ...]:
    """All checks, in order. Without a basis, or for another TEE, only the first, which fails."""
    basis = module.basis
    found = str(basis.tee) if basis is not None else "not said: this is no result of a Cloister verifier"
    right = basis is not None and basis.tee is rule.tee
    first = _check("It is the TEE demanded", right, expected=str(rule.tee), found=found, set_by=rule.set_by("tee"))
    if basis is None or not right:
        return (first,)
    claims = module.evidence.get(str(rule.tee))
    case = _Case(rule, module, basis, claims if isinstance(claims, dict) else {})
    return (first, *(check for step in STEPS for check in step(case)))


def _check(title: str, passed: bool, *, expected: str, found: str, set_by: str, fix: str = "") -> ReleaseCheck:  # noqa: FBT001 - the answer
    outcome = CheckOutcome.PASSED if passed else CheckOutcome.FAILED
    return ReleaseCheck(
        title=title, outcome=outcome, expected=expected, found=found, set_by=set_by, fix="" if passed else fix
    )


def _said(value: object) -> str:
    return "not said" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _same(value: object, wanted: object) -> bool:
    """Same kind and value; digits in either case."""
    if isinstance(value, str) and isinstance(wanted, str):
        return value.lower() == wanted.lower()
    return type(value) is type(wanted) and value == wanted


def _anchor(case: _Case) -> Iterator[ReleaseCheck]:
    kind, key = case.basis.anchor_kind, "unsafe_accept_testing" if "testing" in case.rule.anchors else "anchors"
    yield _check(
        "An accepted anchor vouches for it", kind in case.rule.anchors, expected=" or ".join(sorted(case.rule.anchors)),
        found=f"{kind} ({case.basis.anchor})", set_by=case.rule.set_by(key),
        fix="run it in real hardware, or accept that anchor in the session",
    )  # fmt: skip


def _program(case: _Case) -> Iterator[ReleaseCheck]:
    if case.rule.measurements:
        name = MEASUREMENT_CLAIM[case.rule.tee]
        value = case.claims.get(name)
        yield _check(
            f"The program is one that was named ({name})",
            isinstance(value, str) and value.lower() in case.rule.measurements,
            expected=" or ".join(sorted(case.rule.measurements)), found=_said(value),
            set_by=case.rule.set_by("measurement"),
            fix="run the program that was named, or name this one in an update of the session",
        )  # fmt: skip


def _signer(case: _Case) -> Iterator[ReleaseCheck]:
    rule = case.rule
    if rule.signer:
        name = SIGNER_CLAIM[rule.tee]
        yield _equal(case, f"The program is signed by the signer named ({name})", name, rule.signer, "signer")
    if rule.product is not None:
        yield _equal(
            case, f"It is the signer's product named ({PRODUCT_CLAIM})", PRODUCT_CLAIM, rule.product, "product"
        )
    if rule.minimum_security_version is not None:
        name = VERSION_CLAIM[rule.tee]
        value = case.claims.get(name)
        yield _check(
            f"It is new enough ({name})", type(value) is int and value >= rule.minimum_security_version,
            expected=f"at least {rule.minimum_security_version}", found=_said(value),
            set_by=rule.set_by("minimum_security_version"), fix="run a newer version of the program",
        )  # fmt: skip


def _equal(case: _Case, title: str, name: str, wanted: str | int | bool, key: str) -> ReleaseCheck:  # noqa: FBT001 - a claim's value
    value = case.claims.get(name)
    return _check(title, _same(value, wanted), expected=_said(wanted), found=_said(value), set_by=case.rule.set_by(key))


def _claims(case: _Case) -> Iterator[ReleaseCheck]:
    for name, wanted in sorted(case.rule.claims.items()):
        yield _equal(case, f"The claim {name} has the value named", name, wanted, "claims")


def _debug(case: _Case) -> Iterator[ReleaseCheck]:
    value, allowed = case.claims.get("debug"), case.rule.unsafe_allow_debug
    yield _check(
        "It is not debug", value is False or (value is True and allowed),
        expected="false or true" if allowed else "false", found=_said(value),
        set_by=case.rule.set_by("unsafe_allow_debug"),
        fix="build and launch it without debug: the host reads everything in a debug enclave or guest",
    )  # fmt: skip


def _tcb(case: _Case) -> Iterator[ReleaseCheck]:
    rule, tcb = case.rule, case.basis.tcb
    if rule.tee not in WITH_TCB_STATUS and not tcb.status:
        return
    strange = sorted(set(tcb.advisories) - rule.ignore_advisories)
    passed = tcb.status == BEST or (tcb.status in rule.tolerate and not strange)
    found = ", ".join((tcb.status or "not said", *tcb.advisories))
    title, expected = (
        "The platform is up to date, or its state is tolerated",
        " or ".join((BEST, *sorted(rule.tolerate))),
    )
    if not tcb.status:
        yield ReleaseCheck(
            title=title, outcome=CheckOutcome.UNDECIDED, expected=expected, found=found, set_by=rule.set_by("tolerate"),
            fix="the verifier needs the vendor's TCB statement: cloister collateral fetch",
        )  # fmt: skip
        return
    fix = f"not ignored: {', '.join(strange)}; " if strange and tcb.status in rule.tolerate else ""
    yield _check(
        title, passed, expected=expected, found=found, set_by=rule.set_by("tolerate"),
        fix=f"{fix}update firmware and microcode, or tolerate it in the session",
    )  # fmt: skip


def _verdict(case: _Case) -> Iterator[ReleaseCheck]:
    module = case.module
    open_claims, outcome = [], CheckOutcome.PASSED
    for name, value in module.vector.claimed().items():
        if not _accounted_for(name, value, case):
            open_claims.append(f"{name.replace('_', ' ')}: {meaning_of(name, value)}")
            undecided = value == VERIFIER_MALFUNCTION and outcome is not CheckOutcome.FAILED
            outcome = CheckOutcome.UNDECIDED if undecided else CheckOutcome.FAILED
    if outcome is CheckOutcome.PASSED:
        outcome = _status(case)
    found = "; ".join((str(module.status), *open_claims))
    yield ReleaseCheck(
        title="The verifier has no reservation that is not accounted for", outcome=outcome, expected="affirming",
        found=found, set_by="the session's default",
        fix="" if outcome is CheckOutcome.PASSED else "ask the verifier why (cloister verify --explain), and mend that",
    )  # fmt: skip


def _status(case: _Case) -> CheckOutcome:
    """What the status says beyond the claims, which are all good or accounted for."""
    status = case.module.status
    if status is Tier.NONE:
        return CheckOutcome.UNDECIDED
    if status is Tier.WARNING:
        # Lowered by a claim that is accounted for, or because the verifier knew no policy about the program.
        lowered = case.module.vector.worst() is Tier.WARNING
        return CheckOutcome.PASSED if lowered or not case.module.policies else CheckOutcome.FAILED
    return CheckOutcome.PASSED if status is Tier.AFFIRMING else CheckOutcome.FAILED


def _accounted_for(name: str, value: int, case: _Case) -> bool:
    """Whether a claim is good, or the session has said that this reservation does not matter."""
    tier = tier_of(value)
    if tier is not Tier.WARNING:
        return tier is Tier.AFFIRMING
    if (name, value) == ("hardware", HARDWARE_UNSAFE):
        return case.basis.tcb.status in case.rule.tolerate
    if (name, value) == ("configuration", CONFIGURATION_UNSAFE):
        return case.rule.unsafe_allow_debug and case.claims.get("debug") is True
    return (name, value) == ("executables", EXECUTABLES_UNRECOGNIZED) and not case.module.policies


STEPS: Final[tuple[Callable[[_Case], Iterator[ReleaseCheck]], ...]] = (
    _anchor, _program, _signer, _claims, _debug, _tcb, _verdict,
)  # fmt: skip
