"""Attacks on session files: what they do to the reader, and secrets that get into the open."""

import hashlib
import hmac
import json
import logging
import resource
import time
import traceback
from typing import Any

import pytest
from tests.forge.sessions import (
    MEASUREMENT,
    OTHER,
    document,
    session,
    text,
)

from cloister.broker.session.canonical import canonical_form, session_hash
from cloister.broker.session.difference import differences
from cloister.broker.session.provision import provision
from cloister.broker.session.read import parse_session
from cloister.broker.session.secret_value import SecretValue
from cloister.broker.session.session import Session
from cloister.cli._session_text import described
from cloister.errors import PolicyError

PLANTED = "plantedsecretvalue"


def refusal(data: bytes) -> str:
    with pytest.raises(PolicyError) as caught:
        parse_session(data, "s.yaml")
    return str(caught.value)


# ------------------------------------------------------------------------------------------------- hostile files


def test_the_control_this_session_is_read() -> None:
    assert parse_session(text(document()), "s.yaml").name == "team/app"


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
BOMBS = {
    "a billion laughs": LAUGHS,
    "lists in lists": "[" * 100_000,
    "mappings in mappings": "{a: " * 30_000,
    "indented lists": "- " * 60_000,
    "complex keys": "? " * 60_000,
    "very many items": "- a\n" * 32_000,
    "very many keys": "".join(f"k{n}: v\n" for n in range(14_000)),
    "a long word": "a: " + "x" * 130_000,
    "a long quoted word": 'a: "' + "x " * 60_000 + '"',
    "an open quotation": "a: '" + "x\n" * 60_000,
    "an open flow": "a: [" + "x,\n" * 40_000,
    "blanks": "a:" + " " * 130_000 + "b",
    "line breaks": "\n" * 130_000,
    "comments": "#\n" * 65_000,
    "tags": "a: " + "!" * 130_000,
    "anchors": "&a " * 40_000,
    "a block scalar": "a: |\n" + " x\n" * 43_000,
    "a folded scalar": "a: >\n" + " x\n\n" * 30_000,
    "escapes": 'a: "' + r"\x41" * 30_000 + '"',
    "references": f'name: a\nversion: "1"\nservices: [{{name: a, attestation: [], pwd: "{"$$SCONE::" * 12_000}"}}]',
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_in_bounded_time_and_memory(bomb: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    assert refusal(bomb.encode())
    assert time.process_time() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 128 << 10  # KiB


def test_a_file_that_is_too_long_is_not_read() -> None:
    start = time.process_time()
    assert "at most" in refusal(b"[" * (50 << 20))
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch /tmp/cloister-owned']",
        "!!python/name:os.system",
        "!!python/object/new:os",
    ],
)
def test_no_tag_makes_anything(tag: str) -> None:
    assert "tag" in refusal(f"name: {tag}\n".encode())


@pytest.mark.parametrize("word", ["no", "off", "1:20", "010", "0x10", "1_000", "1e3", "~", "2026-01-31", "null", "y"])
def test_what_two_readers_read_differently_is_refused(word: str) -> None:
    """The reviewer's editor and the broker must see one session."""
    made = text(document()).replace(b'"production"', word.encode())
    assert "double quotes" in refusal(made)


def test_a_key_that_stands_twice_cannot_hide_the_first() -> None:
    made = text(document()).decode()
    first = f'"measurement": "{MEASUREMENT}"'
    for other in (f'"measurement": "{OTHER}"', f'"\\x6deasurement": "{OTHER}"'):
        assert "stands twice" in refusal(made.replace(first, f"{first}, {other}").encode())


@pytest.mark.parametrize("character", ["\u202e", "\u2066", "\u200b", "\ufeff", "\u2028", "\x85", "\x1b", "\u061c"])
def test_text_that_shows_reviewers_something_else(character: str) -> None:
    made = text(document()).decode().replace("production", f"produ{character}ction")
    assert "cannot see" in refusal(made.encode()) or "U+" in refusal(made.encode())


# ------------------------------------------------------------------------------------------------- secrets in the open

SPOILED: list[tuple[str, dict[str, Any]]] = [
    ("unknown key", {"name": "s", "kind": "ascii", "value": PLANTED, "more": PLANTED}),
    ("wrong kind", {"name": "s", "kind": PLANTED, "value": PLANTED}),
    ("no AES key", {"name": "s", "kind": "aes-key", "value": PLANTED}),
    ("no base64", {"name": "s", "kind": "binary", "value": f"base64:{PLANTED}!"}),
    ("no hex", {"name": "s", "kind": "binary", "value": f"hex:{PLANTED}"}),
    ("no key", {"name": "s", "kind": "private-key", "value": f"-----BEGIN PRIVATE KEY-----\n{PLANTED}\n"}),
    ("no certificate", {"name": "s", "kind": "x509", "value": PLANTED}),
    ("no ASCII", {"name": "s", "kind": "ascii", "value": f"{PLANTED}é"}),
    ("half a reference", {"name": "s", "kind": "ascii", "value": f"{PLANTED}$$SCONE::"}),
    ("two origins", {"name": "s", "kind": "ascii", "value": PLANTED, "generate": {}}),
    ("a list", {"name": "s", "kind": "ascii", "value": [PLANTED]}),
    ("too long", {"name": "s", "kind": "ascii", "value": PLANTED * 1000}),
    ("in the wrong place", {"name": PLANTED + " ", "kind": "ascii", "generate": {}}),
    ("as a size", {"name": "s", "kind": "ascii", "generate": {"size": PLANTED}}),
    ("as a hash", {"name": "s", "kind": "ascii", "import": {"session": "b", "secret": "s", "session_hash": PLANTED}}),
]


