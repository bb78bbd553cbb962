"""Searching a core file: `cloister scan`, with every encoding of its secrets, beside plain grep for one pattern."""

import subprocess
from pathlib import Path

from benchmarks.benchmark import Arm, Benchmark, Better, Group, Need, NotMeasured, Quantity, Run
from benchmarks.scan_speed import GIGABYTE, MARKER, SECRETS, core_file, grep, scan, seconds

from cloister.errors import CloisterError

__all__ = ["BENCHMARK"]

MEGABYTES_PER_LOAD_SECOND = 400
ONE_SECRET = {"secret 0": MARKER}
GREP = Arm(name="grep", start=list)
SCAN = Arm(name="scan", start=list)


def measure(this: Run) -> dict[str, float]:
    """GB/s by number of secrets. Grep looks for one pattern always, so its number stands in both rows."""
    try:
        core = the_core(this)
        if this.arm is GREP:
            rate = speed_of_grep(core)
            return {"one": rate, "six": rate}
        return {"one": speed_of_scan(core, ONE_SECRET), "six": speed_of_scan(core, SECRETS)}
    except (subprocess.SubprocessError, CloisterError) as error:
        raise NotMeasured(str(error)) from error


def the_core(this: Run) -> Path:
    """The core file in the scratch directory, made when first asked for."""
    made = list(this.scratch.glob("core.*"))
    if made:
        return made[0]
    with core_file(int(MEGABYTES_PER_LOAD_SECOND * this.load_seconds), this.scratch) as core:
        return core


def speed_of_grep(core: Path) -> float:
    """GB/s."""
    return core.stat().st_size / GIGABYTE / seconds(lambda: grep(core))


def speed_of_scan(core: Path, secrets: dict[str, bytes]) -> float:
    """GB/s."""
    return core.stat().st_size / GIGABYTE / seconds(lambda: scan(core, secrets))


BENCHMARK = Benchmark(
    name="scan",
    quantities=(
        Quantity(key="one", what="scan of a core, 1 secret", unit="GB/s", better=Better.MORE, group=Group.TOOLS),
        Quantity(key="six", what="scan of a core, 6 secrets", unit="GB/s", better=Better.MORE, group=Group.TOOLS),
    ),
    needs=(
        Need(program="gcore", package="gdb"),
        Need(program="python3", package="python3"),
        Need(program="grep", package="grep"),
    ),
    measure=measure,
    baseline=GREP,
    candidate=SCAN,
)
