"""An experiment's result for people (a table, the verdict, its limits) and as JSON. Labels, never secrets."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from cloister.observe.prove.plan import FeedSend, GroundName, Plan
from cloister.observe.prove.record import ArmRecord, Place
from cloister.observe.prove.verdict import Outcome, Verdict, counts
from cloister.quantities import counted, human_size

__all__ = ["NOT_TESTED", "Experiment", "as_json", "as_text", "sentence"]

NOT_TESTED = (
    "root with perf or BPF",
    "root with a kernel module, and the kernel itself",
    "the hypervisor",
    "physical access: cold boot, bus, DMA",
)
SHOWN_PLACES = 20
WORDS = {
    GroundName.BLOCKS: "the disk itself",
    GroundName.PACKETS: "captures of every network interface",
    GroundName.TRACES: "traces of system calls",
}
OPTIONS = {
    GroundName.BLOCKS: "blocks of the disk (--files)",
    GroundName.PACKETS: "packets (--packets)",
    GroundName.TRACES: "system calls (--traces)",
}


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A finished experiment. `seconds` is its wall-clock time."""

    plan: Plan
    native: ArmRecord
    enclaved: ArmRecord
    verdict: Verdict
    seconds: float

    @property
    def arms(self) -> tuple[ArmRecord, ArmRecord]:
        """Both arms in the order in which they ran."""
        return self.native, self.enclaved


def sentence(experiment: Experiment) -> str:
    """The verdict in one sentence."""
    verdict, enclaved = experiment.verdict, experiment.enclaved
    if verdict.outcome is Outcome.PROTECTED:
        return (
            f"protected: found natively in {experiment.native.samples.hits} samples, "
            f"in none of {enclaved.samples.fed} samples of the enclaved program"
        )
    if verdict.outcome is Outcome.LEAKED:
        found = f"{counted(len(verdict.leaks), 'finding')}, the first: {verdict.leaks[0]}"
        return f"leaked: the enclaved program's secret was readable: {found}"
    first, *others = verdict.failed
    more = f"; and {counted(len(others), 'more failed control')} (--json lists all)" if others else ""
    return f"inconclusive: {first.name}: {first.detail}{more}"


def as_text(experiment: Experiment) -> str:
    """The result for a terminal."""
    return "\n".join(lines(experiment)) + "\n"


def lines(experiment: Experiment) -> Iterator[str]:
    """The lines of `as_text`."""
    yield f"{'arm':<10}{'samples':>8}{'fed':>6}{'bytes read':>16}{'places':>8}  ended"
    for arm in experiment.arms:
        found = len(counted_places(experiment, arm))
        yield f"{arm.name:<10}{arm.samples.total:>8}{arm.samples.fed:>6}{arm.read_bytes:>16,}{found:>8}  {arm.status}"
    yield from unreadable_lines(experiment)
    yield from ground_lines(experiment)
    yield from place_lines("native, as it must be, for example", counted_places(experiment, experiment.native)[:3])
    yield from place_lines("enclaved", experiment.verdict.leaks)
    for arm in experiment.arms:
        yield from (f"  {arm.name}, not counted: {exclusion.what}: {exclusion.why}" for exclusion in arm.exclusions)
        yield from (f"  {arm.name}, note: {note}" for note in arm.notes)
    yield ""
    yield sentence(experiment)
    if experiment.verdict.outcome is Outcome.PROTECTED:
        more = [WORDS[name] for name in GroundName if name in experiment.plan.grounds]
        also = "".join(f", {words}" for words in more)
        tools = f"root with procfs, ptrace, core files, environment, arguments, files and pipes{also}"
        yield f"  against: every user, and {tools}"
    yield "  not tested here, and able to read a software enclave: " + "; ".join(NOT_TESTED)


def counted_places(experiment: Experiment, arm: ArmRecord) -> tuple[Place, ...]:
    """The places of an arm's own secret that count."""
    ignore = experiment.plan.unsafe_ignore_output
    return tuple(place for place in arm.places_of(arm.secret_label) if counts(place, unsafe_ignore_output=ignore))


def ground_lines(experiment: Experiment) -> Iterator[str]:
    """What was looked at beside the processes, and what nobody asked for."""
    for arm in experiment.arms:
        yield from (f"  {arm.name}, {ground.name}: looked at {ground.amount}" for ground in arm.grounds)
    missing = [option for name, option in OPTIONS.items() if name not in experiment.plan.grounds]
    if missing:
        yield f"  not looked at, since not asked for: {', '.join(missing)}"


def unreadable_lines(experiment: Experiment) -> Iterator[str]:
    """What refused to be read, by reason, summed over the samples."""
    for arm in experiment.arms:
        for reason, size in sorted(arm.unreadable.items(), key=lambda item: -item[1]):
            if size:
                yield f"  {arm.name}, unreadable: {human_size(size)}: {reason}"


def place_lines(title: str, places: tuple[Place, ...]) -> Iterator[str]:
    """One line per place, cut at SHOWN_PLACES."""
    yield from (f"  {title}: {place}" for place in places[:SHOWN_PLACES])
    if len(places) > SHOWN_PLACES:
        yield f"  {title}: and {len(places) - SHOWN_PLACES} more (all in --json)"


def as_json(experiment: Experiment) -> dict[str, Any]:
    """The whole result, for --json: verdict, leaks, controls, both arms, the plan, what was not tested.

    Sizes are bytes and times seconds. `program` has its placeholders, not the secret.
    """
    verdict = experiment.verdict
    return {
        "verdict": verdict.outcome.value,
        "exit_code": verdict.outcome.exit_code,
        "sentence": sentence(experiment),
        "leaks": [asdict(place) for place in verdict.leaks],
        "controls": [asdict(control) for control in verdict.controls],
        "arms": [arm_json(arm) for arm in experiment.arms],
        "plan": plan_json(experiment.plan),
        "not_tested": list(NOT_TESTED),
        "seconds": experiment.seconds,
    }


def arm_json(arm: ArmRecord) -> dict[str, Any]:
    """One arm; of its output only the sizes."""
    document = asdict(arm)
    document["output"] = {"stdout_bytes": arm.output.stdout_bytes, "stderr_bytes": arm.output.stderr_bytes}
    return document


def tls_word(plan: Plan) -> str | None:
    """Who speaks TLS on the port that is fed, if anybody does."""
    if not isinstance(plan.feed, FeedSend) or plan.feed.tls is None:
        return None
    return "program" if plan.feed.tls.natively else "shield"


def plan_json(plan: Plan) -> dict[str, Any]:
    """What was asked for; the environment is left out, since it may hold secrets of the caller's own."""
    return {
        "program": list(plan.words),
        "feed": type(plan.feed).__name__.removeprefix("Feed").lower(),
        "tls": tls_word(plan),
        "console": plan.console is not None,
        "shield": bool(plan.shield) or (plan.console is not None and plan.console.shield is not None),
        "readiness": type(plan.readiness).__name__,
        "hold_seconds": plan.hold,
        "comparison": plan.comparison.value,
        "unsafe_ignore_output": plan.unsafe_ignore_output,
        "grounds": [name.value for name in GroundName if name is GroundName.FILES or name in plan.grounds],
        "cwd": str(plan.cwd),
    }
