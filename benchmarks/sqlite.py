"""sqlite3: the same statements on a database in memory and on one in a file, whole processes."""

from benchmarks.benchmark import Benchmark, Better, Group, Need, NotMeasured, Quantity, Run, enclaved, native
from benchmarks.goals import speed
from benchmarks.needs import find
from benchmarks.processes import run

__all__ = ["BENCHMARK"]

STATEMENTS = """\
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, weight INTEGER);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
    INSERT INTO item SELECT i, 'item ' || i, i * 7919 % 10007 FROM n;
COMMIT;
CREATE INDEX item_weight ON item (weight);
UPDATE item SET weight = weight + 1 WHERE id % 3 = 0;
SELECT count(*), sum(weight) FROM item WHERE weight BETWEEN 1000 AND 9000;
SELECT count(DISTINCT name) FROM item;
"""
EXPECTED = "159909|799544295\n200000\n"


def measure(this: Run) -> dict[str, float]:
    """Seconds for the whole process, in memory and with a file."""
    database = this.scratch / "items.db"
    database.unlink(missing_ok=True)
    return {"memory": seconds(this, ":memory:"), "file": seconds(this, str(database))}


def seconds(this: Run, database: str) -> float:
    """Run the statements; NotMeasured if they answer wrongly."""
    finished = run(this.arm.start([find("sqlite3"), "-batch", database]), given=STATEMENTS)
    if finished.output != EXPECTED:
        raise NotMeasured(f"sqlite3 answered {finished.output!r}, not {EXPECTED!r}")
    return finished.seconds


BENCHMARK = Benchmark(
    name="sqlite",
    quantities=(
        Quantity(
            key="memory", what="sqlite3 :memory:", unit="s", better=Better.LESS, group=Group.PROGRAMS, goal=speed(0.95)
        ),
        Quantity(key="file", what="sqlite3 in a file", unit="s", better=Better.LESS, group=Group.PROGRAMS),
    ),
    needs=(Need(program="sqlite3", package="sqlite3"),),
    measure=measure,
    baseline=native,
    candidate=enclaved,
)
