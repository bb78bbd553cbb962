"""A session's identity: the same for the same meaning, another for any other, and telling nothing of secrets."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.forge.sessions import MEASUREMENT, OTHER, document, public_pem, session

from cloister.broker.session.canonical import canonical_form, session_hash
from cloister.broker.session.read import parse_session
from cloister.result.signing import SigningKey

ALICE, BOB = SigningKey.generate(), SigningKey.generate()
PUBLISHED = """\
name: team/app
version: "1"
salt: "000102030405060708090a0b0c0d0e0f"
services:
  - name: web
    attestation:
      - tee: sgx
        measurement: "abababababababababababababababababababababababababababababababab"
    environment: { PIN: "$$SCONE::pin$$" }
secrets:
  - { name: pin, kind: ascii, value: "1234" }
"""
"""The example of docs/formats/session.md."""


def owners(*keys: SigningKey, threshold: int = 1) -> dict[str, Any]:
    people = [{"name": f"owner{number}", "key": public_pem(key)} for number, key in enumerate(keys)]
    return {"threshold": threshold, "owners": people}


def test_the_published_example() -> None:
    made = parse_session(PUBLISHED.encode(), "x")
    assert session_hash(made) == "33d75f620cd05185880ffdbccdbdedbab7b9556beeb34ab718fa23506c60db3d"
    assert session_hash(made) == hashlib.sha256(canonical_form(made)).hexdigest()


def test_the_form_is_the_one_spelling_of_its_document() -> None:
    form = canonical_form(session())
    again = json.dumps(json.loads(form), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert form == again


def respelled(spell: Callable[[dict[str, Any]], None]) -> str:
    made = document()
    spell(made)
    return session_hash(session(made))


def two_rules(*measurements: str) -> str:
    def change(made: dict[str, Any]) -> None:
        made["services"][0]["attestation"] = [{"tee": "sgx", "measurement": one} for one in measurements]

    return respelled(change)


def test_spelling_and_order_do_not_matter() -> None:
    same = session_hash(session())
    assert respelled(lambda made: made["secrets"].reverse()) == same
    assert respelled(lambda made: made.update(access_policy={"read": ["CREATOR"], "update": ["CREATOR"]})) == same
    assert respelled(lambda made: made["secrets"][0].update(generate={"size": 24})) == same

    def upper(made: dict[str, Any]) -> None:
        made["services"][0]["attestation"][0]["measurement"] = [MEASUREMENT.upper()]

    assert respelled(upper) == same
    assert two_rules(MEASUREMENT, OTHER) == two_rules(OTHER, MEASUREMENT)


def test_comments_and_layout_do_not_matter() -> None:
    commented = PUBLISHED.replace("services:", "# a comment\nservices:").replace("{ PIN: ", "{   PIN:   ")
    assert session_hash(parse_session(commented.encode(), "y")) == session_hash(parse_session(PUBLISHED.encode(), "x"))


@pytest.mark.parametrize(
    "change",
    [
        {"name": "team/other"},
        {"predecessor": "00" * 32},
        {"salt": "ff" * 16},
        {"access_policy": {"read": ["ANY"]}},
        {"access_policy": {"update": ["NONE"]}},
        {"approvals": owners(ALICE)},
        {"verifiers": owners(ALICE)["owners"]},
        {"services": []},
        {"secrets": document()["secrets"][:2]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_member_matters(change: dict[str, Any]) -> None:
    made = document() | change
    made = {key: value for key, value in made.items() if value}
    assert session_hash(session(made)) != session_hash(session())


@pytest.mark.parametrize(
    "change",
    [
        {"command": ["server"]},
        {"environment": {"MODE": "test"}},
        {"pwd": "/"},
        {"injection_files": [{"path": "/a", "content": ""}]},
        {"secrets": ["unshared", "pin"]},
        {"attestation": [{"tee": "sgx", "measurement": OTHER}]},
        *(
            {"attestation": [{"tee": "sgx", "measurement": MEASUREMENT, **more}]}
            for more in (
                {"signer": OTHER, "product": 1, "minimum_security_version": 1},
                {"minimum_security_version": 1},
                {"tolerate": ["OutOfDate"]},
                {"tolerate": ["OutOfDate"], "ignore_advisories": ["INTEL-SA-1"]},
                {"claims": {"configid": "00"}},
                {"anchors": ["owner"]},
                {"unsafe_allow_debug": True},
                {"unsafe_accept_testing": True},
            )
        ),
    ],
    ids=str,
)
def test_every_key_of_a_service_matters(change: dict[str, Any]) -> None:
    made = document()
    made["services"][0] |= change
    assert session_hash(session(made)) != session_hash(session())


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "binary"},
        {"generate": {"size": 25}},
        {"export": ["other"]},
        {"export": [{"session": "other", "session_hash": "00" * 32}]},
        {"generate": None, "import": {"session": "other", "secret": "x"}},
        {"generate": None, "import": {"session": "other", "secret": "x", "session_hash": "00" * 32}},
        {"generate": None, "value": "a value"},
    ],
    ids=str,
)
def test_every_key_of_a_secret_matters(change: dict[str, Any]) -> None:
    hashes = set()
    for more in ({}, change):
        made = document()
        made["services"][0]["command"] = ["server"]
        made["secrets"][0] = {key: value for key, value in (made["secrets"][0] | more).items() if value is not None}
        hashes.add(session_hash(session(made)))
    assert len(hashes) == 2


def test_values_are_covered_and_not_shown() -> None:
    made = document()
    made["secrets"][1]["value"] = "correct horsf"
    assert session_hash(session(made)) != session_hash(session())
    assert b"correct" not in canonical_form(session())


def test_nobody_can_try_guesses_without_the_salt() -> None:
    """Two sessions with one value have nothing in common that could be compared."""
    forms = [json.loads(canonical_form(session(salt=salt))) for salt in ("00" * 16, "11" * 16)]
    first, second = (next(one for one in form["secrets"] if one["name"] == "pin")["origin"] for form in forms)
    assert first["commitment"] != second["commitment"]
