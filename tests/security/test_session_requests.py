"""Who may read and change a session at a broker: signed requests, and what somebody on the way can do with them."""

import base64
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.services.key_broker import Clock, Desk, desk
from tests.services.session_owner import Owner

from cloister.broker.audit import SessionChanged
from cloister.broker.nonces import Purpose
from cloister.broker.session.canonical import session_hash
from cloister.broker.session.read import parse_session
from cloister.result.algorithms import Algorithm
from cloister.result.signing import SigningKey

NAME = "team/shop"
SALT = "00112233445566778899aabbccddeeff"
PATH = f"/admin/v1/sessions/{NAME}"
VALUE = "planted-secret-value"


def session(*, extra: str = "", predecessor: str = "", value: str = VALUE) -> str:
    before = f'predecessor: "{predecessor}"\n' if predecessor else ""
    return (
        f'name: {NAME}\nversion: "1"\nsalt: "{SALT}"\n{before}secrets:\n'
        f'  - {{ name: token, kind: ascii, value: "{value}" }}\n'
        f"  - {{ name: made, kind: ascii, generate: {{}} }}\n{extra}"
    )


def identity(text: str) -> str:
    return session_hash(parse_session(text.encode(), "x"))


@pytest.fixture
def at_desk(tmp_path: Path) -> Iterator[Desk]:
    with desk(tmp_path) as made:
        yield made


@pytest.fixture
def creator(at_desk: Desk) -> Owner:
    """Whose session it is: made together with the administrator."""
    made = Owner(at_desk)
    first = made.put(NAME, session(), token=at_desk.token)
    assert first.status_code == 201, first.text
    assert first.json()["creator"] == made.fingerprint
    return made


def update(extra: str = "") -> str:
    return session(predecessor=identity(session()), value="other-value", extra=extra)


# ---- the control


@pytest.mark.parametrize("algorithm", Algorithm)
def test_the_control_the_creator_reads_and_updates(at_desk: Desk, algorithm: Algorithm) -> None:
    creator = Owner(at_desk, SigningKey.generate(algorithm))
    assert creator.put(NAME, session(), token=at_desk.token).status_code == 201
    shown = creator.ask("GET", NAME)
    assert shown.status_code == 200
    assert shown.json()["sha256"] == identity(session())
    assert VALUE not in shown.text
    assert creator.put(NAME, update()).status_code == 201
    assert creator.ask("POST", NAME, {"rotate": ["made"]}).status_code == 200
    assert creator.ask("DELETE", NAME).status_code == 200


# ---- on the way


def test_a_signed_request_counts_once(at_desk: Desk, creator: Owner) -> None:
    body = json.dumps({"session": update()}).encode()
    headers = {"cloister-signature": creator.header("PUT", PATH, body)}
    assert at_desk.client.put(PATH, content=body, headers=headers).status_code == 201
    again = at_desk.client.put(PATH, content=body, headers=headers)
    assert again.status_code == 401
    assert "sent before" in again.json()["detail"]
    rotation = json.dumps({"rotate": ["made"]}).encode()
    headers = {"cloister-signature": creator.header("POST", PATH, rotation)}
    codes = [at_desk.client.post(PATH, content=rotation, headers=headers).status_code for _ in range(3)]
    assert codes == [200, 401, 401]


def test_reading_counts_once_too(at_desk: Desk, creator: Owner) -> None:
    headers = {"cloister-signature": creator.header("GET", PATH)}
    assert [at_desk.client.get(PATH, headers=headers).status_code for _ in range(2)] == [200, 401]


def test_what_was_signed_is_what_is_done(at_desk: Desk, creator: Owner) -> None:
    """Another body, path, query or method under the same signature."""
    good = json.dumps({"session": update()}).encode()
    evil = json.dumps({"session": update(extra='access_policy: { read: ["ANY"] }\n')}).encode()

    def sent(method: str, target: str, body: bytes) -> int:
        headers = {"cloister-signature": creator.header("PUT", PATH, good)}
        return at_desk.client.request(method, target, content=body, headers=headers).status_code

    assert sent("PUT", PATH, evil) == 401
    assert sent("PUT", PATH, good + b" ") == 401
    assert sent("PUT", f"{PATH}?x=1", good) == 401
    assert sent("PUT", "/admin/v1/sessions/team/other", good) == 401
    assert sent("PUT", "/admin/v1/sessions/team%2Fshop", good) == 401
    assert sent("DELETE", PATH, good) == 401
    assert sent("POST", PATH, good) == 401
    assert sent("PUT", PATH, good) == 201


