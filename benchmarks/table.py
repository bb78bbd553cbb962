"""The table: outcomes as lines of text for people."""

from collections.abc import Iterator, Sequence

from benchmarks.benchmark import Quantity
from benchmarks.judgement import judge
from benchmarks.pairs import Outcome
from benchmarks.ratios import Summary, summarise

from cloister.quantities import figure, ratio

__all__ = ["as_text"]

Cells = tuple[str, ...]
WHAT_WIDTH = 34


def as_text(outcomes: Sequence[Outcome]) -> str:
    """One table for each two ways that were compared, in the order in which they first appear, then the troubles.

    Where no row of a table has a goal, neither has the table a column for it.
    """
    comparisons = dict.fromkeys(
        (outcome.benchmark.baseline.name, outcome.benchmark.candidate.name) for outcome in outcomes
    )
    tables = [
        table([o for o in outcomes if (o.benchmark.baseline.name, o.benchmark.candidate.name) == comparison])
        for comparison in comparisons
    ]
    return "\n".join([*tables, *troubles(outcomes)])


def table(outcomes: Sequence[Outcome]) -> str:
    """The rows of one comparison under their heading, columns aligned. A row without numbers says why, or where."""
    benchmark = outcomes[0].benchmark
    heading: Cells = (
        "", "unit", benchmark.baseline.name, benchmark.candidate.name, "speed", "middle half", "min-max", "pairs"
    )  # fmt: skip
    aimed = any(quantity.goal for outcome in outcomes for quantity in outcome.benchmark.quantities)
    rows = [(heading, "goal" if aimed else ""), *(row for outcome in outcomes for row in rows_of(outcome))]
    full = [cells for cells, _ in rows if len(cells) == len(heading)]
    widths = [max(len(cells[column]) for cells in full) for column in range(len(heading))]
    widths[0] = max(WHAT_WIDTH, *(len(cells[0]) for cells, _ in rows))
    return "".join(f"{aligned(cells, widths)}  {goal}".rstrip() + "\n" for cells, goal in rows)


def rows_of(outcome: Outcome) -> Iterator[tuple[Cells, str]]:
    """The cells of each quantity of one benchmark, and its goal; or a name, and why there is no number."""
    for quantity in outcome.benchmark.quantities:
        if outcome.pairs:
            summary = summarise(outcome.of(quantity.key), quantity.better)
            yield cells(quantity, summary), judge(quantity.goal, summary, quantity.unit).text if quantity.goal else ""
        else:
            yield (quantity.what, "not measured: " + ("see below" if outcome.failed else outcome.trouble)), ""


def cells(quantity: Quantity, summary: Summary) -> Cells:
    """The eight cells of a measured row. A single pair has no spread to show."""
    alone = summary.pairs == 1
    return (
        quantity.what,
        quantity.unit,
        figure(summary.baseline),
        figure(summary.candidate),
        ratio(summary.ratio),
        "-" if alone else f"{ratio(summary.lower_quartile)}-{ratio(summary.upper_quartile)}",
        "-" if alone else f"{ratio(summary.lowest)}-{ratio(summary.highest)}",
        str(summary.pairs),
    )


def aligned(row: Cells, widths: Sequence[int]) -> str:
    """One line: names and units to the left, numbers to the right."""
    if len(row) == 2:
        return f"{row[0]:<{widths[0]}}  {row[1]}"
    left = [f"{cell:<{width}}" for cell, width in zip(row[:2], widths[:2], strict=True)]
    right = [f"{cell:>{width}}" for cell, width in zip(row[2:], widths[2:], strict=True)]
    return "  ".join([*left, *right]).rstrip()


def troubles(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """A line for each benchmark that failed, with or without some pairs measured."""
    for outcome in outcomes:
        if outcome.failed:
            yield f"{outcome.benchmark.name} failed after {len(outcome.pairs)} measured pairs: {outcome.trouble}"