@pytest.mark.parametrize("entry", [entry for _, entry in SPOILED], ids=[name for name, _ in SPOILED])
def test_no_error_quotes_a_value(entry: dict[str, Any]) -> None:
    made = document()
    made["secrets"].append(entry)
    with pytest.raises(PolicyError) as caught:
        session(made)
    assert PLANTED not in str(caught.value)
    assert PLANTED not in "".join(traceback.format_exception_only(caught.value))


@pytest.mark.parametrize("spoil", ["'", '"', " [", "\t", "\n  b", "{", ": :", "%", "`"])
def test_no_error_about_yaml_quotes_what_it_cannot_read(spoil: str) -> None:
    assert PLANTED not in refusal(f"name: app\nvalue: {spoil}{PLANTED}{spoil}: [\n!{PLANTED}!x y".encode())
    assert PLANTED not in refusal(f"name: !{PLANTED}!x y".encode())
    assert PLANTED not in refusal(f"name: @{PLANTED}".encode())


def with_planted() -> Session:
    made = document()
    made["secrets"][1]["value"] = PLANTED
    made["secrets"].append({"name": "url", "kind": "ascii", "value": "db:$$SCONE::pin$$/" + PLANTED[::-1]})
    return session(made)


def test_nothing_that_shows_a_session_shows_a_value(caplog: pytest.LogCaptureFixture) -> None:
    read = with_planted()
    logging.getLogger("a").warning("%r %s", read, [read.values])
    provided = provision(read, read.services[0], {"token": SecretValue(PLANTED.encode())})
    changes = differences(session(), read)
    everything = "\n".join([
        repr(read), str(read), repr(read.values), repr(read.salt), canonical_form(read).decode(), *described(read),
        caplog.text, repr(provided), *(one.text for one in changes), repr(SecretValue(PLANTED.encode()).__reduce_ex__),
        repr(vars(read)),
    ])  # fmt: skip
    assert PLANTED not in everything
    assert PLANTED[::-1] not in everything


def test_the_identity_is_no_oracle_for_guesses() -> None:
    """All that is public of a session with a weak value gives no means to try values."""
    made = document()
    made["secrets"][1]["value"] = "hunter2"
    form = canonical_form(session(made)).decode()
    commitment = next(one for one in json.loads(form)["secrets"] if one["name"] == "pin")["origin"]["commitment"]
    assert made["salt"] not in form
    message = b"cloister session secret 1\0pin\0ascii\0hunter2"
    guesses = [hashlib.sha256(message).hexdigest()]
    guesses += [
        hmac.digest(key, message, "sha256").hex() for key in (b"", b"\0" * 16, bytes.fromhex(session_hash(session())))
    ]
    assert commitment not in guesses
    assert commitment == hmac.digest(bytes.fromhex(made["salt"]), message, "sha256").hex(), "the control: with the salt"


@pytest.mark.parametrize(
    "place",
    [
        {"pwd": "/srv/$$SCONE::pin$$"},
        {"command": ["/bin/$$SCONE::pin$$"]},
        {"injection_files": [{"path": "/$$SCONE::pin$$", "content": ""}]},
        {"environment": {"$$SCONE::pin$$": "x"}},
        {"name": "$$SCONE::pin$$"},
        {"attestation": [{"tee": "sgx", "measurement": MEASUREMENT, "claims": {"configid": "$$SCONE::pin$$"}}]},
        {"attestation": [{"tee": "sgx", "measurement": "$$SCONE::pin$$"}]},
    ],
    ids=lambda place: next(iter(place)),
)
def test_a_secret_has_no_place_where_the_host_sees_it(place: dict[str, Any]) -> None:
    made = document()
    made["services"][0] |= place
    assert refusal(text(made))


@pytest.mark.parametrize("spelled", ["$$SCONE::pin$$", "$$CLOISTER::pin:hex$$", "$$scone::pin$$", "$$SCONE ::pin$$"])
def test_a_secret_has_no_place_in_a_certificate(spelled: str) -> None:
    made = document()
    made["secrets"].append({"name": "c", "kind": "x509", "generate": {"common_name": spelled}})
    assert "no place here" in refusal(text(made))


@pytest.mark.parametrize(
    "place",
    [
        {"pwd": f"/{PLANTED}"},
        {"environment": {"MODE": f"a{PLANTED}b"}},
        {"environment": {PLANTED: "x"}},
        {"command": ["server", PLANTED]},
        {"injection_files": [{"path": f"/{PLANTED}", "content": ""}]},
        {"injection_files": [{"path": "/a", "content": f"password={PLANTED}"}]},
        {"name": PLANTED},
    ],
    ids=lambda place: next(iter(place)),
)
def test_a_value_that_also_stands_in_the_open(place: dict[str, Any]) -> None:
    made = document()
    made["services"][0] |= place
    made["secrets"][1]["value"] = PLANTED
    message = refusal(text(made))
    assert "in the open" in message
    assert PLANTED not in message


def test_digits_of_a_key_that_also_stand_in_the_open() -> None:
    key = "0123456789abcdef" * 4
    made = document()
    made["secrets"][1] = {"name": "pin", "kind": "aes-key", "value": f"hex:{key}"}
    made["services"][0]["environment"] = {"KEY": key}
    assert "in the open" in refusal(text(made))


def test_a_value_cannot_ask_for_other_secrets() -> None:
    """Whoever chooses one secret (an exporter, a user) does not read the others by it."""
    read = session()
    hostile = SecretValue(b"$$SCONE::pin$$")
    got = provision(read, read.services[0], {"token": hostile})
    assert got.command[2].reveal() == b"$$SCONE::pin$$"
