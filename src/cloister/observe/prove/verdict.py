"""From two arms' records to a verdict. Pure: no clock, no files, no processes.

The rule, in order:

1. The canary, planted nowhere, was found: scanner or planting is broken and nothing they say counts: inconclusive.
2. The enclaved arm's own secret was found in a place that counts: leaked. A fresh 166-bit value is not found by
   chance, so no failed control takes this back.
3. Some control does not hold: inconclusive, with each reason.
4. Otherwise: protected.
"""

from dataclasses import dataclass
from enum import StrEnum

from cloister.observe.prove.compare import compare_outputs
from cloister.observe.prove.plan import Comparison
from cloister.observe.prove.record import ArmRecord, Check, Place, SampleCounts, Surface

__all__ = ["CANARY", "Control", "Outcome", "Verdict", "judge"]

CANARY = "canary"
MISS_CHANCE = 0.01
"""Largest accepted chance that an unprotected secret, readable as often as natively, escapes every enclaved sample."""


class Outcome(StrEnum):
    """The three verdicts."""

    PROTECTED = "protected"
    LEAKED = "leaked"
    INCONCLUSIVE = "inconclusive"

    @property
    def exit_code(self) -> int:
        """0, 10 or 16: graded codes, with one of its own for "cannot decide"."""
        return {Outcome.PROTECTED: 0, Outcome.LEAKED: 10, Outcome.INCONCLUSIVE: 16}[self]


@dataclass(frozen=True, kw_only=True)
class Control:
    """One condition without which the absence of findings would prove nothing."""

    name: str
    holds: bool
    detail: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The outcome with everything it rests on: `leaks` are places, `controls` include those that hold."""

    outcome: Outcome
    leaks: tuple[Place, ...]
    controls: tuple[Control, ...]

    @property
    def failed(self) -> tuple[Control, ...]:
        """The controls that do not hold."""
        return tuple(control for control in self.controls if not control.holds)


def judge(
    native: ArmRecord, enclaved: ArmRecord, *, comparison: Comparison, unsafe_ignore_output: bool = False
) -> Verdict:
    """Apply the rule at the head of this module."""
    controls = (
        canary_control(native, enclaved),
        *arm_controls(native),
        positive_control(native),
        *arm_controls(enclaved),
        power_control(native.samples, enclaved.samples),
        *ground_controls(native),
        *ground_controls(enclaved),
        named("same exit status", same_status(native, enclaved)),
        named("same output", compare_outputs(native.output, enclaved.output, comparison)),
    )
    leaks = tuple(
        place
        for place in enclaved.places_of(enclaved.secret_label)
        if counts(place, unsafe_ignore_output=unsafe_ignore_output)
    )
    return Verdict(outcome=decide(controls, leaks), leaks=leaks, controls=controls)


def decide(controls: tuple[Control, ...], leaks: tuple[Place, ...]) -> Outcome:
    """The order of the rule; the canary is the first control."""
    if not controls[0].holds:
        return Outcome.INCONCLUSIVE
    if leaks:
        return Outcome.LEAKED
    return Outcome.PROTECTED if all(control.holds for control in controls) else Outcome.INCONCLUSIVE


def counts(place: Place, *, unsafe_ignore_output: bool) -> bool:
    """Whether a place is a leak: everything is, except the program's own output when the user said so."""
    return place.surface is not Surface.OUTPUT or not unsafe_ignore_output


def named(name: str, check: Check) -> Control:
    """A check as a control."""
    return Control(name=name, holds=check.holds, detail=check.detail)


def canary_control(*arms: ArmRecord) -> Control:
    """A value that was never planted must not be found in any arm."""
    seen = [f"{arm.name}: {place}" for arm in arms for place in arm.places_of(CANARY)]
    detail = f"found although never planted: {seen[0]}" if seen else "never planted, found in neither arm"
    return Control(name="canary absent", holds=not seen, detail=detail)


def arm_controls(arm: ArmRecord) -> tuple[Control, ...]:
    """What each arm needs: it started, got its secret, became ready, was sampled with sufficient privilege."""
    checks = {"started": arm.started, "fed": arm.fed, "ready": arm.ready, "access": arm.access, "prover": arm.harness}
    return *(named(f"{arm.name} {name}", check) for name, check in checks.items()), sampled_control(arm)


def ground_controls(arm: ArmRecord) -> tuple[Control, ...]:
    """Each ground that was to be searched was searched whole."""
    return tuple(named(f"{arm.name} {ground.name}", ground.whole) for ground in arm.grounds)


def sampled_control(arm: ArmRecord) -> Control:
    """At least one sample was taken while the program had the secret, and it read something."""
    holds = arm.samples.fed > 0 and arm.read_bytes > 0
    if holds:
        detail = f"{arm.samples.fed} of {arm.samples.total} samples with the secret in the program"
    elif arm.samples.total == 0 or arm.read_bytes == 0:
        detail = "the program lived shorter than one sample: make it live longer (--hold, --finish)"
    else:
        detail = f"none of {arm.samples.total} samples fell in the time when the program had the secret"
    return Control(name=f"{arm.name} sampled", holds=holds, detail=detail)


def positive_control(native: ArmRecord) -> Control:
    """The native arm's secret must be found in process memory.

    Finding its file or argument would not show that the memory scanner works.
    """
    found = native.samples.hits > 0
    places = len([p for p in native.places_of(native.secret_label) if p.surface is Surface.MEMORY])
    if found and places:
        detail = f"found in {native.samples.hits} of {native.samples.fed} samples, {places} places in memory"
    else:
        detail = "the secret never showed in the native program's memory: it did not reach it, or lived too briefly"
    return Control(name="positive control", holds=found and places > 0, detail=detail)


def power_control(native: SampleCounts, enclaved: SampleCounts) -> Control:
    """Whether the enclaved samples were enough.

    If natively only some samples see the secret, few enclaved samples may miss it by luck:
    (1 - hits/fed) ** enclaved samples must be at most MISS_CHANCE.
    """
    if native.fed == 0 or enclaved.fed == 0:
        return Control(name="enough samples", holds=False, detail="no sample to compare")
    chance = float((1 - min(native.hits, native.fed) / native.fed) ** enclaved.fed)
    detail = (
        f"chance that {enclaved.fed} samples miss what natively shows in {native.hits} of {native.fed}: {chance:.2g}"
    )
    return Control(name="enough samples", holds=chance <= MISS_CHANCE, detail=detail)


def same_status(native: ArmRecord, enclaved: ArmRecord) -> Check:
    """Both arms ended the same way; else they did not do the same thing."""
    if native.status == enclaved.status:
        return Check(holds=True, detail=f"both arms: {native.status}")
    return Check(holds=False, detail=f"native {native.status}, enclaved {enclaved.status}")
