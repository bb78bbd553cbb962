"""Veraison's challenge-response API, followed as its Go client follows it."""

import base64
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest
from tests.services.key_broker import Desk, desk, snp_attester

from cloister.appraise.vector import Tier
from cloister.model import Challenge
from cloister.result.keys import verification_keys
from cloister.result.verify import verify_result

SESSION = "application/vnd.veraison.challenge-response-session+json"
EVIDENCE = {"content-type": "application/vnd.cloister.evidence"}
NEW = "/challenge-response/v1/newSession"


@pytest.fixture
def at_desk(tmp_path: Path) -> Iterator[Desk]:
    with desk(tmp_path, snp_attester()) as made:
        yield made


def new_session(at: Desk, query: str = "") -> tuple[str, bytes]:
    """The session's address, as a client resolves it, and its nonce."""
    found = at.client.post(NEW + query, headers={"accept": SESSION})
    assert found.status_code == 201, found.text
    assert found.headers["content-type"] == SESSION
    return urljoin(str(found.url), found.headers["location"]), base64.b64decode(found.json()["nonce"])


def submit(at: Desk, session: str, nonce: bytes) -> httpx.Response:
    return at.client.post(session, content=at.attester.make(nonce), headers=EVIDENCE)


@pytest.mark.parametrize("query", ["", "?nonceSize=8", "?nonceSize=64", "?nonce=QUFBQUFBQUFBQUFBQUFBQQ=="])
def test_evidence_becomes_a_result(at_desk: Desk, query: str) -> None:
    session, nonce = new_session(at_desk, query)
    assert len(nonce) == {"": 32, "?nonceSize=8": 8, "?nonceSize=64": 64}.get(query, 16)
    assert at_desk.client.get(session).json()["status"] == "waiting"
    found = submit(at_desk, session, nonce)
    assert found.status_code == 200, found.text
    document = found.json()
    assert document["status"] == "complete"
    assert document["evidence"]["type"] == EVIDENCE["content-type"]
    assert base64.b64decode(document["evidence"]["value"]) == at_desk.attester.make(nonce) or document["evidence"]
    assert datetime.fromisoformat(document["expiry"]).tzinfo is not None
    key = at_desk.client.get("/.well-known/veraison/verification").json()["ear-verification-key"]
    result = verify_result(
        document["result"].encode(), verification_keys(json.dumps(key).encode()), at=at_desk.clock(),
        nonce=Challenge(nonce),
    )  # fmt: skip
    assert result.status is Tier.AFFIRMING
    assert at_desk.client.get(session).json()["result"] == document["result"]


def test_discovery(at_desk: Desk) -> None:
    found = at_desk.client.get("/.well-known/veraison/verification")
    assert found.headers["content-type"] == "application/vnd.veraison.discovery+json"
    document = found.json()
    assert document["service-state"] == "READY"
    assert document["api-endpoints"] == {"newChallengeResponseSession": NEW}
    assert 'application/eat-collection; profile="http://arm.com/CCA-SSD/1.0.0"' in document["media-types"]
    assert document["ear-verification-key"]["alg"] == "ES256"


def test_a_deleted_session_is_gone(at_desk: Desk) -> None:
    session, nonce = new_session(at_desk)
    assert submit(at_desk, session, nonce).status_code == 200
    assert at_desk.client.delete(session).status_code == 204
    assert at_desk.client.get(session).status_code == 404
    assert submit(at_desk, session, nonce).status_code == 404


def test_an_expired_session_is_gone(at_desk: Desk) -> None:
    session, nonce = new_session(at_desk)
    at_desk.clock.forward(minutes=5)
    for found in (at_desk.client.get(session), submit(at_desk, session, nonce), at_desk.client.delete(session)):
        assert found.status_code == 404
        assert found.headers["content-type"] == "application/problem+json"


def test_what_is_refused_and_how(at_desk: Desk) -> None:
    session, nonce = new_session(at_desk)
    for query in ("?nonceSize=7", "?nonceSize=65", "?nonceSize=-1", "?nonceSize=x", "?nonce=*", "?nonce=QUFB"):
        assert at_desk.client.post(NEW + query).status_code == 400
    assert at_desk.client.post(f"{NEW}?nonceSize=8&nonce=QUFBQUFBQUFBQUFBQUFBQQ").status_code == 400
    assert at_desk.client.post(NEW, headers={"accept": "text/html"}).status_code == 406
    media = at_desk.client.post(session, content=b"x", headers={"content-type": "application/octet-stream"})
    assert media.status_code == 415
    assert at_desk.client.post(session, content=b"no evidence", headers=EVIDENCE).status_code == 400
    other = submit(at_desk, session, b"another nonce")
    assert other.status_code == 401
    assert submit(at_desk, session, nonce).status_code == 200
    assert submit(at_desk, session, nonce).status_code == 409


def test_a_nonce_of_zeros_is_refused_before_anybody_answers_it(at_desk: Desk) -> None:
    assert at_desk.client.post(f"{NEW}?nonce=AAAAAAAAAAAAAAAAAAAAAA").status_code == 400
