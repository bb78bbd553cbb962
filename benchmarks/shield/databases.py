"""SQLite and PostgreSQL with their files on a site. Both wait for the disk as they do by default."""

from benchmarks import postgres
from benchmarks.benchmark import Better, Group, Need, Quantity, Run
from benchmarks.goals import speed
from benchmarks.needs import find
from benchmarks.processes import free_port, run, serving
from benchmarks.shield.sites import Site, at

__all__ = ["POSTGRES", "POSTGRES_NEEDS", "SQLITE", "SQLITE_NEEDS", "measure_postgres", "measure_sqlite"]

COMMITS = 200
MADE = """\
PRAGMA synchronous = FULL;
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, weight INTEGER);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
    INSERT INTO item SELECT i, 'item ' || i, i * 7919 % 10007 FROM n;
COMMIT;
CREATE INDEX item_weight ON item (weight);
"""
COMMITTED = "\n".join(
    ["PRAGMA synchronous = FULL;", *["UPDATE item SET weight = weight + 1 WHERE id = 50000;"] * COMMITS]
)
ASKED = "SELECT count(*), sum(length(name)) FROM item WHERE weight BETWEEN 1000 AND 9000;\n" * 20
SQLITE_NEEDS = (Need(program="sqlite3", package="sqlite3"),)
POSTGRES_NEEDS = (Need(program="initdb", package="postgresql"), Need(program="pgbench", package="postgresql"))
SCALE = 2


def row(key: str, what: str, unit: str, better: Better, goal: float) -> Quantity:
    """A row."""
    return Quantity(key=key, what=what, unit=unit, better=better, group=Group.SHIELDS, goal=speed(goal))


SQLITE = (
    row("insert", "sqlite3, 100,000 rows inserted", "s", Better.LESS, 0.6),
    row("commit", f"sqlite3, {COMMITS} transactions", "s", Better.LESS, 0.6),
    row("select", "sqlite3, 20 selections", "s", Better.LESS, 0.9),
)
POSTGRES = (
    row("reads", "postgres, pgbench -S", "tx/s", Better.MORE, 0.9),
    row("transactions", "postgres, TPC-B, fsync on", "tx/s", Better.MORE, 0.6),
)


def measure_sqlite(this: Run) -> dict[str, float]:
    """Seconds of whole processes."""
    with at(this.arm.name, this.scratch) as site:
        work = {"insert": MADE, "commit": COMMITTED, "select": ASKED}
        return {key: seconds(site, statements) for key, statements in work.items()}


def seconds(site: Site, statements: str) -> float:
    """One process."""
    command = site.start([find("sqlite3"), "-batch", "-bail", str(site.directory / "items.db")])
    return run(command, given=statements).seconds


def measure_postgres(this: Run) -> dict[str, float]:
    """Transactions a second."""
    port, length = free_port(), max(1, round(4 * this.load_seconds))
    with at(this.arm.name, this.scratch) as site:
        data = make_cluster(this, site)
        options = ["listen_addresses=127.0.0.1", f"port={port}", "unix_socket_directories=", "shared_buffers=64MB"]
        words = [word for option in options for word in ("-c", option)]
        server = site.start([*postgres.as_owner(), find("postgres"), "-D", data, *words])
        with serving(server, port, this.scratch):
            postgres.wait_until_it_answers(port)
            run([*postgres.pgbench(port), "-i", "-q", "-s", str(SCALE), "postgres"])
            postgres.rate(port, 1, "-S")
            return {"reads": postgres.rate(port, length, "-S"), "transactions": postgres.rate(port, length)}


def make_cluster(this: Run, site: Site) -> str:
    """An empty cluster on the site, which its owner has to reach."""
    for folder in (this.scratch, *site.directory.parents):
        if folder.is_relative_to(this.scratch):
            folder.chmod(0o755)
    data = f"{site.directory}/data"
    initdb = [*postgres.as_owner(), find("initdb"), "-D", data, "-A", "trust", "-U", postgres.ACCOUNT, "--no-sync"]
    shell = f'chmod 755 "$1" && mkdir "$2" && chown {postgres.ACCOUNT} "$2" && shift 2 && exec "$@"'
    run(site.start([find("sh"), "-c", shell, "sh", str(site.directory), data, *initdb]))
    return data
