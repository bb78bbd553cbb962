"""Start-up: `true`, and a python3 that does nothing, under the runtime and through the command line."""

import sys
from collections.abc import Sequence

from benchmarks.benchmark import Arm, Benchmark, Better, Need, Quantity, Run, enclaved, native
from benchmarks.needs import find
from benchmarks.processes import start_milliseconds

__all__ = ["BENCHMARK", "THROUGH_COMMAND_LINE"]

COUNTS = {"true": 20, "python3": 5}
"""Starts in a row that one run takes the mean of."""


def measure(this: Run) -> dict[str, float]:
    """Milliseconds from start to end, by program."""
    commands = {"true": [find("true")], "python3": [find("python3"), "-c", "pass"]}
    return {name: start_milliseconds(this.arm.start(commands[name]), count) for name, count in COUNTS.items()}


def through_command_line(command: Sequence[str]) -> list[str]:
    """The command that a person types: the interpreter that runs Cloister starts as well."""
    return [sys.executable, "-m", "cloister", "run", "--quiet", "--", *command]


def benchmark(name: str, suffix: str, candidate: Arm) -> Benchmark:
    """The same two programs, in another way."""
    return Benchmark(
        name=name,
        quantities=(
            Quantity(key="true", what=f"start of true{suffix}", unit="ms", better=Better.LESS),
            Quantity(key="python3", what=f"start of python3{suffix}", unit="ms", better=Better.LESS),
        ),
        needs=(Need(program="true", package="coreutils"), Need(program="python3", package="python3")),
        measure=measure,
        baseline=native,
        candidate=candidate,
    )


BENCHMARK = benchmark("start-up", "", enclaved)
THROUGH_COMMAND_LINE = benchmark("start-up-cli", ", `cloister run`", Arm(name="enclaved", start=through_command_line))
