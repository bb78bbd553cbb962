"""PostgreSQL under pgbench, as its own user: reads (-S) and small transactions (TPC-B), two clients.

fsync is off: on, both ways would wait for the disk most of the time, and their difference would not show.
"""

import os
import pwd
import re
import shutil
import time
from contextlib import suppress
from pathlib import Path

from benchmarks.benchmark import Benchmark, Better, Group, Need, NotMeasured, Quantity, Run, enclaved, native
from benchmarks.goals import speed
from benchmarks.needs import find
from benchmarks.processes import READY_SECONDS, free_port, run, serving

__all__ = ["BENCHMARK"]

ACCOUNT = "postgres"
SCALE = 10
CLIENTS = 2
SETTINGS = ("fsync=off", "shared_buffers=256MB", "max_connections=20", "autovacuum=off", "checkpoint_timeout=1h")
RATE = re.compile(r"^tps = ([\d.]+) \(without initial connection time\)", re.MULTILINE)


def measure(this: Run) -> dict[str, float]:
    """Transactions a second, by kind."""
    if not (this.scratch / "data").exists():
        make_cluster(this.scratch)
    port = free_port()
    seconds = max(1, round(4 * this.load_seconds))
    with serving(this.arm.start(server(this.scratch, port)), port, this.scratch):
        wait_until_it_answers(port)
        rate(port, 1, "-S")  # the tables come into memory, and the server's processes with them
        return {"reads": rate(port, seconds, "-S"), "transactions": rate(port, seconds)}


def make_cluster(scratch: Path) -> None:
    """A cluster with pgbench's tables, natively: what is measured is the server, not how it is made."""
    if os.geteuid() == 0:
        scratch.chmod(0o755)
        (scratch / "data").mkdir()
        shutil.chown(scratch / "data", owner())
    run([*as_owner(), find("initdb"), "-D", str(scratch / "data"), "-A", "trust", "-U", ACCOUNT, "--no-sync"])
    port = free_port()
    with serving(server(scratch, port), port, scratch):
        wait_until_it_answers(port)
        run([*pgbench(port), "-i", "-q", "-s", str(SCALE), "postgres"])


def server(scratch: Path, port: int) -> list[str]:
    """The command of a server that listens on the loopback interface."""
    settings = ["listen_addresses=127.0.0.1", f"port={port}", "unix_socket_directories=", *SETTINGS]
    options = [word for setting in settings for word in ("-c", setting)]
    return [*as_owner(), find("postgres"), "-D", str(scratch / "data"), *options]


def wait_until_it_answers(port: int) -> None:
    """A server that looks at its files listens already, but refuses questions: pg_isready(1)."""
    asking = [find("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port), "-U", ACCOUNT]
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        with suppress(NotMeasured):
            run(asking)
            return
        time.sleep(0.02)
    raise NotMeasured(f"postgres does not take questions within {READY_SECONDS:.0f} s")


def pgbench(port: int) -> list[str]:
    """The load generator, and where the server is."""
    return [find("pgbench"), "-h", "127.0.0.1", "-p", str(port), "-U", ACCOUNT]


def rate(port: int, seconds: int, *words: str) -> float:
    """Transactions a second of one script; NotMeasured if one failed."""
    clients = ["-c", str(CLIENTS), "-j", "1", "-T", str(seconds)]
    said = run([*pgbench(port), *clients, *words, "postgres"]).output
    found = RATE.search(said)
    if found is None or "number of failed transactions: 0 " not in said:
        raise NotMeasured(f"pgbench said {said!r}")
    return float(found[1])


def owner() -> str:
    """Whose the cluster is: PostgreSQL refuses to run as root."""
    try:
        return pwd.getpwnam(ACCOUNT).pw_name
    except KeyError:
        raise NotMeasured(f"there is no user {ACCOUNT}, and PostgreSQL does not run as root") from None


def as_owner() -> list[str]:
    """What stands before a command so that the owner runs it.

    Where others may not even search the root directory, which some build machines forbid, reading is left to it.
    """
    if os.geteuid() != 0:
        return []
    words = [find("setpriv"), "--reuid", owner(), "--regid", owner(), "--clear-groups"]
    if Path("/").stat().st_mode & 0o001:
        return [*words, "--inh-caps=-all"]
    allowed = "+dac_read_search"
    return [*words, "--inh-caps", allowed, "--ambient-caps", allowed, "--securebits", "+no_setuid_fixup"]


BENCHMARK = Benchmark(
    name="postgres",
    quantities=(
        Quantity(
            key="reads", what="postgres, pgbench -S", unit="tx/s", better=Better.MORE, group=Group.SERVERS,
            goal=speed(0.98),
        ),
        Quantity(
            key="transactions", what="postgres, TPC-B", unit="tx/s", better=Better.MORE, group=Group.SERVERS,
            goal=speed(0.97),
        ),
    ),
    needs=(
        Need(program="initdb", package="postgresql"),
        Need(program="pgbench", package="postgresql"),
        Need(program="setpriv", package="util-linux"),
    ),
    measure=measure,
    baseline=native,
    candidate=enclaved,
)  # fmt: skip
