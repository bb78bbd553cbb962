"""The KBS protocol from the first message to the secret, by a client whose JOSE is another implementation's."""

import base64
import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.forge.envelope import fields_of_report
from tests.services.key_broker import (
    SECRET,
    Attester,
    Desk,
    desk,
    new_key,
    rule_for,
    snp_attester,
    software_attester,
)

from cloister.appraise.vector import Tier
from cloister.broker.audit import Grade, Released, ReleaseDenied
from cloister.model import Unchecked
from cloister.result.keys import VerificationKey
from cloister.result.verify import verify_result

ATTESTERS = {"snp": snp_attester, "software": software_attester}


@pytest.fixture
def at_desk(tmp_path: Path) -> Iterator[Desk]:
    with desk(tmp_path) as made:
        yield made


@pytest.mark.parametrize("kind", ATTESTERS)
@pytest.mark.parametrize("curve", ["P-256", "P-521", "RSA", "X25519"])
def test_a_client_attests_and_gets_the_secret(tmp_path: Path, kind: str, curve: str) -> None:
    with desk(tmp_path, ATTESTERS[kind](new_key(curve))) as made:
        made.store_secret()
        attested = made.attest()
        assert attested.status_code == 200, attested.text
        got = made.resource()
        assert got.status_code == 200, got.text
        assert got.headers["content-type"] == "application/json"
        assert made.attester.open(got.json()) == SECRET


def test_the_challenge_is_as_the_protocol_has_it(at_desk: Desk) -> None:
    found = at_desk.auth()
    assert found.json().keys() == {"nonce", "extra-params"}
    assert found.json()["extra-params"] == ""
    cookie = found.headers["set-cookie"]
    assert cookie.startswith("kbs-session-id=")
    assert "HttpOnly" in cookie


def test_the_token_says_what_was_verified_and_for_which_key(at_desk: Desk) -> None:
    token = at_desk.attest().json()["token"].encode()
    own = VerificationKey(spki=at_desk.service.shared.signing.spki)
    result = verify_result(token, [own], at=at_desk.clock(), nonce=Unchecked("-"))
    assert result.status is Tier.AFFIRMING
    claims = result.submodules["cpu0"].evidence["runtime_data_claims"]
    assert isinstance(claims, dict)
    assert claims["tee-pubkey"] == at_desk.attester.jwk
    assert result.expires_at == at_desk.clock() + timedelta(minutes=5)


def test_a_passport_opens_the_same_door(at_desk: Desk) -> None:
    at_desk.store_secret()
    token = at_desk.attest().json()["token"]
    at_desk.client.cookies.clear()
    got = at_desk.resource(authorization=f"Bearer {token}")
    assert at_desk.attester.open(got.json()) == SECRET


def test_a_passport_of_another_verifier_opens_a_broker_that_believes_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with desk(tmp_path / "a", broker=False) as verifier:
        token = verifier.attest().json()["token"]
        assert verifier.resource().status_code == 404
        believed = (VerificationKey(spki=verifier.service.shared.signing.spki),)
        with desk(tmp_path / "b", verifier.attester, verifier=False, verifier_keys=believed) as broker:
            broker.store_secret()
            assert broker.client.post("/kbs/v0/auth", json={}).status_code == 404
            got = broker.resource(authorization=f"Bearer {token}")
            assert verifier.attester.open(got.json()) == SECRET
        (tmp_path / "c").mkdir()
        with desk(tmp_path / "c", verifier.attester, verifier=False) as stranger:
            stranger.store_secret()
            refused = stranger.resource(authorization=f"Bearer {token}")
            assert refused.status_code == 401
            assert refused.json()["type"].endswith("/TokenVerifierError")


def test_nothing_is_released_without_a_rule_that_names_the_program(at_desk: Desk) -> None:
    at_desk.store_secret("app/keys/nobody", measurements={})
    at_desk.store_secret("app/keys/other", **rule_for(at_desk.attester, measurements={"software": ["ab" * 32]}))
    at_desk.store_secret("app/keys/hardware", **rule_for(at_desk.attester, anchors=["hardware"]))
    at_desk.attest()
    for tag, reason in (("nobody", "no program"), ("other", "another program"), ("hardware", "anchor of kind")):
        refused = at_desk.resource(f"app/keys/{tag}")
        assert refused.status_code == 403
        assert refused.json()["type"] == "https://github.com/confidential-containers/kbs/errors/PolicyDeny"
        assert reason in refused.json()["detail"]
    assert at_desk.resource("app/keys/none").status_code == 404


def test_another_program_attests_and_gets_nothing(tmp_path: Path) -> None:
    one = software_attester()
    other = one.policy.replace(one.measurement, "ab" * 32)
    stranger = Attester(**{name: getattr(one, name) for name in one.__dataclass_fields__} | {"policy": other})
    with desk(tmp_path, stranger) as made:
        made.store_secret()
        assert made.attest().status_code == 200
        assert made.resource().status_code == 403


