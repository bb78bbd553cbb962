"""The drawing of a flow: what was sent, in order, from whom to whom; and nothing that was not in the record."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.app.flow.page import draw_page
from cloister.app.flow.record import parties, read_flow
from cloister.app.flow.text import draw_text
from cloister.cli import main
from cloister.errors import ParseError

START = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
BACKGROUND = [
    ("runtime", "carrier", "HELLO", 0), ("carrier", "runtime", "MANIFEST", 0), ("runtime", "carrier", "STATEMENT", 0),
    ("carrier", "broker", "POST /kbs/v0/auth", 0), ("broker", "carrier", "POST /kbs/v0/auth", 200),
    ("carrier", "runtime", "NONCE", 0), ("runtime", "carrier", "QUOTE", 0),
    ("carrier", "broker", "POST /kbs/v0/attest", 0), ("broker", "carrier", "POST /kbs/v0/attest", 200),
    ("carrier", "broker", "GET /cloister/v1/provision/-/demo", 0),
    ("broker", "carrier", "GET /cloister/v1/provision/-/demo", 200), ("carrier", "runtime", "SEALED", 0),
]  # fmt: skip


def line(index: int, source: str, target: str, kind: str, status: int) -> dict[str, Any]:
    made = {
        "time": (START + timedelta(milliseconds=index)).isoformat(), "from": source, "to": target, "kind": kind,
        "size": 96 * index, "sha256": f"{index:064x}",
    }  # fmt: skip
    return made | ({"status": status} if status else {})


def record(messages: list[tuple[str, str, str, int]]) -> bytes:
    return b"".join(json.dumps(line(number, *one)).encode() + b"\n" for number, one in enumerate(messages))


def test_the_terminal_shows_every_message_in_order() -> None:
    drawn = draw_text(read_flow(record(BACKGROUND)))
    rows = drawn.splitlines()
    assert rows[0].split() == ["runtime", "carrier", "broker"]
    arrows = [row for row in rows if "▶" in row or "◀" in row]
    assert len(arrows) == len(BACKGROUND)
    assert [("▶" in row) for row in arrows] == [
        ["runtime", "carrier", "broker"].index(one[0]) < ["runtime", "carrier", "broker"].index(one[1])
        for one in BACKGROUND
    ]
    assert "═ Secrets, sealed ══" in arrows[-1]
    assert not any("═" in row for row in arrows[:-2])
    assert "12 messages in 11.0 ms; the last: Secrets, sealed" in drawn


def test_a_refusal_is_called_one() -> None:
    messages = read_flow(record([*BACKGROUND[:9], ("broker", "carrier", "GET /cloister/v1/provision/-/demo", 403)]))
    assert "Refused 403" in draw_text(messages)
    assert "refused-row" in draw_page(messages)


def test_the_page_fetches_nothing_and_escapes_everything() -> None:
    hostile = [*BACKGROUND, ("carrier", "runtime", "<script>alert(1)</script>", 0)]
    page = draw_page(read_flow(record(hostile)))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert page.count('class="arrow"') == len(hostile)


def test_parties_stand_from_the_inside_out() -> None:
    messages = read_flow(
        record([("broker", "carrier", "x", 0), ("carrier", "program", "y", 0), ("me", "broker", "z", 0)])
    )
    assert parties(messages) == ("program", "carrier", "broker", "me")


BAD = {
    "nothing": b"\n",
    "no json": b"{",
    "no object": b"[]",
    "no time": json.dumps(line(0, "a", "b", "c", 0) | {"time": "yesterday"}).encode(),
    "no zone": json.dumps(line(0, "a", "b", "c", 0) | {"time": "2026-11-26T12:00:00"}).encode(),
    "negative": json.dumps(line(0, "a", "b", "c", 0) | {"size": -1}).encode(),
    "true": json.dumps(line(0, "a", "b", "c", 0) | {"size": True}).encode(),
    "controls": json.dumps(line(0, "a\x1b[2J", "b", "c", 0)).encode(),
    "long": json.dumps(line(0, "a" * 65, "b", "c", 0)).encode(),
    "missing": b"{}",
}


@pytest.mark.parametrize("what", BAD)
def test_a_damaged_record_is_refused(what: str) -> None:
    with pytest.raises(ParseError):
        read_flow(BAD[what])


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        read_flow(data)
    except ParseError:
        return


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, page = tmp_path / "flow.jsonl", tmp_path / "flow.html"
    path.write_bytes(record(BACKGROUND))
    assert main(["flow", str(path), "--explain"]) == 0
    assert "The carrier passes on what it cannot open" in capsys.readouterr().out
    assert main(["flow", str(path), "--html", str(page)]) == 0
    assert page.read_text().startswith("<!doctype html>")
    assert main(["flow", str(tmp_path / "missing")]) == 2
