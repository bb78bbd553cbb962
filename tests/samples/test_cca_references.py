"""What others published beside their CCA tokens: keys, anchors, reference values, results; and what is refused."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.samples.conftest import EVIDENCE
from tests.samples.test_cca import platform_key, token_in, verify

from cloister._json import loads
from cloister._x509 import pem_blocks
from cloister.appraise.corim_values import read_corim
from cloister.envelope import open_envelope
from cloister.errors import ParseError, PolicyError
from cloister.evidence.tpm_key import ec_spki
from cloister.model import Challenge

CCA = EVIDENCE / "arm-cca"
AT = datetime(2025, 1, 1, tzinfo=UTC)
KEY_FILES = {
    "keys-refvals-ccatoken/cca_platform.pub": "ccatoken-cca-token",
    "keys-refvals-tfm/cca_platform.pub.pem": "tfm-cca-example-token",
}
"""A published platform key, and a token of the same project."""


def published(name: str) -> Any:
    return loads((CCA / name).read_bytes(), name)


def octets(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.mark.parametrize(("name", "folder"), KEY_FILES.items(), ids=KEY_FILES.values())
def test_a_published_key_verifies_its_project_s_token(name: str, folder: str) -> None:
    (key,) = pem_blocks((CCA / name).read_bytes(), "PUBLIC KEY")
    token = token_in(CCA / folder)
    assert verify(token, key, Challenge(token.realm_claims.challenge)).unchecked == ()


def test_trustee_s_key_and_anchor_are_of_its_token() -> None:
    token = token_in(CCA / "trustee-cca-example-token")
    key = published("keys-refvals-trustee/cpak-pub.json")
    (anchor,) = published("keys-refvals-trustee/tastore.json")
    assert anchor["pkey"] == key
    spki = ec_spki(key["crv"], octets(key["x"]) + octets(key["y"]))
    assert spki == platform_key(CCA / "trustee-cca-example-token")
    assert token.platform_claims.implementation_id.hex() == anchor["implementation-id"]
    assert token.platform_claims.instance_id.hex() == anchor["instance-id"]
    assert verify(token, spki, Challenge(token.realm_claims.challenge)).unchecked == ()


def test_tf_m_s_realm_key_is_in_its_token() -> None:
    (key,) = pem_blocks((CCA / "keys-refvals-tfm" / "cca_realm.pub.pem").read_bytes(), "PUBLIC KEY")
    assert key.endswith(token_in(CCA / "tfm-cca-token").realm_claims.public_key)


def test_trustee_s_reference_values_are_those_of_its_token() -> None:
    token, values = token_in(CCA / "trustee-cca-example-token"), published("keys-refvals-trustee/rvstore.json")
    (platform,) = values["platform"]
    found = [
        {"measurement-value": one.measurement.hex(), "signer-id": one.signer_id.hex(), "component-type": one.kind}
        for one in token.platform_claims.software_components
    ]
    assert found == platform["sw-components"]
    assert token.platform_claims.config.hex() == platform["platform-configuration"]
    realms = {one["initial-measurement"] for one in values["realm"]}
    assert token.realm_claims.initial_measurement.hex() in realms


def test_veraison_s_result_shows_what_is_read_of_its_token() -> None:
    token, result = token_in(CCA / "veraison-cca-good"), published("keys-refvals-veraison/cca.good.json")
    shown = {name: result[name]["ear.veraison.annotated-evidence"] for name in ("CCA_SSD_PLATFORM", "CCA_REALM")}
    platform, realm = token.platform_claims, token.realm_claims
    assert [one.measurement for one in platform.software_components] == [
        base64.b64decode(one["measurement-value"]) for one in shown["CCA_SSD_PLATFORM"]["cca-platform-sw-components"]
    ]
    for name, value in {"challenge": platform.challenge, "config": platform.config}.items():
        assert base64.b64decode(shown["CCA_SSD_PLATFORM"][f"cca-platform-{name}"]) == value
    assert base64.b64decode(shown["CCA_REALM"]["cca-realm-initial-measurement"]) == realm.initial_measurement
    assert base64.b64decode(shown["CCA_REALM"]["cca-realm-public-key"]) == realm.public_key


def corim(name: str) -> dict[str, list[str]]:
    values = read_corim((CCA / name).read_bytes(), name=name, keys=(), at=AT, unsafe_unsigned=True).values
    found: dict[str, list[str]] = {}
    for one in values:
        found.setdefault(one.name, []).append(str(one.operand))
    return found


def test_reference_values_of_a_platform_and_a_realm() -> None:
    platform = corim("keys-refvals-veraison-corim/cca-platform-valid.cbor")
    assert {name: len(values) for name, values in platform.items()} == {"software_components": 2}
    realm = corim("keys-refvals-veraison-corim/cca-realm-valid.cbor")
    assert {name: len(values) for name, values in realm.items()} == dict.fromkeys(
        ("rim", "rem0", "rem1", "rem2", "rem3", "rpv"), 1
    )


@pytest.mark.parametrize("name", ["cca-endorsements.cbor", "cca-realm-endorsements.cbor"])
def test_manifests_of_an_older_draft_are_refused(name: str) -> None:
    """Their profile is a bare text, as before draft-ietf-rats-corim named tags for it."""
    with pytest.raises(PolicyError, match="neither a URI"):
        corim(f"keys-refvals-veraison/{name}")


NVIDIA = sorted((EVIDENCE / "nvidia").glob("*/*eport*.txt"))


def test_evidence_of_gpus_is_there() -> None:
    assert len(NVIDIA) == 2


@pytest.mark.parametrize("path", NVIDIA, ids=lambda path: path.stem)
def test_evidence_of_gpus_is_refused_and_not_taken_for_something_else(path: Path) -> None:
    with pytest.raises(ParseError, match="no known evidence"):
        open_envelope(path.read_bytes())


def test_the_meta_data_says_that_all_of_this_is_for_tests() -> None:
    folders = sorted(CCA.glob("keys-refvals-*"))
    assert len(folders) == 5
    assert {json.loads((one / "meta.json").read_text())["genuine"] for one in folders} == {"synthetic (test keys)"}