def test_rotation_revocation_and_expiry(at_desk: Desk) -> None:
    at_desk.store_secret()
    at_desk.attest()
    new = at_desk.admin("POST", "secrets/app/keys/db/rotate", json={"value": "bmV3"})
    assert new.status_code == 201
    assert new.json()["version"] == 2
    assert at_desk.attester.open(at_desk.resource().json()) == b"new"
    assert at_desk.admin("POST", "secrets/app/keys/db/revoke", json={}).json() == {"revoked": [2, 1]}
    assert at_desk.resource().status_code == 403
    assert at_desk.admin("POST", "secrets/app/keys/db/rotate", json={"value": "bmV3"}).status_code == 403
    until = (at_desk.clock() + timedelta(minutes=2)).isoformat()
    body = {"value": "c2hvcnQ=", "release": rule_for(at_desk.attester), "expires": until}
    assert at_desk.admin("PUT", "secrets/app/keys/db", json=body).status_code == 201
    assert at_desk.attester.open(at_desk.resource().json()) == b"short"
    at_desk.clock.forward(minutes=2)
    assert at_desk.resource().status_code == 403


def test_evidence_of_several_environments_is_one_result(at_desk: Desk) -> None:
    """A device beside the CPU, bound to the same key; the result is as good as the worse of them."""
    at_desk.store_secret()
    one = at_desk.attester
    nonce = at_desk.auth().json()["nonce"]

    def bound(**more: str) -> dict[str, str]:
        text = json.dumps({"nonce": nonce, "tee-pubkey": one.jwk, **more}, sort_keys=True, separators=(",", ":"))
        return {"evidence": base64.b64encode(one.make(hashlib.sha384(text.encode()).digest())).decode()}

    additional = json.dumps({"software": ["cpu", bound()]})
    evidence = {"primary_evidence": bound(**{"additional-evidence": additional}), "additional_evidence": additional}
    message = one.answer(nonce) | {"tee-evidence": evidence}
    swapped = message | {"tee-evidence": evidence | {"additional_evidence": additional.replace("cpu", "gpu")}}
    assert at_desk.client.post("/kbs/v0/attest", json=swapped).status_code == 401
    assert at_desk.client.post("/kbs/v0/attest", json=message).status_code == 200
    assert one.open(at_desk.resource().json()) == SECRET
    given = next(e.event for e in at_desk.service.audit.entries() if isinstance(e.event, Released))
    assert [piece.name for piece in given.evidence] == ["cpu0", "software1"]


def test_evidence_as_trustees_agents_write_it(tmp_path: Path) -> None:
    """An SNP report field by field, as the Rust crate `sev` serializes it."""
    with desk(tmp_path, snp_attester()) as made:
        made.store_secret()
        message = made.attester.answer(made.auth("snp").json()["nonce"])
        report = base64.b64decode(message["tee-evidence"]["primary_evidence"]["evidence"])
        fields = {"attestation_report": fields_of_report(report), "cert_chain": None}
        message["tee-evidence"]["primary_evidence"] = json.loads(json.dumps(fields))
        attested = made.client.post("/kbs/v0/attest", json=message)
        assert attested.status_code == 200, attested.text
        assert made.attester.open(made.resource().json()) == SECRET


def test_every_answer_is_in_the_audit_log(at_desk: Desk) -> None:
    at_desk.store_secret()
    at_desk.store_secret("app/keys/nobody", measurements={})
    at_desk.attest()
    released = at_desk.resource()
    at_desk.resource("app/keys/nobody")
    events = [entry.event for entry in at_desk.service.audit.entries()]
    given = next(one for one in events if isinstance(one, Released))
    assert given.request == released.headers["x-request-id"]
    assert given.secrets[0].name == "app/keys/db"
    assert given.evidence[0].verdict is Tier.AFFIRMING
    assert given.evidence[0].measurements[0].digest.value.hex() == at_desk.attester.measurement
    assert [one.code for one in events if isinstance(one, ReleaseDenied)] == ["policy-deny"]
    assert at_desk.service.audit.verify(at_desk.service.audit.checkpoint()).grade is Grade.INTACT


def test_health_metrics_and_the_log_of_a_flow(at_desk: Desk) -> None:
    at_desk.store_secret()
    at_desk.attest()
    at_desk.resource()
    assert at_desk.client.get("/healthz").json() == {"status": "ok"}
    metrics = at_desk.client.get("/metrics").text
    assert 'cloister_requests_total{status="200",step="kbs-resource"} 1.0' in metrics
    steps = [line for line in at_desk.log.getvalue().splitlines() if '"step"' in line]
    assert [word in line for word, line in zip(("created", "challenge", "evidence", "release"), steps, strict=True)]