def test_every_changed_character_of_the_header_is_noticed(at_desk: Desk, creator: Owner) -> None:
    header = creator.header("GET", PATH)
    for at in range(0, len(header), 7):
        changed = header[:at] + ("A" if header[at] != "A" else "B") + header[at + 1 :]
        assert at_desk.client.get(PATH, headers={"cloister-signature": changed}).status_code == 401
    for broken in ("", "x", "e30", "W10", "A" * 9000, header + "=", header[:-4], header.upper()):
        assert at_desk.client.get(PATH, headers={"cloister-signature": broken}).status_code == 401
    assert at_desk.client.get(PATH, headers={"cloister-signature": header}).status_code == 200


@pytest.mark.parametrize(
    "members", [{"challenge": None}, {"key": "AAAA"}, {"signature": ""}, {"more": "x"}, {"server": 1}]
)
def test_members_that_are_none(at_desk: Desk, creator: Owner, members: dict[str, Any]) -> None:
    header = creator.header("GET", PATH)
    said = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))) | members
    text = base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")
    assert at_desk.client.get(PATH, headers={"cloister-signature": text}).status_code == 401


def test_a_signature_for_another_purpose_is_none(at_desk: Desk, creator: Owner) -> None:
    for context in (b"", b"cloister session approval 1\0", b"cloister session request 1"):
        header = creator.header("GET", PATH, context=context)
        assert at_desk.client.get(PATH, headers={"cloister-signature": header}).status_code == 401


def test_a_challenge_of_another_protocol_or_broker_is_none(at_desk: Desk, creator: Owner, tmp_path: Path) -> None:
    challenges = at_desk.service._challenges
    (tmp_path / "other").mkdir()
    with desk(tmp_path / "other", at_desk.attester) as other:
        foreign = Owner(other).challenge()
    for challenge in (challenges.issue(Purpose.KBS, tee="snp").text, challenges.issue(Purpose.VERAISON).text, foreign):
        header = creator.header("GET", PATH, challenge=challenge)
        assert at_desk.client.get(PATH, headers={"cloister-signature": header}).status_code == 401
    asked = at_desk.client.cookies
    asked.set("kbs-session-id", creator.challenge())
    assert at_desk.client.post("/kbs/v0/attest", json={}).status_code == 401


def test_a_challenge_expires(tmp_path: Path) -> None:
    clock = Clock()
    with desk(tmp_path, clock=clock) as at:
        creator = Owner(at)
        assert creator.put(NAME, session(), token=at.token).status_code == 201
        header = creator.header("GET", PATH)
        clock.forward(minutes=5)
        late = at.client.get(PATH, headers={"cloister-signature": header})
        assert late.status_code == 401
        assert "expired" in late.json()["detail"]


def test_a_request_to_one_server_cannot_be_passed_on_to_another(tmp_path: Path) -> None:
    """A server in the middle shows its own certificate; what is signed for it names that one."""
    with desk(tmp_path, certificate="ab" * 32) as at:
        creator = Owner(at, certificate="ab" * 32)
        assert creator.put(NAME, session(), token=at.token).status_code == 201
        deceived = Owner(at, creator.key, certificate="cd" * 32).ask("GET", NAME)
        assert deceived.status_code == 401
        assert "another certificate" in deceived.json()["detail"]
        assert Owner(at, creator.key).ask("GET", NAME).status_code == 401
        assert creator.ask("GET", NAME).status_code == 200


# ---- who may


def test_strangers_learn_and_change_nothing(at_desk: Desk, creator: Owner) -> None:
    stranger = Owner(at_desk)
    held = at_desk.service.shelf.current(NAME)
    for method, body in (
        ("GET", None), ("PUT", {"session": update()}), ("POST", {"rotate": ["made"]}), ("DELETE", None),
    ):  # fmt: skip
        there, nowhere = (stranger.ask(method, name, body) for name in (NAME, "team/none"))
        assert there.status_code == nowhere.status_code == 403
        assert there.json()["detail"] == nowhere.json()["detail"]
        silent = at_desk.client.request(method, PATH, json=body)
        assert silent.status_code == 401
    assert at_desk.service.shelf.current(NAME).number == held.number
    assert stranger.ask("GET").status_code == 401  # the list
    assert creator.ask("GET").status_code == 401


def test_strangers_make_no_sessions(at_desk: Desk) -> None:
    stranger = Owner(at_desk)
    assert stranger.put(NAME, session()).status_code == 403
    assert stranger.put(NAME, session(), token="x" * 43).status_code == 401
    assert at_desk.admin("GET", "sessions").json()["sessions"] == []


def test_strangers_use_up_no_room(at_desk: Desk, creator: Owner) -> None:
    """A key costs nothing: what strangers sign is not remembered."""

    def remembered() -> int:
        with sqlite3.connect(at_desk.service.settings.state / "broker.db") as database:
            return int(database.execute("SELECT count(*) FROM answered").fetchone()[0])

    before = remembered()
    for _ in range(5):
        assert Owner(at_desk).ask("GET", NAME).status_code == 403
    assert remembered() == before
    assert creator.ask("GET", NAME).status_code == 200
    assert remembered() == before + 1


