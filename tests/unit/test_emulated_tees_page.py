"""docs/tees/README.md: its machines are those that there are, and its verdicts those that the attacks are held to."""

import re
from pathlib import Path

from cloister.emulate.attacks.literature import LITERATURE
from cloister.emulate.attacks.outcome import Outcome
from cloister.emulate.catalogue import KINDS

PAGE = Path(__file__).parents[2] / "docs" / "tees" / "README.md"
ATTACK = re.compile(r"\(`(?P<name>[\w-]+)`\)$")


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_machine_has_its_line() -> None:
    named = {row[0].strip("`"): row for row in rows() if row[0].startswith("`") and row[0] != "`--tee`"}
    assert set(named) == set(KINDS)
    for name, row in named.items():
        assert row[3] == KINDS[name].architecture.value, name


def test_every_verdict_is_the_literatures() -> None:
    header = next(row for row in rows() if row[0] == "adversary does")
    assert set(header[1:]) == set(KINDS)
    attacks = {found["name"]: row for row in rows() if (found := ATTACK.search(row[0]))}
    assert len(attacks) == 10
    for attack, row in attacks.items():
        for machine, cell in zip(header[1:], row[1:], strict=True):
            expected = LITERATURE[attack][machine]
            assert cell.startswith("yes") is (expected.outcome is Outcome.SUCCEEDED), (attack, machine)
            assert ("garbage" in cell) is ("garbage" in expected.source), (attack, machine)
