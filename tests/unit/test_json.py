"""Strict JSON: what another parser might read differently is refused."""

import pytest

from cloister import _json
from cloister.errors import ParseError

REFUSED = {
    "a key twice": b'{"a": 1, "a": 2}',
    "a key twice, deeper": b'{"x": [{"a": 1, "a": 2}]}',
    "NaN": b'{"a": NaN}',
    "Infinity": b"[Infinity]",
    "an open object": b'{"a": 1',
    "text behind it": b"{} {}",
    "no UTF-8": b'{"a": "\xff"}',
    "nesting without end": b"[" * 200_000,
    "a number without end": b"9" * 10_000,
    "nothing": b"",
    "half a character": b'{"a": "\\ud800"}',
    "half a character as a key": b'{"\\uDFFF": 1}',
}


@pytest.mark.parametrize("fault", REFUSED)
def test_refused(fault: str) -> None:
    with pytest.raises(ParseError):
        _json.loads(REFUSED[fault], "thing")


def test_whole_characters_in_two_escapes_are_text() -> None:
    assert _json.loads(b'["\\ud83d\\ude00"]', "thing") == ["\U0001f600"]


def test_too_long() -> None:
    with pytest.raises(ParseError, match="at most"):
        _json.loads(b" " * (_json.LONGEST + 1), "thing")


@pytest.mark.timeout(5)
def test_a_repeated_key_among_many_is_found_quickly() -> None:
    text = "{" + ",".join(f'"{number}":0' for number in range(500_000)) + ',"499999":0}'
    with pytest.raises(ParseError, match="twice"):
        _json.loads(text, "thing")


def test_members() -> None:
    value = _json.loads(b'{"text": "a", "number": 3, "list": [1], "true": true, "minus": -1}', "thing")
    assert _json.text(value, "text", "thing") == "a"
    assert _json.whole(value, "number", "thing") == 3
    assert _json.members(value, "list", "thing") == [1]
    for read, key in ((_json.text, "number"), (_json.whole, "true"), (_json.whole, "minus"), (_json.members, "text")):
        with pytest.raises(ParseError, match=key):
            read(value, key, "thing")
    with pytest.raises(ParseError, match="missing"):
        _json.member(value, "absent", "thing")
    with pytest.raises(ParseError, match="missing"):
        _json.member([], "absent", "thing")
