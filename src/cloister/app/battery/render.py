"""A battery's findings as a table for people, as JSON, and as a page."""

import textwrap
from collections.abc import Sequence
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from cloister.app.battery.verdict import Finding, Outcome, exit_code, readers, row_of

__all__ = ["as_html", "as_json", "as_text"]

WIDTH = 110
SUMMARY = (
    (Outcome.LEAKED, "leaked, and is not declared in LIMITATIONS.md: a bug, or a program that gives its secret away"),
    (Outcome.DECLARED, "leaked, as LIMITATIONS.md declares"),
    (Outcome.NOT_SEEN, "declared in LIMITATIONS.md, and did not work this time: do not rely on that"),
    (Outcome.STOPPED, "stopped"),
    (Outcome.INCONCLUSIVE, "inconclusive: it did not work natively either, or broke"),
    (Outcome.NOT_TRIED, "not tried"),
)


def as_text(findings: Sequence[Finding], user: str) -> str:
    """The table, the counts, and who can still read."""
    rows = [("attack", "native", "enclaved", "")]
    rows += [(one.attack.name, native_word(one), str(one.outcome), remark(one)) for one in findings]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3])).rstrip()
        for row in rows
    ]
    lines += ["", *(f"{number:3} {text}" for number, text in counted(findings))]
    lines += ["", "who can still read this, as observed now:"]
    for row in readers(findings, user):
        lines += [f"  {row.adversary.who}", f"    native:   {row.native}"]
        lines += textwrap.wrap(
            f"    enclaved: {row.enclaved}", WIDTH, subsequent_indent=" " * 14, break_on_hyphens=False
        )
    return "\n".join(lines) + "\n"


def counted(findings: Sequence[Finding]) -> list[tuple[int, str]]:
    """How many there are of each outcome that there is, in words."""
    counts = [(sum(one.outcome is outcome for one in findings), text) for outcome, text in SUMMARY]
    return [(number, text) for number, text in counts if number]


def native_word(finding: Finding) -> str:
    """The cell of the native arm."""
    if finding.native.broken:
        return "broke"
    return {True: "worked", False: "failed", None: "-"}[finding.native.worked]


def remark(finding: Finding) -> str:
    """Why, of what decided."""
    if finding.outcome is Outcome.INCONCLUSIVE and not finding.native.worked:
        return finding.native.detail
    declared = (
        f" ({finding.attack.declared})" if finding.outcome is Outcome.DECLARED and finding.attack.declared else ""
    )
    return (finding.enclaved or finding.native).detail + declared


def as_json(findings: Sequence[Finding], user: str) -> dict[str, object]:
    """One document: findings, table of readers, exit code. No secret is in it, nor where one was found."""
    return {
        "exit_code": exit_code(findings),
        "attacks": [
            {
                "name": one.attack.name,
                "what": one.attack.what,
                "source": one.attack.source,
                "reader": one.attack.reader,
                "declared": one.attack.declared,
                "deceives": one.attack.deceives,
                "control": one.attack.control is not None,
                "native": {"worked": one.native.worked, "detail": one.native.detail},
                "enclaved": None
                if one.enclaved is None
                else {"worked": one.enclaved.worked, "detail": one.enclaved.detail},
                "outcome": str(one.outcome),
            }
            for one in findings
        ],
        "readers": [
            {
                "key": row.adversary.key,
                "who": row.adversary.who,
                "declared": {"native": row.adversary.reads[0], "software enclave": row.adversary.reads[1]},
                "native": row.native,
                "enclaved": row.enclaved,
            }
            for row in readers(findings, user)
        ],
    }


COLOURS: Final = {
    Outcome.STOPPED: "stopped",
    Outcome.LEAKED: "leaked",
    Outcome.DECLARED: "declared",
    Outcome.NOT_SEEN: "declared",
    Outcome.INCONCLUSIVE: "untried",
    Outcome.NOT_TRIED: "untried",
}


def as_html(findings: Sequence[Finding], user: str) -> str:
    """One page without scripts or anything from elsewhere: who can still read, and every attack with what was seen."""
    environment = Environment(
        loader=PackageLoader("cloister.app.battery"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    rows = readers(findings, user)
    return environment.get_template("battery.html.j2").render(
        rows=rows,
        groups={row.adversary.key: [one for one in findings if row_of(one, user) == row.adversary.key] for row in rows},
        counts=[f"{number} {text}" for number, text in counted(findings)],
        code=exit_code(findings),
        native=native_word,
        colour=lambda one: COLOURS[one.outcome],
    )
