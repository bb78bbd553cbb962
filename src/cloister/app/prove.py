"""`cloister prove`, wired: makes the native and the enclaved arm from one plan, runs both, judges."""

import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cloister.app.prove_console import console_command, person_at, with_cloister
from cloister.errors import UsageError
from cloister.launch.command import RuntimeOptions, enclave_command, start_block
from cloister.launch.start_pipe import filled_pipe
from cloister.observe.prove import CANARY, Arm, ArmName, Plan, Secret, judge, not_run, run_arm
from cloister.observe.prove.plan import FeedArgument, FeedEnvironment, FeedFile
from cloister.observe.prove.render import Experiment
from cloister.observe.prove.secret import PLACEHOLDER, fill

__all__ = ["FILE_PLACEHOLDER", "Enclose", "Runners", "Wrap", "prove"]

FILE_PLACEHOLDER = "{file}"
REPORT = "report"
ENCLAVED_SECRET = "enclaved secret"  # noqa: S105  its label
UNPROTECTED = ("unprotected_jit_bytes", "unprotected_shared_file_bytes")

Enclose = Callable[[str, Sequence[str], RuntimeOptions], list[str]]
"""Turns a program, its arguments and the runtime's options into the command that runs it enclaved."""


Wrap = Callable[[list[str]], list[str]]
"""Turns a program and its arguments into the command of an emulator that runs them."""


def as_they_are(words: list[str]) -> list[str]:
    """No emulator."""
    return words


@dataclass(frozen=True, slots=True)
class Runners:
    """What runs the program in each arm: it itself, or an emulator."""

    native: Wrap = as_they_are
    enclaved: Wrap = as_they_are


NOTHING_BETWEEN: Final = Runners()


def prove(
    plan: Plan,
    progress: Callable[[str], None],
    enclose: Enclose = enclave_command,
    runners: Runners = NOTHING_BETWEEN,
) -> Experiment:
    """Run the experiment.

    UsageError or LaunchError when it is known beforehand that it cannot work (no such program, no runtime); what goes
    wrong later is in the verdict. `progress` is given a line of text at each sample.
    """
    check(plan)
    first, *others = runners.enclaved(list(plan.words))
    enclose(first, others, RuntimeOptions())
    begun = time.monotonic()
    canary = Secret.fresh(CANARY)
    with tempfile.TemporaryDirectory(prefix="cloister-prove-") as directory:
        workplace = Path(directory)
        workplace.chmod(0o711)  # a program that drops its privileges must reach the socket; nobody can list its name
        native = run_arm(plan, native_arm(plan, workplace, runners.native), canary, progress)
        if native.obstacle:
            reason = f"not run, because the native arm was no comparison: {native.obstacle}"
            enclaved = not_run(ArmName.ENCLAVED, ENCLAVED_SECRET, reason)
        else:
            enclaved = run_arm(plan, enclaved_arm(plan, workplace, enclose, runners.enclaved), canary, progress)
            enclaved = replace(enclaved, notes=(*enclaved.notes, *counters(workplace / REPORT, enclaved.status)))
    verdict = judge(native, enclaved, comparison=plan.comparison, unsafe_ignore_output=plan.unsafe_ignore_output)
    seconds = round(time.monotonic() - begun, 2)
    return Experiment(plan=plan, native=native, enclaved=enclaved, verdict=verdict, seconds=seconds)


def counters(report: Path, status: str) -> tuple[str, ...]:
    """What the runtime itself says it could not put into secret memory, the largest figure of any process."""
    if not report.exists():
        return (f"no counters from the runtime, which writes them when a program exits by itself ({status})",)
    try:
        lines = [json.loads(line) for line in report.read_text(errors="replace").splitlines()]
    except ValueError:
        return ("the runtime's report is not one JSON object per line",)
    sizes = {name: max((line.get(name, 0) for line in lines), default=0) for name in UNPROTECTED}
    return tuple(f"the runtime reports {size:,} {name.replace('_', ' ')}" for name, size in sizes.items() if size)


def check(plan: Plan) -> None:
    """Placeholders stand where the feed fills them, and nowhere else."""
    used = any(PLACEHOLDER in word for word in plan.words)
    if isinstance(plan.feed, FeedArgument) != used:
        raise UsageError(f"--feed arg goes with {PLACEHOLDER} in the program's arguments: give both or neither")
    if not isinstance(plan.feed, FeedFile) and any(FILE_PLACEHOLDER in word for word in plan.words):
        raise UsageError(f"{FILE_PLACEHOLDER} in the program's arguments needs --feed file")
    template = getattr(plan.feed, "template", PLACEHOLDER.encode())
    if PLACEHOLDER.encode() not in template:
        raise UsageError(f"the template does not contain {PLACEHOLDER}, so the secret would never reach the program")


def words_of(plan: Plan, secret: Secret) -> list[str]:
    """The program and its arguments with the placeholders filled."""
    path = str(plan.feed.path) if isinstance(plan.feed, FeedFile) else FILE_PLACEHOLDER
    return [word.replace(FILE_PLACEHOLDER, path).replace(PLACEHOLDER, secret.text) for word in plan.words]


def environment_of(plan: Plan, secret: Secret) -> dict[str, str]:
    """The environment of the program, with the secret if that is the feed."""
    if not isinstance(plan.feed, FeedEnvironment):
        return dict(plan.environment)
    return {**plan.environment, plan.feed.name: os.fsdecode(fill(plan.feed.template, secret))}


def native_arm(plan: Plan, workplace: Path, wrap: Wrap) -> Arm:
    """The program as it is. Nobody connects to its checkpoint socket."""
    secret = Secret.fresh("native secret")
    return Arm(
        name=ArmName.NATIVE,
        command=tuple(wrap(words_of(plan, secret))),
        environment=environment_of(plan, secret),
        secret=secret,
        checkpoint=workplace / "native",
        checkpoints=False,
    )


def enclaved_arm(plan: Plan, workplace: Path, enclose: Enclose, wrap: Wrap) -> Arm:
    """The program in the enclave.

    Arguments and environment that hold the secret go through a pipe: what is given to execve(2) stays in memory that
    the kernel keeps for it, readable in /proc.
    """
    secret = Secret.fresh(ENCLAVED_SECRET)
    words = wrap(words_of(plan, secret))
    checkpoint = workplace / "enclaved"
    arm = Arm(
        name=ArmName.ENCLAVED,
        command=(),
        environment=plan.environment,
        secret=secret,
        checkpoint=checkpoint,
        checkpoints=True,
    )
    report = workplace / REPORT
    if plan.console is not None:
        command = console_command(plan.console, words, workplace, {"--checkpoint": checkpoint, "--report": report})
        person = person_at(plan.console, words, workplace, plan.environment)
        return replace(arm, command=tuple(command), environment=with_cloister(plan.environment), person=person)
    if not isinstance(plan.feed, FeedEnvironment | FeedArgument) and not plan.shield:
        options = RuntimeOptions(checkpoint=checkpoint, report=report)
        return replace(arm, command=tuple(enclose(words[0], words[1:], options)))
    pipe = filled_pipe(start_block(words, environment_of(plan, secret), shield=plan.shield))
    options = RuntimeOptions(checkpoint=checkpoint, report=report, start_fd=pipe, shield=bool(plan.shield))
    command = enclose(words[0], [], options)
    return replace(arm, command=tuple(command), inherit=(pipe,), start_pipe=pipe)
