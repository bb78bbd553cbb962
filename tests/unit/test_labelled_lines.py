"""Values in lines that fit a terminal: no byte is hidden without being counted, and nothing moves the cursor."""

import re

import hypothesis.strategies as st
import pytest
from hypothesis import given

from cloister.cli._lines import LONGEST, labelled, prose

URL = "https://kdsintf.amd.com/vcek/v1/Milan/" + "0123456789abcdef" * 8 + "?blSPL=04"


def lines(value: str, width: int = 100) -> list[str]:
    return list(labelled("found", value, width=width))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("ab" * 32, ["ab" * 32]),
        ("ab" * 48, ["ab" * 32, "ab" * 16]),
        ("ab" * 16 + "00" * 48, ["ab" * 16 + " and 48 zero bytes"]),
        ("ab" * 15 + "00" * 49, ["ab" * 15 + "00 and 48 zero bytes"]),
        ("00" * 48, ["48 zero bytes"]),
        ("ab" * 32 + "00" * 32, ["ab" * 32 + " and 32 zero bytes"]),
        ("ab" * 33 + "00" * 15, ["ab" * 32, "ab" + "00" * 15]),
        ("00" * 16, ["00" * 16]),
        ("2, " + "ab" * 48, ["2, " + "ab" * 32, "ab" * 16]),
        (URL, [URL]),
        ("", [""]),
    ],
)  # fmt: skip
def test_byte_strings_in_rows(value: str, shown: list[str]) -> None:
    assert [line[16:] for line in lines(value)] == shown


def test_a_row_of_32_bytes_fits_80_columns() -> None:
    assert max(map(len, lines("ab" * 64, width=80))) == 80


def test_long_values_are_cut_and_counted() -> None:
    text = " ".join(lines("word " * 2_000))
    assert len(text) < 2 * LONGEST
    assert "(10,000 characters; --json shows all)" in text


@given(st.text(max_size=300), st.integers(60, 100))
def test_no_control_character_and_no_line_too_long(value: str, width: int) -> None:
    for line in lines(value, width):
        assert line.isprintable()
        assert len(line) <= width or max(map(len, line.split())) > width - 16


@given(st.binary(min_size=32, max_size=128))
def test_every_byte_is_shown_or_counted(data: bytes) -> None:
    text = " ".join(line[16:].strip() for line in lines(data.hex()))
    zeros = re.search(r"(?:^| and )(\d+) zero bytes$", text)
    shown = "".join(text[: zeros.start()].split()) if zeros else "".join(text.split())
    assert bytes.fromhex(shown) + bytes(int(zeros[1]) if zeros else 0) == data


def test_prose_keeps_commands_whole() -> None:
    found = list(prose("see `cloister collateral fetch` or " + "x" * 200, width=60, first="  ", later="    "))
    assert found == ["  see `cloister collateral fetch` or", "    " + "x" * 200]
