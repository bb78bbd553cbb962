"""What is dangerous, contradictory or without effect in a policy that parses. Each finding names file and line."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from cloister.appraise.known_claims import SIGNERS, SIZES, is_known
from cloister.appraise.policy import EvidencePolicy, Rule, Section
from cloister.appraise.reference import ReferenceValues
from cloister.appraise.rules import (
    AllOf,
    AnyOf,
    Comparison,
    Constraint,
    Not,
    Operator,
    Reference,
    Truth,
    claims_in,
    evaluate,
    is_hex,
)
from cloister.endorse.anchors import AnchorKind
from cloister.model import Tee

__all__ = ["Finding", "lint"]

ANCHORED_BY: Final[Mapping[Tee, frozenset[AnchorKind]]] = {
    Tee.SOFTWARE: frozenset({AnchorKind.SOFTWARE, AnchorKind.TESTING}),
    Tee.CCA: frozenset({AnchorKind.OWNER, AnchorKind.TESTING}),
    Tee.KEYSTONE: frozenset({AnchorKind.OWNER, AnchorKind.TESTING}),
    Tee.TPM: frozenset({AnchorKind.OWNER, AnchorKind.TESTING, AnchorKind.HARDWARE}),
}
"""Kinds of anchors that evidence of these TEEs can end at, where hardware is not one of them or not the usual one."""

AFTER_FIRMWARE: Final = frozenset({"rtmr1", "rtmr2"})


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One remark: where, and what is the matter. `dangerous` ones weaken what a verdict means."""

    place: str
    text: str
    dangerous: bool = False


def lint(policy: EvidencePolicy, references: ReferenceValues | None = None) -> list[Finding]:
    """All findings, in the order of the file. `references` are what the policy's files hold, if they were read."""
    found = [*_whole(policy), *_anchors(policy), *_tcb(policy)]
    for section in policy.sections.values():
        found += [*_section(section), *_anchored(policy, section)]
        for rule in section.rules:
            found += [*_claims(section.tee, rule), *_never(rule), *_referred(section.tee, rule, references)]
    return sorted(dict.fromkeys(found), key=lambda one: (line_of(one.place), one.text))


def line_of(place: str) -> int:
    """The line of `file:line`; 0 for a whole file."""
    line = place.rpartition(":")[2]
    return int(line) if line.isdecimal() else 0


def _whole(policy: EvidencePolicy) -> Iterator[Finding]:
    if not policy.sections:
        yield Finding(policy.name, "has no section for any TEE, so it refuses everything")
    if policy.references.unsafe_unsigned:
        yield Finding(policy.references.unsafe_unsigned, "believes reference values that nobody signed", dangerous=True)


def _anchors(policy: EvidencePolicy) -> Iterator[Finding]:
    if not policy.accept_anchors:
        yield Finding(policy.anchors_place, "accepts no kind of anchor, so it refuses everything")
    if AnchorKind.TESTING in policy.accept_anchors:
        yield Finding(policy.anchors_place, "accepts testing roots: such evidence proves nothing", dangerous=True)


def _tcb(policy: EvidencePolicy) -> Iterator[Finding]:
    tcb = policy.tcb
    for status, place in tcb.unsafe_tolerated.items():
        yield Finding(place, f"tolerates {status}: the vendor does not vouch for such a platform", dangerous=True)
    if tcb.unsafe_any_advisory:
        yield Finding(tcb.unsafe_any_advisory, "tolerates advisories that nobody has read yet", dangerous=True)
    if tcb.tolerated_advisories and not {*tcb.tolerated, *tcb.unsafe_tolerated}:
        place = next(iter(tcb.tolerated_advisories.values()))
        yield Finding(place, "tolerates advisories but no status that they come with: this has no effect")


def _section(section: Section) -> Iterator[Finding]:
    named = [rule for rule in section.rules if rule.names_program]
    if section.unsafe_any_measurement:
        yield Finding(section.unsafe_any_measurement, "accepts any program, the attacker's too", dangerous=True)
    elif not named:
        yield Finding(section.place, f"no rule of [{section.tee}] says which program may run, so it refuses everything")
    if section.unsafe_allow_debug:
        yield Finding(
            section.unsafe_allow_debug, "accepts debug: the host reads and changes what is inside", dangerous=True
        )
    claims = {claim for rule in section.rules for claim in claims_in(rule.constraint)}
    if section.tee is Tee.TDX and named and not claims & AFTER_FIRMWARE:
        yield Finding(
            section.place, "looks at the firmware (mrtd) only: kernel and command line are in rtmr1 and rtmr2"
        )
    for rule in named:
        if claims_in(rule.constraint) <= SIGNERS and not claims & {"isvsvn", "guest_svn"}:
            yield Finding(
                rule.place, "accepts every program of this signer, those with known flaws too; demand a least isvsvn"
            )


