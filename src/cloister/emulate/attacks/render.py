"""The matrix for people and for programs: a table for the terminal, JSON, and a page with a picture of it."""

from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from cloister.emulate.attacks.battery import ATTACKS
from cloister.emulate.attacks.matrix import Cell, Matrix
from cloister.emulate.attacks.outcome import Outcome
from cloister.emulate.catalogue import KINDS, NATIVE

__all__ = ["as_html", "as_json", "as_text", "finding_text"]

WORDS: Final = {Outcome.SUCCEEDED: "SUCCEEDED", Outcome.DETECTED: "detected", Outcome.STOPPED: "stopped"}
UNTRIED: Final = "not tried"
DIFFERS: Final = "!"
LEAST: Final = 9
"""Characters of the longest word, `SUCCEEDED`."""


def title_of(machine: str) -> str:
    """A machine's title for people."""
    return NATIVE.title if machine == NATIVE.name else KINDS[machine].title


def word_of(cell: Cell) -> str:
    """One word, with a mark where it is not what real hardware does."""
    word = UNTRIED if cell.finding is None else WORDS[cell.finding.outcome]
    return word if cell.agrees else f"{word}{DIFFERS}"


def as_text(matrix: Matrix) -> str:
    """A table: one line an attack, one column a machine; below it every cell that differs from what is published."""
    first = max(map(len, matrix.attacks))
    widths = {name: max(len(name), LEAST + 1) for name in matrix.machines}
    lines = [" ".join(["attack".ljust(first), *(name.ljust(widths[name]) for name in matrix.machines)]).rstrip()]
    for attack in matrix.attacks:
        words = (word_of(matrix.cells[attack, name]).ljust(widths[name]) for name in matrix.machines)
        lines.append(" ".join([attack.ljust(first), *words]).rstrip())
    lines += ["", "Each cell is from a run just made, on an emulated machine."]
    differing = matrix.disagreements
    if not differing:
        lines.append("All agree with what is published of real hardware (--json and --html name the sources).")
    lines += [difference(cell) for cell in differing]
    return "\n".join(lines) + "\n"


def difference(cell: Cell) -> str:
    """Why a cell is marked."""
    found = cell.obstacle if cell.finding is None else f"{cell.finding.outcome}, {cell.finding.observed}"
    return (
        f"{DIFFERS} {cell.machine}, {cell.attack}: {found}; published: {cell.expected.outcome} ({cell.expected.source})"
    )


def finding_text(cell: Cell) -> str:
    """One attack on one machine, in sentences."""
    one = ATTACKS[cell.attack]
    lines = [f"{title_of(cell.machine)}: {cell.attack} ({one.adversary})", f"  {one.what}"]
    if cell.finding is None:
        lines.append(f"  not tried: {cell.obstacle}")
    else:
        lines.append(f"  {WORDS[cell.finding.outcome]}: {cell.finding.observed}")
    agreement = "so does real hardware" if cell.agrees else f"real hardware: {cell.expected.outcome}"
    lines.append(f"  {agreement} ({cell.expected.source})")
    return "\n".join(lines) + "\n"


def as_json(matrix: Matrix) -> dict[str, Any]:
    """One document: `cells`, each with attack, machine, outcome (or null and why), what was observed, the published."""
    return {
        "machines": [{"name": name, "title": title_of(name)} for name in matrix.machines],
        "attacks": [{"name": a, "adversary": ATTACKS[a].adversary, "what": ATTACKS[a].what} for a in matrix.attacks],
        "agrees": not matrix.disagreements,
        "cells": [cell_json(cell) for cell in matrix.cells.values()],
    }


def cell_json(cell: Cell) -> dict[str, Any]:
    """One cell."""
    return {
        "attack": cell.attack,
        "machine": cell.machine,
        "outcome": None if cell.finding is None else str(cell.finding.outcome),
        "observed": cell.obstacle if cell.finding is None else cell.finding.observed,
        "published": str(cell.expected.outcome),
        "source": cell.expected.source,
        "agrees": cell.agrees,
    }


def as_html(matrix: Matrix) -> str:
    """One page without scripts or anything from elsewhere: the picture, and every cell's words."""
    environment = Environment(
        loader=PackageLoader("cloister.emulate.attacks"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("matrix.html.j2").render(
        matrix=matrix, attacks=ATTACKS, title_of=title_of, word_of=word_of, mark=DIFFERS
    )
