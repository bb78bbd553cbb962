"""Start-up: `true`, and interpreters that do nothing, under the runtime and through the command line."""

import sys
from collections.abc import Sequence

from benchmarks.benchmark import Arm, Benchmark, Better, Group, Need, Quantity, Run, enclaved, native
from benchmarks.goals import extra
from benchmarks.needs import find
from benchmarks.processes import start_milliseconds

__all__ = ["BENCHMARK", "NODE", "THROUGH_COMMAND_LINE"]

COUNTS = {"true": 20, "python3": 5}
"""Starts in a row that one run takes the mean of."""
GOALS = {"true": extra(1), "python3": extra(5), "node": extra(15)}


def measure(this: Run) -> dict[str, float]:
    """Milliseconds from start to end, by program."""
    commands = {"true": [find("true")], "python3": [find("python3"), "-c", "pass"]}
    return {name: start_milliseconds(this.arm.start(commands[name]), count) for name, count in COUNTS.items()}


def measure_node(this: Run) -> dict[str, float]:
    """The same for node, which not everybody has."""
    return {"node": start_milliseconds(this.arm.start([find("node"), "-e", "0"]), 3)}


def through_command_line(command: Sequence[str]) -> list[str]:
    """The command that a person types: the interpreter that runs Cloister starts as well."""
    return [sys.executable, "-m", "cloister", "run", "--quiet", "--", *command]


def quantity(program: str, *, through: str = "") -> Quantity:
    """The row of one program. The goals are for the runtime: a person who types does not feel the interpreter."""
    return Quantity(
        key=program, what=f"start of {program}{through}", unit="ms", better=Better.LESS, group=Group.STARTING,
        goal=None if through else GOALS[program],
    )  # fmt: skip


BENCHMARK = Benchmark(
    name="start-up",
    quantities=tuple(quantity(program) for program in COUNTS),
    needs=(Need(program="true", package="coreutils"), Need(program="python3", package="python3")),
    measure=measure,
    baseline=native,
    candidate=enclaved,
)
NODE = Benchmark(
    name="start-up-node",
    quantities=(quantity("node"),),
    needs=(Need(program="node", package="nodejs"),),
    measure=measure_node,
    baseline=native,
    candidate=enclaved,
)
THROUGH_COMMAND_LINE = Benchmark(
    name="start-up-cli",
    quantities=tuple(quantity(program, through=", `cloister run`") for program in COUNTS),
    needs=BENCHMARK.needs,
    measure=measure,
    baseline=native,
    candidate=Arm(name="enclaved", start=through_command_line),
)
