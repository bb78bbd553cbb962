"""What single services of the kernel cost: pages, mappings, forks, threads, calls that are intercepted or not."""

from benchmarks.benchmark import Benchmark, Better, Group, Need, Quantity, Run, enclaved, native
from benchmarks.goals import at_most, extra, speed, times
from benchmarks.needs import C_COMPILER, PROGRAMS, compiled, find
from benchmarks.processes import numbers_of

__all__ = ["CALLS", "FORK", "MEMORY", "RETURNED"]

FORK_MIB = (1, 16, 64)
FORK_GOAL = at_most(20)
EXEC_MIB = 64


def measure_memory(this: Run) -> dict[str, float]:
    """Microseconds for a first touch and for mapping."""
    return numbers_of(this.arm.start([compiled("memory", this.scratch)]))


def measure_fork(this: Run) -> dict[str, float]:
    """Milliseconds for fork, exit and wait, by MiB that the parent has touched; and with an exec in between."""
    program, executing = compiled("fork", this.scratch), compiled("forkexec", this.scratch)
    found = {str(size): numbers_of(this.arm.start([program, str(size)]))["fork"] for size in FORK_MIB}
    return found | numbers_of(this.arm.start([executing, str(EXEC_MIB)]))


def measure_calls(this: Run) -> dict[str, float]:
    """Nanoseconds for getppid(2) and dup2(2), microseconds for a thread and for a memory call."""
    memory = numbers_of(this.arm.start([compiled("trapped", this.scratch)]))
    return numbers_of(this.arm.start([compiled("calls", this.scratch)])) | {k: v / 1e3 for k, v in memory.items()}


def measure_returned(this: Run) -> dict[str, float]:
    """MiB that stay after 200 MB were used and freed, by how, and MiB that were given back."""
    program = compiled("returned", this.scratch)
    commands = {
        "pieces": [program, "pieces"],
        "mapping": [program, "mapping"],
        "discarded": [program, "discarded"],
        "python": [find("python3"), str(PROGRAMS / "returned.py")],
    }
    numbers: dict[str, float] = {}
    for way, command in commands.items():
        found = numbers_of(this.arm.start(command))
        numbers |= {f"{way}-after": found["after"], f"{way}-given": max(found["peak"] - found["after"], 0.01)}
    return numbers


def returned(way: str, how: str) -> tuple[Quantity, Quantity]:
    """The two rows of one way to free 200 MB, each with its reading of "within a tenth of native".

    What stays includes the runtime's own memory, which by itself is more than a small program's.
    """
    return (
        Quantity(
            key=f"{way}-after", what=f"resident after {how} of 200 MB", unit="MiB", better=Better.LESS,
            group=Group.MEMORY, goal=times(1.10),
        ),
        Quantity(
            key=f"{way}-given", what=f"given back by {how} of 200 MB", unit="MiB", better=Better.MORE,
            group=Group.MEMORY, goal=speed(0.90),
        ),
    )  # fmt: skip


MEMORY = Benchmark(
    name="memory",
    quantities=tuple(
        Quantity(key=key, what=what, unit="us", better=Better.LESS, group=Group.MEMORY)
        for key, what in (
            ("first-touch", "first touch of a page"),
            ("map-untouched", "mmap+munmap 64 KiB, untouched"),
            ("map-touched", "mmap+munmap 64 KiB, touched"),
            ("map-large", "mmap+munmap 4 MiB, touched"),
            ("map-huge", "mmap+munmap 64 GiB, untouched"),
        )
    ),
    needs=(C_COMPILER,),
    measure=measure_memory,
    baseline=native,
    candidate=enclaved,
)
RETURNED = Benchmark(
    name="returned",
    quantities=(
        *returned("pieces", "free()"),
        *returned("mapping", "munmap()"),
        *returned("discarded", "madvise()"),
        *returned("python", "python3's del"),
    ),
    needs=(C_COMPILER, Need(program="python3", package="python3")),
    measure=measure_returned,
    baseline=native,
    candidate=enclaved,
)
FORK = Benchmark(
    name="fork",
    quantities=(
        *(
            Quantity(
                key=str(size), what=f"fork+exit+wait with {size} MiB", unit="ms", better=Better.LESS,
                group=Group.FORKING, goal=FORK_GOAL if size == max(FORK_MIB) else None,
            )
            for size in FORK_MIB
        ),
        Quantity(
            key="forkexec", what=f"fork+exec+wait with {EXEC_MIB} MiB", unit="ms", better=Better.LESS,
            group=Group.FORKING,
        ),
    ),
    needs=(C_COMPILER,),
    measure=measure_fork,
    baseline=native,
    candidate=enclaved,
)  # fmt: skip
CALLS = Benchmark(
    name="calls",
    quantities=(
        Quantity(
            key="getppid", what="system call (getppid)", unit="ns", better=Better.LESS, group=Group.CALLS,
            goal=extra(10),
        ),
        Quantity(key="dup2", what="dup2", unit="ns", better=Better.LESS, group=Group.CALLS),
        Quantity(
            key="patched", what="memory call (mprotect)", unit="us", better=Better.LESS, group=Group.CALLS,
            goal=at_most(1.5),
        ),
        Quantity(
            key="trapped", what="memory call, by syscall(2)", unit="us", better=Better.LESS, group=Group.CALLS
        ),
        Quantity(key="thread", what="thread create+join", unit="us", better=Better.LESS, group=Group.CALLS),
    ),
    needs=(C_COMPILER,),
    measure=measure_calls,
    baseline=native,
    candidate=enclaved,
)  # fmt: skip
