"""Numbers in words: one convention everywhere."""

import re
from pathlib import Path

import pytest

from cloister.quantities import counted, human_size

PACKAGE = Path(__file__).parents[2] / "src" / "cloister"
OTHER_UNITS = re.compile(r"\} ?[kKMGT]i?B\b")
"""A unit written out behind a number that is filled in."""


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (512, "512 B"),
        (1023, "1023 B"),
        (4096, "4 KiB"),
        (135168, "132 KiB"),
        ((1 << 20) - 1, "1023 KiB"),
        (2_200_000, "2.1 MiB"),
        (1 << 46, "64 TiB"),
        ((1 << 64) - 1, "15 EiB"),
    ],
)
def test_sizes_use_binary_units(size: int, text: str) -> None:
    assert human_size(size) == text


def test_counts_agree_with_their_noun() -> None:
    assert [counted(number, "call") for number in (0, 1, 2, 12345)] == ["0 calls", "1 call", "2 calls", "12,345 calls"]
    assert counted(2, "process", "processes") == "2 processes"


def test_no_report_brings_units_of_its_own() -> None:
    own = {
        path.name: OTHER_UNITS.findall(path.read_text())
        for path in PACKAGE.rglob("*.py")
        if OTHER_UNITS.search(path.read_text())
    }
    assert not own
