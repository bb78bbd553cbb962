"""The control: native runs against native runs. How far these ratios lie from 1 is what the machine's noise can do."""

import dataclasses

from benchmarks import python, redis
from benchmarks.benchmark import Arm, Benchmark, Group

__all__ = ["BENCHMARKS"]

AGAIN = Arm(name="native again", start=list)


def control(benchmark: Benchmark) -> Benchmark:
    """The same benchmark with nothing to find."""
    quantities = tuple(dataclasses.replace(one, group=Group.NOISE, goal=None) for one in benchmark.quantities)
    return dataclasses.replace(benchmark, name=f"control-{benchmark.name}", candidate=AGAIN, quantities=quantities)


BENCHMARKS = (control(redis.BENCHMARK), control(python.BENCHMARK))
