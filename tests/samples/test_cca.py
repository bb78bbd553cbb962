"""Every published Arm CCA token: its fields and its verdict."""

import ast
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.samples.conftest import EVIDENCE

from cloister._x509 import pem_blocks
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import BindingInvalid, ChainInvalid, NotFresh, SignatureInvalid
from cloister.evidence import cca as evidence
from cloister.evidence.cca import CcaToken
from cloister.evidence.cca_claims import SoftwareComponent
from cloister.model import Challenge, Tee, Unchecked
from cloister.verification import cca
from cloister.verification.recipe import Allowances, VerifiedEvidence

SAMPLES = sorted(path.parent for path in EVIDENCE.glob("arm-cca/*/token.cbor"))
AT = datetime(2026, 1, 1, tzinfo=UTC)


def name_of(folder: Path) -> str:
    return folder.name


def meta(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "meta.json").read_text())
    return loaded


def token_in(folder: Path) -> CcaToken:
    return evidence.parse((folder / "token.cbor").read_bytes())


def platform_key(folder: Path) -> bytes:
    (key,) = pem_blocks((folder / "cpak.pub.pem").read_bytes(), "PUBLIC KEY")
    return key


def verify(token: CcaToken, key: bytes, challenge: Challenge | Unchecked) -> VerifiedEvidence[CcaToken]:
    anchors = TrustAnchors.of([key], kind=AnchorKind.OWNER, name="CPAK", tees=[Tee.CCA])
    return cca.verify(token, anchors=anchors, endorsements=Endorsements(keys=(key,)), at=AT, challenge=challenge)


def test_the_corpus_is_complete() -> None:
    assert len(SAMPLES) == 11
    assert len(list(EVIDENCE.glob("arm-cca/*/meta.json"))) == 16
    assert [folder.name for folder in SAMPLES if "negative_reason" in meta(folder)] == ["ccatoken-test-common"]


@pytest.mark.parametrize("folder", SAMPLES, ids=name_of)
def test_it_is_read_and_written(folder: Path) -> None:
    data = (folder / "token.cbor").read_bytes()
    assert evidence.looks_like(data)
    assert token_in(folder).serialize() == data


def shown(value: object) -> object:
    """As the corpus shows claims: bytes in hexadecimal, the rest of the platform's as Python would print it."""
    return value.hex() if isinstance(value, bytes) else repr(value)


@pytest.mark.parametrize("folder", SAMPLES, ids=name_of)
def test_its_platform_claims(folder: Path) -> None:
    expected: Mapping[str, Any] = meta(folder)["platform_claims"]
    claims = token_in(folder).platform_claims
    found = {
        "265": claims.profile, "10": claims.challenge, "2396": claims.implementation_id, "256": claims.instance_id,
        "2401": claims.config, "2395": claims.lifecycle, "2402": claims.hash_algorithm,
        "2400": claims.verification_service,
    }  # fmt: skip
    assert {number: shown(value) for number, value in found.items()} == {
        number: value for number, value in expected.items() if number != "2399"
    }
    components = whole_components(expected["2399"])
    assert [component_map(one) for one in claims.software_components][: len(components)] == components
    assert len(claims.software_components) == len(components) or not expected["2399"].endswith("]")
    assert claims.other == {}


def whole_components(text: str) -> list[dict[int, object]]:
    """The list as Python prints it; the corpus cuts long ones off, so as far as they are whole."""
    listed: list[dict[int, object]] = ast.literal_eval(text if text[-1] == "]" else text[: text.rindex("}, {")] + "}]")
    assert listed
    return listed


def component_map(component: SoftwareComponent) -> dict[int, object]:
    """A software component as the token writes it."""
    assert component.other == {}
    found = {
        1: component.kind, 2: component.measurement, 4: component.version, 5: component.signer_id,
        6: component.hash_algorithm,
    }  # fmt: skip
    return {number: value for number, value in found.items() if value}


@pytest.mark.parametrize("folder", SAMPLES, ids=name_of)
def test_its_realm_claims(folder: Path) -> None:
    expected: Mapping[str, Any] = meta(folder)["realm_claims"]
    claims = token_in(folder).realm_claims
    found: dict[str, object] = {
        "265": claims.profile or None, "10": claims.challenge.hex(), "44235": claims.personalization_value.hex(),
        "44236": claims.hash_algorithm, "44237": claims.public_key.hex(), "44238": claims.initial_measurement.hex(),
        "44239": [one.hex() for one in claims.extensible_measurements], "44240": claims.public_key_hash_algorithm,
        "256": claims.instance_id.hex() or None, "44243": claims.mec_policy,
    }  # fmt: skip
    assert {number: value for number, value in found.items() if value is not None} == expected
    assert claims.other == {}


@pytest.mark.parametrize("folder", SAMPLES, ids=name_of)
def test_its_verdict(folder: Path) -> None:
    token, expected = token_in(folder), meta(folder)["expected"]
    assert token.platform_claims.profile == expected["platform_profile"]
    assert (token.realm_claims.profile or None) == expected["realm_profile"]
    nonce = Challenge(token.realm_claims.challenge)
    if expected["verdict"] == "valid":
        assert verify(token, platform_key(folder), nonce).unchecked == ()
        with pytest.raises(NotFresh):
            verify(token, platform_key(folder), Challenge(b"another"))
    else:
        assert expected["platform_signature"]
        assert not expected["platform_nonce_binds_realm_key"]
        with pytest.raises(BindingInvalid):
            verify(token, platform_key(folder), nonce)


def test_the_negative_s_realm_signature_is_wrong_too() -> None:
    """Its binding fails first, so the next step is run by itself."""
    (folder,) = [folder for folder in SAMPLES if not meta(folder)["expected"]["realm_signature"]]
    case = cca.Case(
        token=token_in(folder), anchors=TrustAnchors([]), endorsements=Endorsements(), challenge=Unchecked("-"),
        allow=Allowances(),
    )  # fmt: skip
    with pytest.raises(SignatureInvalid):
        cca.realm_signature(case)


@pytest.mark.parametrize("folder", SAMPLES, ids=name_of)
def test_no_other_sample_s_key_vouches_for_it(folder: Path) -> None:
    mine, others = platform_key(folder), {platform_key(other) for other in SAMPLES}
    for key in others - {mine}:
        with pytest.raises(SignatureInvalid):
            verify(token_in(folder), key, Unchecked("a recorded token"))
    with pytest.raises(ChainInvalid):
        cca.verify(
            token_in(folder), anchors=TrustAnchors.hardware(), endorsements=Endorsements(keys=(mine,)), at=AT,
            challenge=Unchecked("a recorded token"),
        )  # fmt: skip
