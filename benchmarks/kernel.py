"""What single services of the kernel cost: pages, mappings, forks, threads, an ordinary system call."""

from benchmarks.benchmark import Benchmark, Better, Quantity, Run, enclaved, native
from benchmarks.needs import C_COMPILER, compiled
from benchmarks.processes import numbers_of

__all__ = ["CALLS", "FORK", "MEMORY"]

FORK_MIB = (1, 16, 64)


def measure_memory(this: Run) -> dict[str, float]:
    """Microseconds for a first touch and for mapping 64 KiB."""
    return numbers_of(this.arm.start([compiled("memory", this.scratch)]))


def measure_fork(this: Run) -> dict[str, float]:
    """Milliseconds for fork, exit and wait, by MiB that the parent has touched."""
    program = compiled("fork", this.scratch)
    return {str(size): numbers_of(this.arm.start([program, str(size)]))["fork"] for size in FORK_MIB}


def measure_calls(this: Run) -> dict[str, float]:
    """Nanoseconds for getppid(2), microseconds for a thread."""
    return numbers_of(this.arm.start([compiled("calls", this.scratch)]))


MEMORY = Benchmark(
    name="memory",
    quantities=(
        Quantity(key="first-touch", what="first touch of a page", unit="us", better=Better.LESS),
        Quantity(key="map-untouched", what="mmap+munmap 64 KiB, untouched", unit="us", better=Better.LESS),
        Quantity(key="map-touched", what="mmap+munmap 64 KiB, touched", unit="us", better=Better.LESS),
    ),
    needs=(C_COMPILER,),
    measure=measure_memory,
    baseline=native,
    candidate=enclaved,
)
FORK = Benchmark(
    name="fork",
    quantities=tuple(
        Quantity(key=str(size), what=f"fork+exit+wait with {size} MiB", unit="ms", better=Better.LESS)
        for size in FORK_MIB
    ),
    needs=(C_COMPILER,),
    measure=measure_fork,
    baseline=native,
    candidate=enclaved,
)
CALLS = Benchmark(
    name="calls",
    quantities=(
        Quantity(key="getppid", what="system call (getppid)", unit="ns", better=Better.LESS),
        Quantity(key="thread", what="thread create+join", unit="us", better=Better.LESS),
    ),
    needs=(C_COMPILER,),
    measure=measure_calls,
    baseline=native,
    candidate=enclaved,
)
