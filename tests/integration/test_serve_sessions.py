"""Sessions in the service: put into effect, provisioned to the attested program, replaced, approved, revoked."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.services.key_broker import Desk, desk

from cloister.broker.audit import Released, SessionChanged
from cloister.broker.session.approval import approval_json, sign_approval
from cloister.broker.session.canonical import session_hash
from cloister.broker.session.read import parse_session
from cloister.result.algorithms import Algorithm
from cloister.result.signing import SigningKey
from cloister.serve.first_start import public_pem

NAME = "team/shop"
SALT = "00112233445566778899aabbccddeeff"


@pytest.fixture
def at_desk(tmp_path: Path) -> Iterator[Desk]:
    with desk(tmp_path) as made:
        yield made


def text(at: Desk, *, measurement: str = "", extra: str = "", predecessor: str = "", value: str = "given-value") -> str:
    before = f'predecessor: "{predecessor}"\n' if predecessor else ""
    return f"""\
name: {NAME}
version: "1"
salt: "{SALT}"
{before}services:
  - name: web
    command: "serve --token $$SCONE::token$$"
    environment:
      PASSWORD: "$$SCONE::password$$"
    injection_files:
      - path: /run/key
        content: "$$SCONE::key:hex$$"
    attestation:
      - tee: software
        measurement: "{measurement or at.attester.measurement}"
        anchors: [software]
secrets:
  - name: token
    kind: ascii
    value: "{value}"
  - name: password
    kind: ascii
    generate: {{ size: 20 }}
  - name: key
    kind: aes-key
    generate: {{ algorithm: AES-256 }}
{extra}"""


def put(at: Desk, session: str, *approvals: str, name: str = NAME) -> httpx.Response:
    body = {"session": session, "approvals": [json.loads(one) for one in approvals]}
    return at.admin("PUT", f"sessions/{name}", json=body)


def provisioned(at: Desk, service: str = "web", name: str = NAME) -> httpx.Response:
    return at.client.get(f"/cloister/v1/provision/{service}/{name}")


def opened(at: Desk, response: httpx.Response) -> Any:
    assert response.status_code == 200, response.text
    return json.loads(at.attester.open(response.json()))


def decoded(value: str) -> bytes:
    return base64.b64decode(value)


def test_a_service_gets_what_its_session_says(at_desk: Desk) -> None:
    made = put(at_desk, text(at_desk))
    assert made.status_code == 201, made.text
    at_desk.attest()
    found = opened(at_desk, provisioned(at_desk))
    assert [decoded(one) for one in found["command"]] == [b"serve", b"--token", b"given-value"]
    assert len(decoded(found["environment"]["PASSWORD"])) == 20
    assert len(bytes.fromhex(decoded(found["files"]["/run/key"]).decode())) == 32
    assert opened(at_desk, provisioned(at_desk)) == found
    events = [entry.event for entry in at_desk.service.audit.entries()]
    given = next(one for one in events if isinstance(one, Released))
    assert given.session.name == NAME
    assert given.session.sha256.hex() == made.json()["sha256"]
    assert [one.name for one in given.secrets] == ["key", "password", "token"]
    assert [one.change for one in events if isinstance(one, SessionChanged)] == ["created"]


def test_the_only_service_may_be_asked_for_without_its_name(at_desk: Desk) -> None:
    put(at_desk, text(at_desk))
    at_desk.attest()
    assert opened(at_desk, provisioned(at_desk, "-")) == opened(at_desk, provisioned(at_desk))
    two = (
        text(at_desk)
        .replace("name: team/shop", "name: two")
        .replace(
            "secrets:\n  - name: token",
            f"""\
  - name: other
    attestation: [{{ tee: software, measurement: "{"ab" * 32}", anchors: [software] }}]
