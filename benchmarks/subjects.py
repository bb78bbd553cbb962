"""Every benchmark, in the order in which it is run and shown."""

from benchmarks import (
    bgsave,
    control,
    kernel,
    memcached,
    nginx,
    postgres,
    python,
    redis,
    runtimes,
    scanning,
    shell,
    sqlite,
    start_up,
)  # fmt: skip
from benchmarks.benchmark import Benchmark

__all__ = ["ALL"]

ALL: tuple[Benchmark, ...] = (
    redis.BENCHMARK,
    memcached.BENCHMARK,
    nginx.BENCHMARK,
    postgres.BENCHMARK,
    sqlite.BENCHMARK,
    python.BENCHMARK,
    runtimes.NODE,
    runtimes.JAVA,
    runtimes.GO,
    start_up.BENCHMARK,
    start_up.NODE,
    start_up.THROUGH_COMMAND_LINE,
    kernel.FORK,
    shell.BENCHMARK,
    bgsave.BENCHMARK,
    kernel.MEMORY,
    kernel.RETURNED,
    kernel.CALLS,
    *control.BENCHMARKS,
    scanning.BENCHMARK,
)
