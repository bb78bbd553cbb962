"""Fill the templates: record in, HTML text out. Templates escape every value; only the style sheet is raw."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from cloister.observe.report.alignment import align, is_telling
from cloister.observe.report.cost_bars import NATIVE, WIDTH, bars_by_group
from cloister.observe.report.hexdump import rows_of
from cloister.observe.report.marking import marked
from cloister.observe.report.memory_map import draw
from cloister.observe.report.record import ArmRecord, Attempt, LabRecord, Outcome
from cloister.quantities import figure, human_size, ratio

__all__ = ["render"]


def render(record: LabRecord) -> str:
    """The report as one HTML document without external resources and without scripts.

    The exercise's secret appears in it on purpose: it is a published demonstration value, and the point of the
    lab is to see it. This is the one place in Cloister where a secret is displayed.
    """
    arms = (record.native, record.enclaved)
    stretches = align(record.native.trace.calls, record.enclaved.trace.calls)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            record=record,
            arms=arms,
            pictures={arm.name: draw(arm.regions, arm.hits) for arm in arms},
            stretches=stretches,
            telling=[row for stretch in stretches for row in stretch.rows if is_telling(row)],
            attempts=pair_attempts(record.native, record.enclaved),
            cost_groups=bars_by_group(record.costs.rows),
            scale={"width": WIDTH, "native": NATIVE},
        )
    )


def pair_attempts(native: ArmRecord, enclaved: ArmRecord) -> list[tuple[str, Attempt | None, Attempt | None]]:
    """The attempts of both arms by tool, in the order they were made; None where an arm did not make one."""
    left = {attempt.tool: attempt for attempt in native.attempts}
    right = {attempt.tool: attempt for attempt in enclaved.attempts}
    return [(tool, left.get(tool), right.get(tool)) for tool in dict.fromkeys((*left, *right))]


def refusal(arm: ArmRecord) -> str:
    """What the kernel said to a read at the input's address: the detail of the first refused attempt there."""
    there = (one for one in arm.attempts if one.outcome is Outcome.REFUSED and one.tool.startswith("/proc/PID/mem"))
    return next((attempt.detail for attempt in there), "")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("cloister.observe.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(human_size=human_size, hex_rows=rows_of, marked=marked, refusal=refusal)
    environment.filters.update(figure=figure, ratio=ratio)
    return environment
