"""The table: outcomes as lines of text for people."""

from collections.abc import Iterator, Sequence

from benchmarks.benchmark import Quantity
from benchmarks.pairs import Outcome
from benchmarks.ratios import Summary, summarise

__all__ = ["as_text"]

Cells = tuple[str, ...]
WHAT_WIDTH = 34


def as_text(outcomes: Sequence[Outcome]) -> str:
    """One table for each two ways that were compared, in the order in which they first appear, then the troubles."""
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
    rows = [heading, *(row for outcome in outcomes for row in rows_of(outcome))]
    full = [row for row in rows if len(row) == len(heading)]
    widths = [max(len(row[column]) for row in full) for column in range(len(heading))]
    widths[0] = max(WHAT_WIDTH, *(len(row[0]) for row in rows))
    return "".join(f"{aligned(row, widths)}\n" for row in rows)


def rows_of(outcome: Outcome) -> Iterator[Cells]:
    """The cells of each quantity of one benchmark: all eight, or a name and why there is no number."""
    for quantity in outcome.benchmark.quantities:
        if outcome.pairs:
            yield cells(quantity, summarise(outcome.of(quantity.key), quantity.better))
        else:
            yield quantity.what, "not measured: " + ("see below" if outcome.failed else outcome.trouble)


def cells(quantity: Quantity, summary: Summary) -> Cells:
    """The eight cells of a measured row. A single pair has no spread to show."""
    alone = summary.pairs == 1
    return (
        quantity.what,
        quantity.unit,
        number(summary.baseline),
        number(summary.candidate),
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


def number(value: float) -> str:
    """Three significant digits at least, no more decimals than that needs, thousands apart."""
    for limit, decimals in ((100.0, 0), (10.0, 1), (1.0, 2)):
        if value >= limit:
            return f"{value:,.{decimals}f}"
    return f"{value:.3f}"


def ratio(value: float) -> str:
    """Two decimals; more below a tenth, where two would say little."""
    for limit, decimals in ((0.1, 2), (0.01, 3)):
        if value >= limit:
            return f"{value:.{decimals}f}"
    return f"{value:.4f}"
