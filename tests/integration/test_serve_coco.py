"""Confidential Containers' client: its very requests, and init data that the evidence must confirm.

The requests are those of guest-components (attestation-agent/kbs_protocol/src/client/rcar_client.rs), field by field.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.forge import amd
from tests.services.key_broker import SECRET, Attester, Desk, desk, software_attester
from tests.unit.test_init_data import EXAMPLE

from cloister.model import Unchecked
from cloister.result.keys import VerificationKey
from cloister.result.verify import verify_result
from cloister.verifier import Verifier

EXTRA = {"supported-hash-algorithms": ["sha256", "sha384", "sha512"]}
INIT_DATA = {"format": "toml", "body": EXAMPLE}
HOST_DATA = hashlib.sha384(EXAMPLE.encode()).digest()[:32]


def guest(host_data: bytes = HOST_DATA, demanded: bytes = HOST_DATA) -> Attester:
    """An SNP guest that was launched with the init data of that digest, and a policy that demands one."""
    platform = amd.platform()
    ek = platform.ek()
    measurement = bytes(range(48)).hex()
    return Attester(
        tee="snp", measurement=measurement,
        make=lambda data: amd.signed_report(ek, nonce=data, host_data=host_data).serialize(),
        verifier=Verifier(anchors=platform.anchors, endorsements=platform.endorsements(ek)),
        policy=f'accept_anchors = ["testing"]\n[snp]\nmeasurement = "{measurement}"\nhost_data = "{demanded.hex()}"\n',
    )  # fmt: skip


@pytest.fixture
def at_desk(tmp_path: Path) -> Iterator[Desk]:
    with desk(tmp_path, guest()) as made:
        made.store_secret()
        yield made


def asked(made: Desk, extra: object) -> Any:
    """The client's first request."""
    changes: dict[str, Any] = {"extra-params": extra}
    return made.auth(**changes)


def handshake(made: Desk, **changes: Any) -> Any:
    """Both requests of the client; what came of the second."""
    nonce = asked(made, EXTRA).json()["nonce"]
    return made.client.post("/kbs/v0/attest", json=made.attester.answer(nonce, **changes))


def test_the_clients_requests_bring_the_resource(at_desk: Desk) -> None:
    attested = handshake(at_desk, **{"init-data": INIT_DATA})
    assert attested.status_code == 200, attested.text
    assert attested.json().keys() == {"token"}
    got = at_desk.resource()
    assert got.json().keys() == {"protected", "encrypted_key", "iv", "ciphertext", "tag"}
    assert at_desk.attester.open(got.json()) == SECRET


def test_the_token_has_the_init_data_where_trustees_has_it(at_desk: Desk) -> None:
    token = handshake(at_desk, **{"init-data": INIT_DATA}).json()["token"].encode()
    own = VerificationKey(spki=at_desk.service.shared.signing.spki)
    result = verify_result(token, [own], at=at_desk.clock(), nonce=Unchecked("-"))
    claims = result.submodules["cpu0"].evidence["init_data_claims"]
    assert isinstance(claims, dict)
    assert claims["policy.rego"] == "package agent_policy"


@pytest.mark.parametrize("body", [EXAMPLE + " ", EXAMPLE.replace("agent", "other"), EXAMPLE.replace("384", "256")])
def test_init_data_that_the_guest_was_not_launched_with_is_refused(at_desk: Desk, body: str) -> None:
    refused = handshake(at_desk, **{"init-data": {"format": "toml", "body": body}})
    assert refused.status_code == 401
    assert "launched with other init data" in refused.json()["detail"]
    assert at_desk.resource().status_code == 401


def test_a_guest_that_was_launched_with_none_cannot_claim_some(tmp_path: Path) -> None:
    with desk(tmp_path, guest(host_data=bytes(32))) as made:
        assert handshake(made, **{"init-data": INIT_DATA}).status_code == 401


def test_which_init_data_is_good_the_policy_says(tmp_path: Path) -> None:
    with desk(tmp_path, guest(demanded=bytes(32))) as made:
        made.store_secret()
        assert handshake(made, **{"init-data": INIT_DATA}).status_code == 200  # confirmed, and yet not what is demanded
        assert made.resource().status_code == 403


MALFORMED = [
    ({"format": "json", "body": "{}"}, "is not toml"),
    ({"format": "toml", "body": "version = 1"}, "version"),
    ({"format": "toml"}, "body"),
    ("text", "init-data"),
    ({"format": "toml", "body": EXAMPLE + "x" * (512 << 10)}, "at most"),
]


@pytest.mark.parametrize(("init_data", "said"), MALFORMED, ids=[said for _, said in MALFORMED])
def test_init_data_that_is_none(at_desk: Desk, init_data: object, said: str) -> None:
    refused = handshake(at_desk, **{"init-data": init_data})
    assert refused.status_code == 400
    assert said in refused.json()["detail"]


def test_init_data_of_a_tee_without_a_field_for_it(tmp_path: Path) -> None:
    with desk(tmp_path, software_attester()) as made:
        refused = handshake(made, **{"init-data": INIT_DATA})
        assert refused.status_code == 400
        assert "not for software" in refused.json()["detail"]


def test_a_choice_of_policies_is_not_obeyed_in_silence(at_desk: Desk) -> None:
    refused = asked(at_desk, EXTRA | {"attestation-policy-selector": "lenient"})
    assert refused.status_code == 401
    assert refused.json().keys() == {"type", "detail"}


@pytest.mark.parametrize(("tee", "status"), [("snp", 200), ("tdx", 401)])
def test_metadata_must_name_the_same_tee(at_desk: Desk, tee: str, status: int) -> None:
    metadata = {"primary_tee": {"tee": tee}, "additional_tees": []}
    assert asked(at_desk, {"tee-metadata": metadata}).status_code == status


def test_errors_are_what_the_client_reads(at_desk: Desk) -> None:
    """401 before attestation makes it attest, 404 makes it give up; each with `type` and `detail`."""
    for name, status in (("app/keys/db", 401), ("app/keys/none", 404)):
        if status == 404:
            handshake(at_desk, **{"init-data": INIT_DATA})
        got = at_desk.resource(name)
        assert got.status_code == status
        assert got.json().keys() == {"type", "detail"}