def test_the_administrator_is_not_the_creator_of_what_somebody_else_made(at_desk: Desk, creator: Owner) -> None:
    assert at_desk.admin("GET", f"sessions/{NAME}").status_code == 403
    assert at_desk.admin("PUT", f"sessions/{NAME}", json={"session": update()}).status_code == 403
    assert at_desk.admin("POST", f"sessions/{NAME}", json={"rotate": ["made"]}).status_code == 403
    assert creator.put(NAME, update()).status_code == 201
    assert at_desk.admin("DELETE", f"sessions/{NAME}").status_code == 200  # whose broker it is can end everything


def test_a_creator_is_no_creator_of_other_sessions(at_desk: Desk, creator: Owner) -> None:
    second = Owner(at_desk)
    other = session().replace(NAME, "team/other")
    assert second.put("team/other", other, token=at_desk.token).status_code == 201
    assert creator.ask("GET", "team/other").status_code == 403
    assert second.ask("GET", NAME).status_code == 403


def test_an_update_does_not_change_who_the_creator_is(at_desk: Desk) -> None:
    first, second = Owner(at_desk), Owner(at_desk)
    policy = f"access_policy:\n  read: [CREATOR]\n  update: [CREATOR, {second.fingerprint}]\n"
    start = session(extra=policy)
    assert first.put(NAME, start, token=at_desk.token).status_code == 201
    following = session(predecessor=identity(start))
    assert second.put(NAME, following).status_code == 201
    assert second.ask("GET", NAME).status_code == 403
    assert first.ask("GET", NAME).json()["creator"] == first.fingerprint


@pytest.mark.parametrize(
    ("read", "codes"),
    [
        ("ANY", (200, 200, 200)),
        ("NONE", (401, 403, 403)),
        ("CREATOR", (401, 403, 200)),
        ("{stranger}", (401, 200, 403)),
    ],
)
def test_who_may_read(at_desk: Desk, read: str, codes: tuple[int, int, int]) -> None:
    creator, stranger = Owner(at_desk), Owner(at_desk)
    who = read.format(stranger=stranger.fingerprint)
    start = session(extra=f'access_policy: {{ read: ["{who}"] }}\n')
    assert creator.put(NAME, start, token=at_desk.token).status_code == 201
    found = (at_desk.client.get(PATH), stranger.ask("GET", NAME), creator.ask("GET", NAME))
    assert tuple(one.status_code for one in found) == codes
    assert all(VALUE not in one.text for one in found)


def test_a_session_that_nobody_may_update(at_desk: Desk) -> None:
    creator = Owner(at_desk)
    start = session(extra='access_policy: { update: ["NONE"] }\n')
    assert creator.put(NAME, start, token=at_desk.token).status_code == 201
    following = session(predecessor=identity(start))
    assert creator.put(NAME, following).status_code == 403
    assert creator.put(NAME, following, token=at_desk.token).status_code == 403
    assert creator.ask("DELETE", NAME).status_code == 403


def test_who_may_propose_still_needs_the_owners(at_desk: Desk) -> None:
    owner, creator = SigningKey.generate(Algorithm.EDDSA), Owner(at_desk)
    body = base64.b64encode(owner.spki).decode()
    pem = f"-----BEGIN PUBLIC KEY-----\n        {body}\n        -----END PUBLIC KEY-----"
    people = f"approvals:\n  threshold: 1\n  owners:\n    - name: alice\n      key: |\n        {pem}\n"
    start = session(extra=people)
    refused = creator.put(NAME, start, token=at_desk.token)
    assert refused.status_code == 403
    assert "0 of 1 owners" in refused.json()["detail"]


def test_the_log_names_who_did_it(at_desk: Desk, creator: Owner) -> None:
    creator.put(NAME, update())
    at_desk.admin("DELETE", f"sessions/{NAME}")
    events = [one.event for one in at_desk.service.audit.entries() if isinstance(one.event, SessionChanged)]
    administrator, key = events[0].by
    assert key.hex() == creator.fingerprint
    assert [one.by for one in events[1:]] == [(key,), (administrator,)]


def test_a_creator_written_into_the_database_is_none(at_desk: Desk, creator: Owner) -> None:
    """Who created a session is part of its ciphertext: there is no column to change."""
    with sqlite3.connect(at_desk.service.settings.state / "broker.db") as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(sessions)")]
        stored = b"".join(database.execute("SELECT ciphertext FROM sessions").fetchone())
    assert "creator" not in columns
    assert creator.fingerprint.encode() not in stored
