"""What was measured as lines of text for people."""

from collections.abc import Iterator, Sequence

from benchmarks.table import aligned
from benchmarks.verify.contenders import CLOISTER
from benchmarks.verify.many import ManyOutcome
from benchmarks.verify.rounds import Outcome

from cloister.quantities import figure, ratio

__all__ = ["as_text"]

Cells = tuple[str, ...]
HEADING: Cells = ("", "", "per second", "of the limit", "middle half", "min-max", "goal")
MANY_HEADING: Cells = ("", "", "one process", "all cores", "speed", "min-max", "passes")


def as_text(outcomes: Sequence[Outcome], many: Sequence[ManyOutcome]) -> str:
    """A block of rows for each subject; then those over many records."""
    blocks = [(f"{one.subject} (the limit: {one.limit}; {rounds_of(one)} rounds)", list(rows(one))) for one in outcomes]
    parts = [columns(HEADING, blocks)] if blocks else []
    if many:
        first = many[0]
        title = f"verify_many, {first.records:,} records, {first.cores} cores"
        parts.append(columns(MANY_HEADING, [(title, [many_row(one) for one in many])]))
    return "\n".join(parts)


def columns(heading: Cells, blocks: Sequence[tuple[str, Sequence[Cells]]]) -> str:
    """Titles over their rows, all columns of a table aligned."""
    full = [heading, *(row for _, found in blocks for row in found if len(row) == len(heading))]
    widths = [max(len(row[column]) for row in full) for column in range(len(heading))]
    widths[0] = max([widths[0], *(len(row[0]) for _, found in blocks for row in found)])
    lines = [aligned(heading, widths)]
    for title, found in blocks:
        lines += ["", title, *(aligned(row, widths) for row in found)]
    return "".join(f"{line}\n" for line in lines)


def rounds_of(outcome: Outcome) -> int:
    """How many rounds were measured."""
    return len(outcome.rates[outcome.baseline])


def rows(outcome: Outcome) -> Iterator[Cells]:
    """A row for everybody who verified, then one for those who did not, with their reason."""
    for name in outcome.rates:
        summary = outcome.compared(name)
        if name == outcome.baseline:
            yield (f"  {name}", "", figure(summary.candidate), "1", "", "", "")
            continue
        yield (
            f"  {name}", "", figure(summary.candidate), ratio(summary.ratio),
            f"{ratio(summary.lower_quartile)}-{ratio(summary.upper_quartile)}",
            f"{ratio(summary.lowest)}-{ratio(summary.highest)}",
            ratio(outcome.goal) if name == CLOISTER and outcome.goal is not None else "",
        )  # fmt: skip
    for name, why in outcome.missing.items():
        yield f"  {name}", f"not measured: {why}"


def many_row(outcome: ManyOutcome) -> Cells:
    """One subject's records per second."""
    summary = outcome.summary
    return (
        f"  {outcome.subject}", "", figure(summary.baseline), figure(summary.candidate), ratio(summary.ratio),
        f"{ratio(summary.lowest)}-{ratio(summary.highest)}", str(summary.pairs),
    )  # fmt: skip
