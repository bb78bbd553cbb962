"""python3: a short script that allocates much, one that only computes; whole processes."""

from benchmarks.benchmark import Benchmark, Better, Need, NotMeasured, Quantity, Run, enclaved, native
from benchmarks.needs import find
from benchmarks.processes import run

__all__ = ["BENCHMARK"]

ALLOCATING = """\
rows = [{"id": i, "name": f"row {i}", "tags": [i % 7, i % 11]} for i in range(320000)]
print(len({row["name"] for row in rows}), sum(len(row["tags"]) for row in rows))
"""
COMPUTING = """\
h = 0
for i in range(6000000):
    h = (31 * h + (i & 255)) & 0xFFFFFFFF
print(h)
"""


def measure(this: Run) -> dict[str, float]:
    """Seconds for the whole process, by script."""
    return {
        "allocating": seconds(this, ALLOCATING, "320000 640000\n"),
        "computing": seconds(this, COMPUTING, "1194870464\n"),
    }


def seconds(this: Run, script: str, expected: str) -> float:
    """Run one script; NotMeasured if it prints something else."""
    finished = run(this.arm.start([find("python3"), "-c", script]))
    if finished.output != expected:
        raise NotMeasured(f"python3 printed {finished.output!r}, not {expected!r}")
    return finished.seconds


BENCHMARK = Benchmark(
    name="python",
    quantities=(
        Quantity(key="allocating", what="python3, allocating much", unit="s", better=Better.LESS),
        Quantity(key="computing", what="python3, computing", unit="s", better=Better.LESS),
    ),
    needs=(Need(program="python3", package="python3"),),
    measure=measure,
    baseline=native,
    candidate=enclaved,
)