def _anchored(policy: EvidencePolicy, section: Section) -> Iterator[Finding]:
    possible = ANCHORED_BY.get(section.tee)
    if possible is not None and not possible & policy.accept_anchors:
        kinds = " or ".join(sorted(possible - {AnchorKind.TESTING}))
        yield Finding(
            section.place, f"evidence of {section.tee} ends at anchors of kind {kinds}: accept_anchors refuses it"
        )


def _claims(tee: Tee, rule: Rule) -> Iterator[Finding]:
    for claim in sorted(claims_in(rule.constraint)):
        if not is_known(tee, claim):
            yield Finding(rule.place, f"{tee} evidence has no claim {claim!r} that is known here: a misspelling?")
    for one in _parts(rule.constraint):
        if isinstance(one, Comparison):
            yield from _digits(rule, one)
    if rule.subject == "debug" and evaluate(rule.constraint, {"debug": False}, lambda *_: False) is not Truth.HOLDS:
        yield Finding(rule.place, "refuses what is not debug: only evidence that proves nothing passes", dangerous=True)


def _digits(rule: Rule, one: Comparison) -> Iterator[Finding]:
    """Values of claims of one size that do not have it."""
    if one.claim not in SIZES or one.operator not in {Operator.EQUAL, Operator.IN}:
        return
    for value in one.operand if isinstance(one.operand, tuple) else (one.operand,):
        if not isinstance(value, str) or not is_hex(value) or len(value) != 2 * SIZES[one.claim]:
            yield Finding(
                rule.place, f"{one.claim} has {SIZES[one.claim]} bytes in hexadecimal digits; {value!r} never matches"
            )


def _parts(constraint: Constraint) -> Iterator[Constraint]:
    """The constraint and everything inside it."""
    yield constraint
    inner = constraint.parts if isinstance(constraint, AllOf | AnyOf) else ()
    for part in (constraint.part,) if isinstance(constraint, Not) else inner:
        yield from _parts(part)


def _never(rule: Rule) -> Iterator[Finding]:
    """Rules that cannot hold."""
    for one in _parts(rule.constraint):
        if isinstance(one, AnyOf) and not one.parts:
            yield Finding(rule.place, "any of no alternatives never holds")
        elif isinstance(one, Comparison) and one.operator is Operator.IN and not one.operand:
            yield Finding(rule.place, "nothing is in an empty list: this never holds")
        elif isinstance(one, AllOf) and _contradicts(one):
            yield Finding(rule.place, "its parts contradict each other: this never holds")


def _contradicts(constraint: AllOf) -> bool:
    """Whether no value can fulfil the comparisons of one claim, as far as trying the named values and bounds tells."""
    by_claim: dict[str, list[Comparison]] = {}
    for part in constraint.parts:
        if isinstance(part, Comparison) and part.operator in TRIED:
            by_claim.setdefault(part.claim, []).append(part)
    return any(len(parts) > 1 and not _possible(claim, parts) for claim, parts in by_claim.items())


TRIED: Final = frozenset({Operator.EQUAL, Operator.IN, Operator.MINIMUM, Operator.MAXIMUM})
"""Of a contradiction among these, a value or bound that is named is always a witness, or there is none."""


def _possible(claim: str, parts: Iterable[Comparison]) -> bool:
    together = AllOf(tuple(parts))
    tried = [one for part in parts for one in (part.operand if part.operator is Operator.IN else [part.operand])]  # type: ignore[attr-defined]
    return any(evaluate(together, {claim: value}, lambda *_: False) is Truth.HOLDS for value in tried)


def _referred(tee: Tee, rule: Rule, references: ReferenceValues | None) -> Iterator[Finding]:
    for one in _parts(rule.constraint):
        if isinstance(one, Reference) and references is not None:
            name = one.named or one.claim
            if not references.candidates(tee, name, one.label):
                label = f" labelled {one.label!r}" if one.label else ""
                yield Finding(
                    rule.place, f"there are no reference values for {tee} called {name!r}{label}: this never holds"
                )
