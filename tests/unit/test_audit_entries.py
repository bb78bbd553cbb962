"""Entries and events of the audit log: one form in bytes, strictly read; no place for a secret."""

import dataclasses
import hashlib
import json
import typing
from datetime import UTC, datetime, timedelta, timezone

import pytest
from tests.forge.audit import CPU, DENIED, KEY, MALLORY, SESSION, START, every_event, release

from cloister.broker.audit import Checkpoint, Event, LogStarted, SecretName, SessionName, TornTail, parse_checkpoint
from cloister.broker.audit.entry import FIRST_PREVIOUS, LONGEST_LINE, TAG, Entry, parse_entry, sign_entry
from cloister.broker.audit.event_json import event_of_json, json_of_event
from cloister.errors import ParseError, SignatureInvalid
from cloister.model import Unchecked

OWN = (LogStarted(key=KEY.spki, log=bytes(16)), TornTail(size=7, sha256=bytes(32)))


def entry(event: Event | None = None) -> Entry:
    return sign_entry(event or release(), sequence=2, time=START, previous=b"\x11" * 32, key=KEY)


@pytest.mark.parametrize("event", [*every_event(), *OWN], ids=lambda event: event.kind)
def test_every_event_survives_being_written(event: Event) -> None:
    assert event_of_json(json.loads(json.dumps(json_of_event(event)))) == event
    assert parse_entry(entry(event).line()).event == event


def test_every_kind_is_tried_above() -> None:
    kinds = {one.kind for one in typing.get_args(Event)}
    assert {event.kind for event in [*every_event(), *OWN]} == kinds


def test_an_entry_survives_being_written() -> None:
    made = entry()
    assert parse_entry(made.line()) == made
    assert parse_entry(made.line()).line() == made.line()


def test_the_bytes_are_those_of_rfc_8785() -> None:
    line = entry().line()
    members = json.loads(line)
    assert line == json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert members["time"] == "2026-01-31T12:00:00.000000Z"


