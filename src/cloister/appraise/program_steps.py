"""The steps about the program: whether the policy names it at all, and the rules of the TEE's section."""

from collections.abc import Mapping
from typing import Final

from cloister.appraise.appraisal import Claim
from cloister.appraise.known_claims import MACHINES
from cloister.appraise.ledger import Ledger
from cloister.appraise.policy import EvidencePolicy, Rule, Section
from cloister.appraise.reference import ReferenceValues
from cloister.appraise.rules import Reference, Truth, evaluate, plain
from cloister.appraise.vector import (
    EXECUTABLES_APPROVED_BOOT,
    EXECUTABLES_APPROVED_RUNTIME,
    EXECUTABLES_CONTRAINDICATED,
    EXECUTABLES_UNRECOGNIZED,
)
from cloister.verification.recipe import CheckState, VerifiedEvidence

__all__ = ["NOBODY_SAID", "judge_program", "judge_rule"]

NOBODY_SAID: Final = "nobody said which program should run"


def judge_program(
    ledger: Ledger, verified: VerifiedEvidence[object], policy: EvidencePolicy, section: Section | None
) -> None:
    """Whether anybody said which program may run. The rules that say so are judged after this."""
    title, tee = "The policy says which program may run", verified.tee
    if section is None or not (section.unsafe_any_measurement or any(rule.names_program for rule in section.rules)):
        ledger.lower("executables", EXECUTABLES_CONTRAINDICATED)
        ledger.note(
            title, CheckState.FAILED, expected=f"a rule in [{tee}] that names measurements or reference values",
            actual=f"no section [{tee}]" if section is None else "no such rule", detail=NOBODY_SAID,
            set_by=policy.name if section is None else section.place,
            fix=f"add a rule to [{tee}]; cloister policy init writes one from evidence or a measurement",
            cost="any program at all may have produced this evidence, the attacker's too",
        )  # fmt: skip
        return
    if section.unsafe_any_measurement:
        ledger.lower("executables", EXECUTABLES_UNRECOGNIZED)
        ledger.note(
            title,
            CheckState.UNCHECKED,
            detail="any program is accepted (unsafe_any_measurement)",
            set_by=section.unsafe_any_measurement,
        )
        return
    named = [rule for rule in section.rules if rule.names_program]
    ledger.affirm("executables", EXECUTABLES_APPROVED_BOOT if tee in MACHINES else EXECUTABLES_APPROVED_RUNTIME)
    ledger.note(
        title, CheckState.PASSED, expected="a rule", actual=[rule.title for rule in named], set_by=named[0].place
    )


def judge_rule(
    ledger: Ledger,
    verified: VerifiedEvidence[object],
    rule: Rule,
    claims: Mapping[str, Claim],
    references: ReferenceValues,
) -> None:
    """One rule of the policy."""
    truth = evaluate(rule.constraint, claims, references.known(verified.tee, claims))
    holds = truth is Truth.HOLDS
    for claim, value in rule.failure.items():
        if holds:
            _affirm_other(ledger, claim)
        else:
            ledger.lower(claim, value)
    ledger.note(
        rule.title, CheckState.PASSED if holds else CheckState.FAILED,
        expected=rule.expected, actual=_actual(rule, claims), set_by=rule.place,
        detail=_detail(rule, truth, verified, claims, references),
        fix="" if holds else "run what the policy names, or change this line if the policy is behind",
        cost="" if holds else "the policy's owner did not want this",
    )  # fmt: skip


def _actual(rule: Rule, claims: Mapping[str, Claim]) -> str:
    """The claims that the rule looks at, as they are; a single one without its name."""
    if len(rule.claims) == 1 and rule.subject:
        return plain(claims.get(rule.subject, "no such claim"))
    return plain([f"{name} = {plain(claims.get(name, 'no such claim'))}" for name in rule.claims])


def _affirm_other(ledger: Ledger, claim: str) -> None:
    """A rule that holds says something good where no step above speaks: file_system, sourced_data and the like."""
    if claim not in {"executables", "hardware", "configuration", "instance_identity"}:
        ledger.affirm(claim, 2)


def _detail(
    rule: Rule,
    truth: Truth,
    verified: VerifiedEvidence[object],
    claims: Mapping[str, Claim],
    references: ReferenceValues,
) -> str:
    parts = [rule.because]
    if truth is Truth.UNKNOWN:
        parts.append("the claim is not there, or of another kind than the rule's value")
    if isinstance(rule.constraint, Reference) and not rule.constraint.each and rule.subject in claims:
        parts.append(_origin(rule.constraint, verified, claims, references))
    return "; ".join(part for part in parts if part)


def _origin(
    wanted: Reference, verified: VerifiedEvidence[object], claims: Mapping[str, Claim], references: ReferenceValues
) -> str:
    """Which reference value it was, or how many it was not."""
    tee, name = verified.tee, wanted.named or wanted.claim
    found = references.found(tee, claims, name, claims[wanted.claim], wanted.label)
    if found is None:
        return f"{len(references.candidates(tee, name, wanted.label))} reference values, and it is none of them"
    return " from ".join(text for text in (found.label, found.provenance) if text)
