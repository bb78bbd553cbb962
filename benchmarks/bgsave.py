"""redis saves in the background: how long fork(2) takes with 189 MB of data, and how long clients then wait."""

import socket
import time
from collections.abc import Callable

from benchmarks.benchmark import Benchmark, Better, Group, Need, NotMeasured, Quantity, Run, enclaved, native
from benchmarks.goals import at_most
from benchmarks.needs import find
from benchmarks.processes import free_port, serving

__all__ = ["BENCHMARK"]

KEYS = 980_000
MEGABYTES = 189
FILL = "for i = 1, tonumber(ARGV[1]) do redis.call('SET', 'key:' .. i, string.rep('v', 100)) end return 'OK'"
SAVE_SECONDS = 60.0


def measure(this: Run) -> dict[str, float]:
    """Milliseconds of fork, as redis measures it, and of the longest wait for an answer while it forks and saves."""
    (this.scratch / "dump.rdb").unlink(missing_ok=True)  # a server that starts would load it
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--rdbcompression", "no"]
    server = this.arm.start([find("redis-server"), *options, "--dir", str(this.scratch)])
    with serving(server, port, this.scratch), socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        ask = client(connection)
        if ask("EVAL", FILL, "0", str(KEYS)) != "OK":
            raise NotMeasured("redis did not take the data")
        used = information(ask, "memory")["used_memory"] / 1e6
        if not 0.9 * MEGABYTES < used < 1.1 * MEGABYTES:
            raise NotMeasured(f"redis holds {used:.0f} MB, not about {MEGABYTES}")
        stall = longest_wait(ask)
        return {"fork": information(ask, "stats")["latest_fork_usec"] / 1e3, "stall": stall * 1e3}


def client(connection: socket.socket) -> Callable[..., str]:
    """A function that sends one command in redis's protocol and returns its answer's text, without lengths."""
    answers = connection.makefile("rb")

    def ask(*words: str) -> str:
        parts = [f"*{len(words)}\r\n", *(f"${len(word)}\r\n{word}\r\n" for word in words)]
        connection.sendall("".join(parts).encode())
        line = answers.readline().decode()
        if line.startswith("-") or not line:
            raise NotMeasured(f"redis answered {words[0]} with {line.strip() or 'nothing'}")
        return answers.read(int(line[1:]) + 2).decode()[:-2] if line.startswith("$") else line[1:].strip()

    return ask


def information(ask: Callable[..., str], section: str) -> dict[str, float]:
    """The numbers of INFO's section."""
    lines = (line.partition(":") for line in ask("INFO", section).splitlines())
    return {name: float(value) for name, _, value in lines if value.replace(".", "", 1).isdecimal()}


def longest_wait(ask: Callable[..., str]) -> float:
    """Seconds of the slowest answer from BGSAVE until the file is written: one client, one question at a time."""
    begin = time.perf_counter()
    ask("BGSAVE")
    longest, deadline = time.perf_counter() - begin, begin + SAVE_SECONDS
    while time.perf_counter() < deadline:
        begin = time.perf_counter()
        saving = information(ask, "persistence")["rdb_bgsave_in_progress"]
        longest = max(longest, time.perf_counter() - begin)
        if not saving:
            return longest
        time.sleep(0.0005)
    raise NotMeasured(f"redis did not save within {SAVE_SECONDS:.0f} s")


BENCHMARK = Benchmark(
    name="bgsave",
    quantities=(
        Quantity(
            key="fork", what="redis BGSAVE, 189 MB: fork", unit="ms", better=Better.LESS, group=Group.FORKING,
            goal=at_most(100),
        ),
        Quantity(
            key="stall", what="redis BGSAVE, 189 MB: longest wait", unit="ms", better=Better.LESS, group=Group.FORKING
        ),
    ),
    needs=(Need(program="redis-server", package="redis-server"),),
    measure=measure,
    baseline=native,
    candidate=enclaved,
)  # fmt: skip
