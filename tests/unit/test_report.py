"""The report as a document: complete, self-contained, escaped, and true to the record."""

import json
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from cloister.observe.report import LabRecord, Verdict, as_json, render
from cloister.observe.report.cost_bars import NATIVE, WIDTH, bars_by_group
from cloister.observe.report.html import pair_attempts
from cloister.observe.report.record import (
    Access,
    ArmRecord,
    Attempt,
    AudienceRow,
    Basis,
    CallRecord,
    Cell,
    Command,
    CostRecord,
    CostRow,
    HitRecord,
    MachineRecord,
    MemberRecord,
    Outcome,
    Region,
    TraceRecord,
)

SECRET = "FUNFOO"
HEAP = 0x5594_0728_0000
SECRET_MAPPING = 0x7B74_46F0_4000
VOID = {"br", "col", "line", "link", "meta", "path", "rect"}


def region(start: int, name: str, access: Access) -> Region:
    """A mapping of 32 pages."""
    size = 0x20000
    return Region(start=start, end=start + size, permissions="rw-p", name=name, access=access, read_bytes=size)


def attempt(outcome: Outcome, detail: str, tool: str = "/proc/PID/mem, at the input's address") -> Attempt:
    """One attempt of root's."""
    return Attempt(adversary="root", tool=tool, command="dd if=/proc/1/mem", outcome=outcome, detail=detail)


