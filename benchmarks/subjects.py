"""Every benchmark, in the order in which it is run and shown."""

from benchmarks import control, kernel, memcached, nginx, python, redis, scanning, sqlite, start_up
from benchmarks.benchmark import Benchmark

__all__ = ["ALL"]

ALL: tuple[Benchmark, ...] = (
    redis.BENCHMARK,
    memcached.BENCHMARK,
    nginx.BENCHMARK,
    sqlite.BENCHMARK,
    python.BENCHMARK,
    start_up.BENCHMARK,
    start_up.THROUGH_COMMAND_LINE,
    kernel.MEMORY,
    kernel.FORK,
    kernel.CALLS,
    *control.BENCHMARKS,
    scanning.BENCHMARK,
)
