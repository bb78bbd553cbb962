"""python3: a short script that allocates much, as a whole process and once warm, and one that only computes."""

from benchmarks.benchmark import Benchmark, Better, Group, Need, Quantity, Run, enclaved, native
from benchmarks.goals import speed
from benchmarks.needs import find
from benchmarks.processes import last_round, whole

__all__ = ["BENCHMARK"]

ALLOCATING = """\
rows = [{"id": i, "name": f"row {i}", "tags": [i % 7, i % 11]} for i in range(230000)]
print(len({row["name"] for row in rows}), sum(len(row["tags"]) for row in rows))
"""
AGAIN_AND_AGAIN = """\
import time
for _ in range(4):
    begin = time.perf_counter()
    rows = [{"id": i, "name": f"row {i}", "tags": [i % 7, i % 11]} for i in range(230000)]
    assert len({row["name"] for row in rows}) == 230000
    del rows
    seconds = time.perf_counter() - begin
print("last", seconds)
"""
COMPUTING = """\
h = 0
for i in range(6000000):
    h = (31 * h + (i & 255)) & 0xFFFFFFFF
print(h)
"""


def measure(this: Run) -> dict[str, float]:
    """Seconds for the whole process, by script, and for the last of four rounds in one process."""
    python = [find("python3"), "-c"]
    return {
        "allocating": whole(this.arm.start([*python, ALLOCATING]), says="230000 460000\n"),
        "warm": last_round(this.arm.start([*python, AGAIN_AND_AGAIN])),
        "computing": whole(this.arm.start([*python, COMPUTING]), says="1194870464\n"),
    }


BENCHMARK = Benchmark(
    name="python",
    quantities=(
        Quantity(
            key="allocating", what="python3, allocating much, 0.3 s", unit="s", better=Better.LESS,
            group=Group.PROGRAMS, goal=speed(0.95),
        ),
        Quantity(key="computing", what="python3, computing", unit="s", better=Better.LESS, group=Group.PROGRAMS),
        Quantity(
            key="warm", what="python3, allocating, 4th round", unit="s", better=Better.LESS, group=Group.STEADY
        ),
    ),
    needs=(Need(program="python3", package="python3"),),
    measure=measure,
    baseline=native,
    candidate=enclaved,
)  # fmt: skip