def arm(name: str, trace: TraceRecord, **changes: object) -> ArmRecord:
    """A complete arm, with `changes`."""
    whole = ArmRecord(
        name=name,
        command="./app",
        terminal=f"Enter a secret: {SECRET}\nHash of your input: 2084933351\n",
        hash_shown="2084933351",
        members=(MemberRecord(pid=7, comm="app", role="program", tracer=8),),
        regions=(),
        hits=(),
        read_bytes=2 << 20,
        unreadable_bytes=0,
        buffer_address=HEAP + 0x6B0,
        attempts=(),
        trace=trace,
        absent="",
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def calls(*texts: str) -> TraceRecord:
    """A trace of these calls."""
    made = tuple(CallRecord(name=text.partition("(")[0], text=text, secret=SECRET in text) for text in texts)
    return TraceRecord(engine="ptrace", command="cloister trace -- ./app", calls=made, notes=(), absent="")


def native_arm() -> ArmRecord:
    """FUNFOO found on the heap."""
    hit = HitRecord(
        pid=7,
        where="[heap]",
        address=HEAP + 0x6B0,
        length=6,
        encoding="raw",
        context_start=HEAP + 0x6A8,
        context_hex=(bytes(8) + b"FUNFOO\n" + bytes(9)).hex(),
    )
    return arm(
        "native",
        calls("execve(1)", 'read(0, "FUNFOO\\n", 1024) = 7', "exit_group(0)"),
        regions=(region(HEAP, "[heap]", Access.READABLE), region(1 << 46, "libc.so.6", Access.READABLE)),
        hits=(hit,),
        attempts=(attempt(Outcome.READ, "64 bytes read"),),
    )


def enclaved_arm() -> ArmRecord:
    """FUNFOO in secret memory, at a known address."""
    return arm(
        "software enclave",
        calls("execve(1)", "read(0, 0x7b7446f04700, 1024) = 7", "exit_group(0)"),
        command="cloister run ./app",
        regions=(region(SECRET_MAPPING, "secret memory", Access.UNREADABLE),),
        buffer_address=SECRET_MAPPING + 0x700,
        unreadable_bytes=0x20000,
        attempts=(attempt(Outcome.REFUSED, "EIO: Input/output error"),),
    )


MACHINE = MachineRecord(
    kernel="Linux 6.1",
    architecture="x86_64",
    processor="a processor, 2 logical processors",
    distribution="Debian",
    compiler="cc 12",
    user="root (uid 0)",
    cloister="cloister 0",
)


COSTS = (
    CostRow(
        group="servers", what="server, GET", unit="req/s", native=1000.0, enclaved=970.0, speed=0.97, lower=0.95,
        upper=0.99, goal="0.98 not: 0.97", reached=False, least_speed=0.98,
    ),
    CostRow(
        group="starting", what="start of app", unit="ms", native=1.0, enclaved=400.0, speed=0.0025, lower=0.002,
        upper=0.003, goal="+1000 ms reached", reached=True, least_speed=0.0,
    ),
    CostRow(
        group="servers", what="recycling", unit="us", native=5.0, enclaved=1.0, speed=5.0, lower=4.0, upper=6.0,
        goal="", reached=False, least_speed=0.0,
    ),
)  # fmt: skip


@pytest.fixture
def record() -> LabRecord:
    """What a lab that went well records."""
    cell = Cell(answer="reads", basis=Basis.OBSERVED, note="1 of 1 attempts got through")
    row = AudienceRow(adversary="root", native=cell, software_enclave=cell, emulated_tee=cell, hardware_tee=cell)
    return LabRecord(
        mode="software enclave",
        started="2025-01-01T00:00:00+00:00",
        verdict=Verdict.PROTECTED,
        reason="found natively, not in the enclave",
        secret=SECRET,
        expected_hash="2084933351",
        source="#include <stdio.h>\n",
        native=native_arm(),
        enclaved=enclaved_arm(),
        audience=(row,),
        commands=(Command(terminal=1, text="./app", expect="type it"), Command(terminal=2, text="", expect="Enter")),
        machine=MACHINE,
        costs=CostRecord(machine="a small machine", measured="2025-01-01", rows=COSTS),
    )


class Outline(HTMLParser):
    """Checks that tags nest, and collects tags, attributes and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1:] == [tag], f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data


def outline(html: str) -> Outline:
    """Parse the report."""
    parsed = Outline()
    parsed.feed(html)
    parsed.close()
    assert parsed.open == []
    return parsed


def test_every_tag_closes_and_the_answers_are_there(record: LabRecord) -> None:
    page = outline(render(record))
    assert "Can the administrator read it?" in page.text
    assert "EIO: Input/output error" in page.text
    assert "mode: software enclave" in page.text
    assert {"svg", "table", "pre"} <= page.tags


def test_it_needs_nothing_from_outside(record: LabRecord) -> None:
    html = render(record)
    page = outline(html)
    assert not page.tags & {"script", "link", "img", "iframe", "object"}
    assert not [value for name, value in page.attributes if name in {"src", "href", "srcset"}]
    assert "url(http" not in html
    assert "@import" not in html


@pytest.mark.parametrize("poison", ['<script>alert("1")</script>', "a&b<c>'\""])
def test_what_was_observed_cannot_become_markup(record: LabRecord, poison: str) -> None:
    native = replace(
        record.native,
        terminal=poison,
        regions=(region(HEAP, poison, Access.READABLE),),
        attempts=(attempt(Outcome.REFUSED, poison, tool=poison),),
        trace=replace(calls(f"open({poison})"), notes=(poison,)),
    )
    html = render(replace(record, native=native, reason=poison))
    assert poison not in html
    assert "script" not in outline(html).tags


def test_the_secret_is_marked_natively_in_dump_and_trace(record: LabRecord) -> None:
    html = render(record)
    assert "read(0, &#34;<mark>FUNFOO</mark>" in html
    assert "<mark>46</mark> <mark>55</mark>" in html
    assert "FUNFOO</text>" in html


def test_the_enclaves_pointer_is_marked_and_its_address_shown(record: LabRecord) -> None:
    html = render(record)
    assert '<span class="pointer">0x7b7446f04700</span>' in html
    assert "7b7446f04700  EIO" in html


def test_a_missing_arm_is_said_not_hidden(record: LabRecord) -> None:
    gone = replace(record.enclaved, absent="memfd_secret is off; boot with secretmem.enable=1", regions=(), hits=())
    page = outline(render(replace(record, enclaved=gone, verdict=Verdict.INCONCLUSIVE)))
    assert page.text.count("memfd_secret is off; boot with secretmem.enable=1") >= 3


def test_a_leak_looks_like_one(record: LabRecord) -> None:
    leaked = replace(record.enclaved, hits=record.native.hits)
    html = render(replace(record, enclaved=leaked, verdict=Verdict.LEAKED))
    assert 'class="verdict leaked' in html
    assert "The secret was not found" not in html


def test_attempts_are_paired_by_tool(record: LabRecord) -> None:
    only = attempt(Outcome.READ, "", tool="gdb")
    pairs = pair_attempts(replace(record.native, attempts=(*record.native.attempts, only)), record.enclaved)
    assert pairs[0] == (record.native.attempts[0].tool, record.native.attempts[0], record.enclaved.attempts[0])
    assert pairs[1] == ("gdb", only, None)


def test_costs_are_drawn_by_group_and_within_the_drawing() -> None:
    groups = dict(bars_by_group(COSTS))
    assert [bar.row.what for bar in groups["servers"]] == ["server, GET", "recycling"]
    slow, fast = groups["starting"][0], groups["servers"][1]
    assert (slow.end, slow.goal) == (1.5, 0)
    assert (fast.end, fast.lower, fast.upper) == (WIDTH, WIDTH, WIDTH)
    assert groups["servers"][0].goal == pytest.approx(0.98 * NATIVE, abs=0.05)


def test_a_missed_goal_looks_like_one(record: LabRecord) -> None:
    html = render(record)
    assert '<span class="bad">0.98 not: 0.97</span>' in html
    assert '<span class="good">+1000 ms reached</span>' in html
    assert "400 ms" in outline(html).text


def test_the_record_is_json(record: LabRecord) -> None:
    document = json.loads(json.dumps(as_json(record)))
    assert document["verdict"] == "protected"
    assert document["native"]["hits"][0]["address"] == HEAP + 0x6B0
    assert document["enclaved"]["regions"][0]["access"] == "unreadable"
