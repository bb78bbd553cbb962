"""How compared values are written for people."""

from datetime import UTC, datetime

import pytest

from cloister.verification.recipe import shown

TIME = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("text", "text"),
        (b"\x00\xff", "00ff"),
        (TIME, "2026-01-31 12:00:00 UTC"),
        (("until", TIME), "until 2026-01-31 12:00:00 UTC"),
        (("from", TIME, "until", TIME), "from 2026-01-31 12:00:00 UTC, until 2026-01-31 12:00:00 UTC"),
        (("at most", b"\x01"), "at most 01"),
        (("signed by", "a key"), "signed by a key"),
        (["Milan", "Genoa"], "Milan, Genoa"),
        ((1, (2, b"\x03")), "1, 2, 03"),
        ((), ""),
        (False, "False"),
    ],
)
def test_values_in_words(value: object, text: str) -> None:
    assert shown(value) == text
