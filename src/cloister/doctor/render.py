"""The report for a person: aligned, in colour where the terminal has it, worst news marked."""

import itertools
import shutil
import textwrap
from collections.abc import Iterator

from cloister.adversaries import MODES
from cloister.doctor.check import Check, Command, Group, Status
from cloister.doctor.examine import Diagnosis, Observed, Reader

__all__ = ["render"]

MARKS = {Status.OK: "✓", Status.MISSING: "-", Status.DENIED: "✗", Status.UNKNOWN: "?"}
COLOURS = {Status.OK: "32", Status.MISSING: "33", Status.DENIED: "31", Status.UNKNOWN: "35"}
TITLE_WIDTH = 27
TEXT_COLUMN = 4 + TITLE_WIDTH
FIRST_COLUMN = 28
EXPLAINED = (Group.ENCLAVE, Group.EXPOSURE)
"""Groups whose every failure is explained; a machine that lacks somebody else's hardware is not ill."""


def render(diagnosis: Diagnosis, *, colour: bool, verbose: bool) -> str:
    """The whole report. `verbose` explains every check, not only the failed ones."""
    painter = Painter(colour=colour, width=min(shutil.get_terminal_size((110, 40)).columns, 130), verbose=verbose)
    lines: list[str] = []
    for group in Group:
        lines += ["", painter.bold(group.value), *painter.group([c for c in diagnosis.checks if c.group is group])]
    lines += ["", painter.bold("who can still read this"), *painter.table(diagnosis.readers)]
    return "\n".join([*lines[1:], "", *painter.verdict(diagnosis)])


class Painter:
    """Lays out the parts for one width and one choice of colour."""

    def __init__(self, *, colour: bool, width: int, verbose: bool) -> None:
        self.colour = colour
        self.width = width
        self.verbose = verbose

    def bold(self, text: str) -> str:
        """A heading."""
        return self._paint("1", text)

    def group(self, checks: list[Check]) -> Iterator[str]:
        """The checks of one group; frameworks that are not installed share one line."""
        absent = [c.title for c in checks if c.group is Group.FRAMEWORK and c.status is Status.MISSING]
        for check in checks:
            if self.verbose or check.title not in absent:
                yield from self._check(check)
        if absent and not self.verbose:
            mark = MARKS[Status.MISSING]
            yield from self._wrapped(f"  {mark} {'not installed':<{TITLE_WIDTH}}", ", ".join(absent), TEXT_COLUMN)

    def table(self, readers: tuple[Reader, ...]) -> Iterator[str]:
        """Who can still read: a row per reader, a column per way to run a program, and what the row rests on."""
        yield from self._row(("", *MODES), ("1",) * 5)
        for reader in readers:
            cells = (reader.adversary.who, *reader.adversary.reads)
            yield from self._row(cells, ("", *(_cell_colour(cell) for cell in reader.adversary.reads)))
            seen = reader.basis
            basis = f"observed here: {seen.how}" if isinstance(seen, Observed) else f"declared: {seen.why}"
            yield from self._wrapped("    ", basis, 4, code="2")

    def verdict(self, diagnosis: Diagnosis) -> Iterator[str]:
        """One line, and what to do about each obstacle."""
        if diagnosis.works:
            yield self._paint("1;32", "software enclave: works here")
            return
        yield self._paint("1;31", "software enclave: cannot run here, because")
        for check in diagnosis.obstacles:
            yield from self._wrapped("  ", f"{check.title}: {check.evidence}", 4)
            yield from self._fix(check, 4)

    def _check(self, check: Check) -> Iterator[str]:
        mark = self._paint(COLOURS[check.status], MARKS[check.status])
        says = check.evidence if check.status is Status.OK else f"{check.status}: {check.evidence}"
        yield from self._wrapped(f"  {mark} {check.title:<{TITLE_WIDTH}}", says, TEXT_COLUMN)
        if self.verbose or (check.status is not Status.OK and check.group in EXPLAINED):
            yield from self._wrapped(" " * TEXT_COLUMN, check.matters, TEXT_COLUMN, code="2")
            if check.status is not Status.OK:
                yield from self._fix(check, TEXT_COLUMN)

    def _fix(self, check: Check, indent: int) -> Iterator[str]:
        """A command stays on one line, whatever the width, so that it can be copied."""
        if isinstance(check.fix, Command):
            yield f"{' ' * indent}fix: {self._paint('36', check.fix.text)}"
        else:
            yield from self._wrapped(" " * indent, f"no command fixes it: {check.fix.reason}", indent)

    def _row(self, cells: tuple[str, ...], codes: tuple[str, ...]) -> Iterator[str]:
        """One row of the table, each cell wrapped to its column."""
        room = max((self.width - 2 - FIRST_COLUMN) // len(MODES) - 2, 12)
        widths = (FIRST_COLUMN, *(room for _ in MODES))
        wrapped = [textwrap.wrap(cell, width) for cell, width in zip(cells, widths, strict=True)]
        for line in itertools.zip_longest(*wrapped, fillvalue=""):
            parts = zip(line, widths, codes, strict=True)
            yield "  " + "  ".join(self._paint(code, f"{part:<{width}}") for part, width, code in parts).rstrip()

    def _wrapped(self, first: str, text: str, indent: int, *, code: str = "") -> Iterator[str]:
        """`first` is `indent` columns wide on the screen; it may carry colour, so it is not measured."""
        for number, line in enumerate(textwrap.wrap(text, max(self.width - indent, 30), break_on_hyphens=False)):
            yield (" " * indent if number else first) + self._paint(code, line)

    def _paint(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self.colour and code else text


def _cell_colour(cell: str) -> str:
    first = cell.split(maxsplit=1)[0]
    return {"reads": "31", "stopped": "32"}.get(first, "33")
