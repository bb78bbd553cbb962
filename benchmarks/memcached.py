"""memcached: get and set of one value of 100 bytes, over 32 kept connections."""

import os

from benchmarks.benchmark import Benchmark, Better, Group, Need, Quantity, Run, enclaved, native
from benchmarks.goals import speed
from benchmarks.needs import C_COMPILER, find
from benchmarks.processes import free_port, serving
from benchmarks.tcp_load import answers_per_second

__all__ = ["BENCHMARK"]

SET = b"set key 0 0 100\r\n" + b"v" * 100 + b"\r\n"
GET = b"get key\r\n"


def measure(this: Run) -> dict[str, float]:
    """Requests per second, by command; the value that is got is the one that was set."""
    port = free_port()
    command = [find("memcached"), "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-t", "2", "-m", "64"]
    # memcached refuses to run as root unless told to.
    as_root = ["-u", "root"] if os.geteuid() == 0 else []
    with serving(this.arm.start([*command, *as_root]), port, this.scratch):
        return {
            "set": answers_per_second(this, port, SET, begins=b"STORED\r\n"),
            "get": answers_per_second(this, port, GET, begins=b"VALUE key 0 100\r\nvvvv"),
        }


BENCHMARK = Benchmark(
    name="memcached",
    quantities=tuple(
        Quantity(
            key=command,
            what=f"memcached {command}",
            unit="req/s",
            better=Better.MORE,
            group=Group.SERVERS,
            goal=speed(0.98),
        )
        for command in ("set", "get")
    ),
    needs=(Need(program="memcached", package="memcached"), C_COMPILER),
    measure=measure,
    baseline=native,
    candidate=enclaved,
)