secrets:
  - name: token""",
        )
    )
    assert put(at_desk, two, name="two").status_code == 201
    refused = provisioned(at_desk, "-", "two")
    assert refused.status_code == 403
    assert "several services" in refused.json()["detail"]
    assert provisioned(at_desk, "web", "two").status_code == 200
    assert provisioned(at_desk, "other", "two").status_code == 403
    assert put(at_desk, "name: none\nversion: '1'\n", name="none").status_code == 201
    assert provisioned(at_desk, "-", "none").status_code == 403


def test_without_its_name_too_a_service_is_who_attests(at_desk: Desk) -> None:
    put(at_desk, text(at_desk, measurement="ab" * 32))
    assert provisioned(at_desk, "-").status_code == 401
    at_desk.attest()
    assert provisioned(at_desk, "-").status_code == 403


def test_who_is_not_named_gets_nothing(at_desk: Desk) -> None:
    put(at_desk, text(at_desk, measurement="ab" * 32))
    assert provisioned(at_desk).status_code == 401
    at_desk.attest()
    assert provisioned(at_desk).status_code == 403
    assert provisioned(at_desk, "other").status_code == 403
    assert provisioned(at_desk, name="team/none").status_code == 404
    assert provisioned(at_desk, name="team/%0a").status_code == 400
    assert not any(isinstance(entry.event, Released) for entry in at_desk.service.audit.entries())


def test_an_update_names_what_it_replaces_and_keeps_what_was_made(at_desk: Desk) -> None:
    first = put(at_desk, text(at_desk)).json()
    at_desk.attest()
    before = opened(at_desk, provisioned(at_desk))
    refused = put(at_desk, text(at_desk, value="new-value"))
    assert refused.status_code == 400
    assert first["sha256"] in refused.json()["detail"]
    second = put(at_desk, text(at_desk, value="new-value", predecessor=first["sha256"]))
    assert second.json()["number"] == 2
    after = opened(at_desk, provisioned(at_desk))
    assert decoded(after["command"][2]) == b"new-value"
    assert after["environment"] == before["environment"]
    assert after["files"] == before["files"]


def test_owners_must_agree_before_an_update_takes_effect(at_desk: Desk) -> None:
    keys = [SigningKey.generate(Algorithm.EDDSA) for _ in range(3)]
    pems = (public_pem(key.spki).decode().strip().replace("\n", "\n        ") for key in keys)
    owners = "".join(f"    - name: owner-{n}\n      key: |\n        {pem}\n" for n, pem in enumerate(pems))
    approvals = f"approvals:\n  threshold: 2\n  owners:\n{owners}"
    first = text(at_desk, extra=approvals)
    session = parse_session(first.encode(), "x.yaml")
    signed = [approval_json(sign_approval(session, key)) for key in keys]
    assert put(at_desk, first, signed[0]).status_code == 403
    assert put(at_desk, first, signed[0], signed[0]).status_code == 403
    assert put(at_desk, first, signed[0], signed[2]).status_code == 201
    update = text(at_desk, value="other", predecessor=session_hash(session))
    assert put(at_desk, update).status_code == 403
    assert put(at_desk, update, signed[0], signed[1]).status_code == 401
    newer = parse_session(update.encode(), "x.yaml")
    agreed = [approval_json(sign_approval(newer, key)) for key in keys[:2]]
    assert put(at_desk, update, *agreed).status_code == 201


def test_a_session_ends(at_desk: Desk) -> None:
    put(at_desk, text(at_desk))
    at_desk.attest()
    assert provisioned(at_desk).status_code == 200
    assert at_desk.admin("DELETE", f"sessions/{NAME}").status_code == 200
    assert provisioned(at_desk).status_code == 403
    assert put(at_desk, text(at_desk)).status_code == 403
    assert "revoked" in at_desk.admin("GET", "sessions").json()["sessions"][0]


def test_an_import_comes_from_the_session_that_exports_it(at_desk: Desk) -> None:
    head = f'name: keys\nversion: "1"\nsalt: "{SALT}"\n'
    exporter = f'{head}secrets:\n  - name: shared\n    kind: ascii\n    value: "from-elsewhere"\n'
    importer = text(at_desk).replace('    value: "given-value"\n', "    import: { session: keys, secret: shared }\n")
    assert put(at_desk, importer).status_code == 201
    at_desk.attest()
    assert provisioned(at_desk).status_code == 404
    exported = exporter + f"    export:\n      - session: {NAME}\n"
    assert put(at_desk, exported, name="keys").status_code == 201
    assert decoded(opened(at_desk, provisioned(at_desk))["command"][2]) == b"from-elsewhere"
    held = session_hash(parse_session(exported.encode(), "keys.yaml"))
    closed = exporter.replace(head, f'{head}predecessor: "{held}"\n')
    replaced = put(at_desk, closed, name="keys")
    assert replaced.status_code == 201, replaced.text
    assert provisioned(at_desk).status_code == 403


@pytest.mark.parametrize(
    "session", ["", "name: x", "name: team/other\nversion: '1'\n", "&a [*a]", "name: team/shop\n" * 2]
)
def test_what_is_no_session_of_that_name_is_malformed(at_desk: Desk, session: str) -> None:
    assert put(at_desk, session).status_code == 400


def test_no_value_of_a_session_is_in_the_database_or_the_logs(at_desk: Desk) -> None:
    put(at_desk, text(at_desk, value="planted-secret-value"))
    at_desk.attest()
    found = opened(at_desk, provisioned(at_desk))
    state = at_desk.service.settings.state
    everything = b"".join(file.read_bytes() for file in state.iterdir()) + at_desk.log.getvalue().encode()
    for value in (
        b"planted-secret-value",
        decoded(found["environment"]["PASSWORD"]),
        decoded(found["files"]["/run/key"]),
    ):
        assert value not in everything
        assert base64.b64encode(value) not in everything
