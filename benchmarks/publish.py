"""From a record to the pages that show it: README.md, docs/benchmarks.md, and the lab's report.

The record is a file of the package, because the report shows it where nobody has this repository. The pages hold what
is made from it between two marks; a test makes it again, so that no figure can differ from what was measured.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.benchmark import Group
from benchmarks.machine import Machine, describe
from benchmarks.published import PUBLISHED

from cloister.quantities import figure, ratio

__all__ = ["PAGES", "RECORD", "current", "publish", "with_figures"]

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "src" / "cloister" / "app" / "lab" / "costs.json"
BEGIN = "<!-- measured: begin; `python -m benchmarks --record` writes this -->\n"
END = "<!-- measured: end -->\n"
SHORT = (
    "redis SET, P1", "redis GET, P16", "memcached get", "nginx, a file of 4 KiB", "postgres, pgbench -S",
    "postgres, TPC-B", "sqlite3 :memory:", "python3, allocating much, 0.3 s", "python3, allocating, 4th round",
    "node, a script of 1 s",
    "node, 18th round", "java, a program of 0.5 s", "hugo (Go), 1,500 pages", "start of true", "start of python3",
    "start of node", "fork+exit+wait with 64 MiB", "redis BGSAVE, 189 MB: fork", "bash, x=$(/bin/true)",
    "first touch of a page", "given back by free() of 200 MB", "system call (getppid)", "memory call (mprotect)",
)  # fmt: skip
"""The rows that README.md shows, good and bad ones; a test makes sure that each is a row."""

Document = dict[str, Any]
Row = dict[str, Any]


def current() -> Document:
    """The record in this repository."""
    document: Document = json.loads(RECORD.read_text())
    return document


def publish(document: Document) -> None:
    """Write the record and what is made from it."""
    RECORD.write_text(record.as_text(document))
    for page, make in PAGES.items():
        page.write_text(with_figures(page.read_text(), make(document)))


def with_figures(page: str, figures: str) -> str:
    """The page with `figures` between the marks; ValueError if it has not both."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page needs the lines {BEGIN.strip()!r} and {END.strip()!r}")
    return f"{before}{BEGIN}{figures}{END}{after}"


def whole(document: Document) -> str:
    """Every row, a table for each group, under the machine."""
    return "\n".join(["```", machine_of(document), "```", "", tally(document), "", *tables(document), *others()])


def tables(document: Document) -> Iterator[str]:
    """A heading and a table for each group that has rows."""
    for group in Group:
        rows = [row for row in document["rows"] if row["group"] == group.value]
        if rows:
            ways = rows[0]["ways"]
            yield f"### {group.value[0].upper()}{group.value[1:]}\n"
            names = f"{ways['baseline']} | {ways['candidate']}"
            yield f"| | unit | {names} | speed | middle half | min-max | pairs | goal |"
            yield "|---|---|---:|---:|---:|---:|---:|---:|---|"
            yield from map(long_line, rows)
            yield ""


def others() -> Iterator[str]:
    """What others publish."""
    yield "### Others, as they publish it: not measured here\n"
    yield "| | published | where |"
    yield "|---|---|---|"
    for one in PUBLISHED:
        where = f"[{one.source}]({one.link})" if one.link else one.source
        yield f"| {one.who} | {one.figure} | {where} |"
    yield ""


def short(document: Document) -> str:
    """What most readers ask about."""
    named = {row["what"]: row for row in document["rows"] if row["group"] != Group.NOISE.value}
    lines = [short_line(named[what]) for what in SHORT if what in named]
    heading = ["| | native | enclaved | speed | goal |", "|---|---:|---:|---:|---|"]
    return "\n".join([*heading, *lines, "", tally(document), circumstances(document), ""])


def circumstances(document: Document) -> str:
    """When and where, how busy it was there, and what the control says of that."""
    machine = document["machine"]
    busy = f"load average {machine['load'][0]:.1f} at the beginning and {document['load_after'][0]:.1f} at the end"
    noise = [
        row["summary"]["ratio"] for row in document["rows"] if row["group"] == Group.NOISE.value and row["summary"]
    ]
    control = f"Native against native came out at {ratio(min(noise))} to {ratio(max(noise))}." if noise else ""
    where = f"{machine['processor']}, {machine['cores']} cores, Linux {machine['kernel']}"
    return f"Measured {machine['date']} ({where}; {busy}). {control}".rstrip()


def long_line(row: Row) -> str:
    """One row with all that its summary says."""
    found = row["summary"]
    if found is None:
        return f"| {row['what']} | {row['unit']} | not measured: {row['trouble']} | | | | | | |"
    middle = f"{ratio(found['lower_quartile'])}-{ratio(found['upper_quartile'])}"
    ends = f"{ratio(found['lowest'])}-{ratio(found['highest'])}"
    figures = (
        f"{figure(found['baseline'])} | {figure(found['candidate'])} | {ratio(found['ratio'])} | {middle} | {ends}"
    )
    return f"| {row['what']} | {row['unit']} | {figures} | {found['pairs']} | {goal(row)} |"


def short_line(row: Row) -> str:
    """One row with its medians."""
    found, unit = row["summary"], row["unit"]
    if found is None:
        return f"| {row['what']} | not measured: {row['trouble']} | | | |"
    medians = f"{figure(found['baseline'])} {unit} | {figure(found['candidate'])} {unit}"
    return f"| {row['what']} | {medians} | {ratio(found['ratio'])} | {goal(row)} |"


def goal(row: Row) -> str:
    """The goal's words, or nothing."""
    return row["goal"]["text"] if row["goal"] else ""


def tally(document: Document) -> str:
    """How many goals were reached."""
    aimed = [row["goal"] for row in document["rows"] if row["goal"]]
    return f"{sum(one['reached'] for one in aimed)} of {len(aimed)} goals are reached."


def machine_of(document: Document) -> str:
    """The machine, and how busy it was."""
    machine = Machine(**(document["machine"] | {"load": tuple(document["machine"]["load"])}))
    return f"{describe(machine)}; at the end {document['load_after'][0]:.2f}\nmode: {document['mode']}"


PAGES: dict[Path, Callable[[Document], str]] = {ROOT / "README.md": short, ROOT / "docs" / "benchmarks.md": whole}
