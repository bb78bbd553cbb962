"""redis-server under redis-benchmark: SET and GET, one request at a time and sixteen pipelined."""

import csv

from benchmarks.benchmark import Benchmark, Better, Group, Need, NotMeasured, Quantity, Run, enclaved, native
from benchmarks.goals import speed
from benchmarks.needs import find
from benchmarks.processes import free_port, run, serving

__all__ = ["BENCHMARK"]

REQUESTS_PER_SECOND = {1: 60_000, 16: 500_000}
"""About what a small machine answers, by pipeline length: only sets how long a run lasts."""
WARM_UP_SECONDS = 0.1


def measure(this: Run) -> dict[str, float]:
    """Requests per second, by command and pipeline length."""
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with serving(this.arm.start([find("redis-server"), *options]), port, this.scratch):
        # A server touches most of its memory once, in its first moments: that cost has a row of its own.
        rates(port, max(REQUESTS_PER_SECOND), WARM_UP_SECONDS)
        return {
            f"{command}-{pipeline}": rate
            for pipeline in REQUESTS_PER_SECOND
            for command, rate in rates(port, pipeline, this.load_seconds).items()
        }


def rates(port: int, pipeline: int, seconds: float) -> dict[str, float]:
    """Requests per second by command, with 50 connections, 10,000 keys and values of 100 bytes."""
    requests = int(REQUESTS_PER_SECOND[pipeline] * seconds)
    load = [find("redis-benchmark"), "-h", "127.0.0.1", "-p", str(port), "-t", "set,get", "-n", str(requests)]
    output = run([*load, "-P", str(pipeline), "-r", "10000", "-d", "100", "--csv"]).output
    rows = csv.DictReader(output.splitlines())
    found = {row["test"]: float(row["rps"]) for row in rows}
    if set(found) != {"SET", "GET"}:
        raise NotMeasured(f"redis-benchmark printed rows for {sorted(found)}, not for SET and GET")
    return found


BENCHMARK = Benchmark(
    name="redis",
    quantities=tuple(
        Quantity(
            key=f"{command}-{pipeline}",
            what=f"redis {command}, P{pipeline}",
            unit="req/s",
            better=Better.MORE,
            group=Group.SERVERS,
            goal=speed(0.98),
        )
        for pipeline in REQUESTS_PER_SECOND
        for command in ("SET", "GET")
    ),
    needs=(
        Need(program="redis-server", package="redis-server"),
        Need(program="redis-benchmark", package="redis-tools"),
    ),
    measure=measure,
    baseline=native,
    candidate=enclaved,
)