def test_signature_and_hash_are_what_the_format_page_says() -> None:
    """Computed here from the page alone, without the code under test."""
    made = entry()
    members = json.loads(made.line())
    event = json.dumps(members["event"], sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    header = (
        f'{{"event":"{hashlib.sha256(event).hexdigest()}","previous":"{"11" * 32}","sequence":2,'
        f'"time":"2026-01-31T12:00:00.000000Z"}}'
    )
    signed = b"cloister audit log entry 1\n" + header.encode()
    assert made.seal.signed == signed
    assert made.seal.signature == KEY.sign(signed)  # Ed25519 is deterministic
    assert made.hash == hashlib.sha256(signed + made.seal.signature).digest()
    assert signed.startswith(TAG)


def test_time_is_written_in_utc() -> None:
    east = START.astimezone(timezone(timedelta(hours=9)))
    made = sign_entry(release(), sequence=1, time=east, previous=FIRST_PREVIOUS, key=KEY)
    assert made.time == START
    assert made.time.tzinfo is UTC
    with pytest.raises(ValueError, match="zone"):
        sign_entry(release(), sequence=1, time=datetime(2026, 1, 31), previous=FIRST_PREVIOUS, key=KEY)  # noqa: DTZ001 - the point


def test_who_signed() -> None:
    made = entry()
    made.seal.verify(KEY.spki)
    with pytest.raises(SignatureInvalid):
        made.seal.verify(MALLORY.spki)
    with pytest.raises(SignatureInvalid):
        dataclasses.replace(made.seal, signature=made.seal.signature[:-1]).verify(KEY.spki)


GOOD = entry().line()
OTHER_FORMS: dict[str, bytes] = {
    "a space": GOOD.replace(b'"sequence":2', b'"sequence": 2'),
    "a space behind": GOOD + b" ",
    "a carriage return": GOOD + b"\r",
    "another order": b'{"time":' + GOOD.split(b'"time":')[1][:-1] + b"," + GOOD[1:].split(b',"time"')[0] + b"}",
    "an escape": GOOD.replace(b"payroll", b"pa\\u0079roll"),
    "a number written otherwise": GOOD.replace(b'"sequence":2', b'"sequence":2.0'),
    "a boolean for a number": GOOD.replace(b'"version":2', b'"version":true'),
    "hexadecimal in capitals": GOOD.replace(b"e0e0", b"E0E0"),
    "a time without microseconds": GOOD.replace(b"12:00:00.000000Z", b"12:00:00Z"),
    "another zone": GOOD.replace(b"12:00:00.000000Z", b"12:00:00.000000+00:00"),
    "a day that is none": GOOD.replace(b"2026-01-31", b"2026-02-31"),
    "a member more": GOOD[:-1] + b',"u":1}',
    "a member twice": GOOD[:-1] + b',"time":"2026-01-31T12:00:00.000000Z"}',
    "a member of the event more": GOOD.replace(b'"kind":', b'"aside":1,"kind":'),
    "a member of the event less": GOOD.replace(b'"request":"request-1",', b""),
    "another kind": GOOD.replace(b'"released"', b'"denied"'),
    "an unknown kind": GOOD.replace(b'"released"', b'"given"'),
    "an unknown TEE": GOOD.replace(b'"snp"', b'"sgx9"'),
    "a list for an object": b"[" + GOOD + b"]",
    "nothing": b"",
    "no JSON": b"\x00" * 40,
    "not UTF-8": GOOD.replace(b"payroll", b"p\xffyroll"),
    "number zero": GOOD.replace(b'"sequence":2', b'"sequence":0'),
    "a negative number": GOOD.replace(b'"sequence":2', b'"sequence":-2'),
    "a number that is too large": GOOD.replace(b'"sequence":2', b'"sequence":9007199254740993'),
    "a short hash": GOOD.replace(b'"previous":"11', b'"previous":"'),
    "a control character": GOOD.replace(b"payroll", b"pay\\u001broll"),
    "half a character": GOOD.replace(b"payroll", b"pay\\ud800roll"),
    "deep": b'{"event":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
}


@pytest.mark.parametrize("name", OTHER_FORMS)
def test_no_other_form_is_read(name: str) -> None:
    assert OTHER_FORMS[name] != GOOD
    with pytest.raises(ParseError):
        parse_entry(OTHER_FORMS[name])


def test_a_line_is_bounded() -> None:
    with pytest.raises(ParseError, match="shorter than"):
        parse_entry(b"{" + b" " * LONGEST_LINE + b"}")


def test_secrets_have_names_only() -> None:
    """What holds bytes is a public key, or has the length of a SHA-256."""
    assert {field.name for field in dataclasses.fields(SecretName)} == {"name", "version"}
    with pytest.raises(ValueError, match="SHA-256 has 32 bytes"):
        dataclasses.replace(release(), recipient=b"a secret of another length")
    with pytest.raises(ValueError, match="SHA-256 has 32 bytes"):
        dataclasses.replace(CPU, sha256=b"")


@pytest.mark.parametrize("name", ["", "a\nb", "a\x1b[2J", "a\u2028b", "\ud800", "x" * 257])
def test_names_are_bounded_and_have_no_control_characters(name: str) -> None:
    for make in (
        lambda: SecretName(name=name, version=1),
        lambda: SessionName(name=name, version="1", sha256=bytes(32)),
        lambda: dataclasses.replace(release(), request=name),
        lambda: dataclasses.replace(DENIED, secrets=(name,)),
    ):
        with pytest.raises(ValueError, match="characters"):
            make()


def test_events_that_say_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        dataclasses.replace(release(), secrets=())
    with pytest.raises(ValueError, match="at least one"):
        dataclasses.replace(release(), evidence=())
    with pytest.raises(ValueError, match="reason"):
        dataclasses.replace(DENIED, reason="")
    with pytest.raises(ValueError, match="code"):
        dataclasses.replace(DENIED, code="Not A Code")
    with pytest.raises(ValueError, match="evidence"):
        dataclasses.replace(DENIED, evidence=Unchecked(""))
    with pytest.raises(ValueError, match="session"):
        dataclasses.replace(DENIED, session=Unchecked(""))
    with pytest.raises(ValueError, match="version"):
        SecretName(name="a", version=0)
    with pytest.raises(ValueError, match="Ed25519"):
        LogStarted(key=b"", log=bytes(16))


def test_a_checkpoint_survives_being_written_and_has_nothing_of_the_event() -> None:
    checkpoint = Checkpoint.of(entry(), KEY.spki)
    assert parse_checkpoint(checkpoint.serialize()) == checkpoint
    assert SESSION.name.encode() not in checkpoint.serialize()
    checkpoint.verify(KEY.spki)


@pytest.mark.parametrize("old", [b'"sequence":2', b'"format":"cl', b'"key":"30', b'"time":"2026', b"{"])
def test_no_other_form_of_a_checkpoint_is_read(old: bytes) -> None:
    good = Checkpoint.of(entry(), KEY.spki).serialize()
    for new in (old + b" ", old.replace(b'"', b"'"), b""):
        with pytest.raises(ParseError):
            parse_checkpoint(good.replace(old, new, 1) if new != old else good + b"x")
