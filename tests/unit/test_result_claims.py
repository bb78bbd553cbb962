"""EAR claims-sets: what is written in each profile and encoding, compared with the field tables of the sources."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.forge.results import LATER, NONCE, NOW, appraisal, result

from cloister import _cbor
from cloister.appraise.vector import Tier, TrustVector
from cloister.errors import BindingInvalid, ParseError, VerificationError
from cloister.result.attestation import AttestationResult, Profile, Submodule, Verifier
from cloister.result.decode import result_of_cbor, result_of_json
from cloister.result.encode import cbor_claims, json_claims

DEPLOYED = {"Veraison": Profile.VERAISON, "Trustee": Profile.TRUSTEE}
DRAFTS = {"draft 03": Profile.DRAFT_03, "draft 04": Profile.DRAFT_04}
KEY = b"a public key"
NONCE_TEXT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"


def with_key(profile: Profile) -> AttestationResult:
    return result(profile=profile, submodules={"cpu0": Submodule.of(appraisal(), attested_key=KEY)})


def json_of(made: AttestationResult) -> Any:
    return json.loads(json_claims(made))


def cbor_of(made: AttestationResult) -> Any:
    return _cbor.loads(cbor_claims(made), "test")


def in_submodule(one: Any, *names: str | int) -> list[Any]:
    """The values under these names, all of which must be there and no others."""
    assert set(one) == set(names)
    return [one[name] for name in names]


@pytest.mark.parametrize("profile", DEPLOYED.values(), ids=DEPLOYED)
def test_deployed_json_names(profile: Profile) -> None:
    claims = json_of(with_key(profile))
    one = claims.pop("submods")
    assert claims == {
        "eat_profile": profile.value,
        "iat": int(NOW.timestamp()),
        "exp": int(LATER.timestamp()),
        "eat_nonce": NONCE_TEXT,
        "ear.verifier-id": {"developer": "https://verifier.example", "build": "verifier 1.2.3"},
    }
    status, vector, policy, evidence, added, key = in_submodule(
        one["cpu0"], "ear.status", "ear.trustworthiness-vector", "ear.appraisal-policy-id",
        "ear.veraison.annotated-evidence", "ear.veraison.policy-claims", "ear.veraison.key-attestation",
    )  # fmt: skip
    assert (status, vector, policy) == ("affirming", {"executables": 3, "hardware": 2}, "sha256:" + "cd" * 32)
    assert evidence == {"sgx": {"mrenclave": "ab" * 32, "isv_svn": 3, "debug": False, "key_ids": ["aa", ["bb"]]}}
    assert added["cloister"]["anchor_kind"] == "hardware"
    assert key == {"akpub": "YSBwdWJsaWMga2V5"}


@pytest.mark.parametrize("profile", DEPLOYED.values(), ids=DEPLOYED)
def test_deployed_cbor_numbers(profile: Profile) -> None:
    claims = cbor_of(with_key(profile))
    one = claims.pop(266)
    assert claims == {
        265: profile.value,
        6: int(NOW.timestamp()),
        4: int(LATER.timestamp()),
        10: NONCE,
        1004: {0: "https://verifier.example", 1: "verifier 1.2.3"},
    }
    status, vector, policy, evidence, _, key = in_submodule(one["cpu0"], 1000, 1001, 1003, -70000, -70001, -70002)
    assert (status, vector, policy) == (2, {2: 3, 4: 2}, "sha256:" + "cd" * 32)
    assert evidence["sgx"]["isv_svn"] == 3
    assert key == {0: KEY}


@pytest.mark.parametrize(
    ("profile", "evidence", "added"),
    [
        (Profile.DRAFT_03, "ear_veraison_annotated_evidence", "ear_veraison_policy_claims"),
        (Profile.DRAFT_04, "ear_attester_claims", "ear_verifier_claims"),
    ],
    ids=DRAFTS,
)
def test_draft_json_names(profile: Profile, evidence: str, added: str) -> None:
    claims = json_of(with_key(profile))
    assert set(claims) == {"eat_profile", "iat", "exp", "eat_nonce", "ear_verifier_id", "ear_status", "submods"}
    assert claims["ear_status"] == "affirming"
    status, vector, policies, _, _, key = in_submodule(
        claims["submods"]["cpu0"], "ear_status", "ear_trustworthiness_vector", "ear_appraisal_policy_ids",
        evidence, added, "ear_veraison_key_attestation",
    )  # fmt: skip
    assert (status, vector, policies) == ("affirming", {"executables": 3, "hardware": 2}, ["sha256:" + "cd" * 32])
    assert key == {"akpub": "YSBwdWJsaWMga2V5"}


@pytest.mark.parametrize(
    ("profile", "evidence", "added"),
    [(Profile.DRAFT_03, -70000, -70001), (Profile.DRAFT_04, 1005, 1006)],
    ids=DRAFTS,
)
def test_draft_cbor_numbers(profile: Profile, evidence: int, added: int) -> None:
    claims = cbor_of(with_key(profile))
    assert set(claims) == {265, 6, 4, 10, 1004, 1000, 266}
    values = in_submodule(claims[266]["cpu0"], 1000, 1001, 1003, evidence, added, -70002)
    assert values[:3] == [2, {2: 3, 4: 2}, ["sha256:" + "cd" * 32]]
    assert values[5] == {"akpub": KEY}


@pytest.mark.parametrize(("tier", "number"), [("none", 0), ("affirming", 2), ("warning", 32), ("contraindicated", 96)])
def test_tiers_in_both_forms(tier: str, number: int) -> None:
    made = result(submodules={"one": Submodule(status=Tier(tier))}, status=Tier(tier))
    assert json_of(made)["submods"] == {"one": {"ear.status": tier}}
    assert cbor_of(made)[266] == {"one": {1000: number}}


@pytest.mark.parametrize("profile", DEPLOYED.values(), ids=DEPLOYED)
def test_what_a_deployed_profile_cannot_say_is_not_said_wrongly(profile: Profile) -> None:
    two = Submodule(status=Tier.AFFIRMING, policies=("one", "two"))
    for made, reason in (
        (result(profile=profile, submodules={"cpu0": two}), "one policy, not 2"),
        (result(profile=profile, status=Tier.WARNING), "its parts are better"),
    ):
        for encode in (json_claims, cbor_claims):
            with pytest.raises(ValueError, match=reason):
                encode(made)


def test_the_drafts_say_several_policies_and_a_worse_whole() -> None:
    two = Submodule(status=Tier.AFFIRMING, policies=("one", "two"))
    made = result(profile=Profile.DRAFT_04, submodules={"cpu0": two}, status=Tier.WARNING)
    assert result_of_json(json_claims(made)) == made
    assert result_of_cbor(cbor_claims(made), longest=1 << 16) == made


Change = Callable[[Any], object]
ONE = ("submods", "cpu0")


def setting(*path: str, to: object) -> Change:
    def change(claims: Any) -> None:
        for name in path[:-1]:
            claims = claims[name]
        claims[path[-1]] = to

    return change


def without(*path: str) -> Change:
    def change(claims: Any) -> None:
        for name in path[:-1]:
            claims = claims[name]
        del claims[path[-1]]

    return change


BASIS = (*ONE, "ear.veraison.policy-claims", "cloister")
REFUSED: dict[str, tuple[Change, str]] = {
    "no profile": (without("eat_profile"), "eat_profile at byte 0: is missing"),
    "a profile of somebody else": (setting("eat_profile", to="tag:example,2026:ear"), "only .* are understood"),
    "no time of issue": (without("iat"), "iat at byte 0: is missing"),
    "a time in floating point": (setting("iat", to=1.7e9), "iat .* is not a whole number"),
    "a time that is true": (setting("exp", to=True), "exp .* is not a whole number"),
    "a time before 1970": (setting("iat", to=-1), "iat .* no time"),
    "a time after 9999": (setting("exp", to=10**15), "exp .* no time"),
    "expired when it was issued": (setting("exp", to=int(NOW.timestamp())), "expires_at is not after issued_at"),
    "no verifier": (without("ear.verifier-id"), "verifier-id .* is missing"),
    "a verifier without a name": (setting("ear.verifier-id", "developer", to=""), "developer must be text"),
    "a verifier that is text": (setting("ear.verifier-id", to="me"), "verifier-id .* is not an object"),
    "no submodule": (setting("submods", to={}), "submods .* is empty"),
    "a submodule without a name": (setting("submods", to={"": {"ear.status": "none"}}), "has the name ''"),
    "a submodule that is a nested token": (setting(*ONE, to=["JWT", "x"]), "is no object"),
    "no status": (without(*ONE, "ear.status"), r"ear\.status .* is missing"),
    "an unknown status": (setting(*ONE, "ear.status", to="good"), "no tier"),
    "a status as a number": (setting(*ONE, "ear.status", to=2), "no tier"),
    "an unknown claim in the vector": (setting(*ONE, "ear.trustworthiness-vector", "luck", to=2), "not known"),
    "a claim out of range": (setting(*ONE, "ear.trustworthiness-vector", "hardware", to=128), "is 128"),
    "a claim that is true": (setting(*ONE, "ear.trustworthiness-vector", "hardware", to=True), "is True"),
    "several policies": (setting(*ONE, "ear.appraisal-policy-id", to=["a", "b"]), "is not text"),
    "a short nonce": (setting("eat_nonce", to="AAAA"), "8 to 64 bytes"),
    "several nonces": (setting("eat_nonce", to=[NONCE_TEXT] * 2), "is not text"),
    "a nonce in no base64": (setting("eat_nonce", to="<script></script>"), "is not base64url"),
    "evidence with half a character": (setting(*ONE, "ear.veraison.annotated-evidence", to={"a": "\ud800"}), "UTF-8"),
    "a key that is text": (setting(*ONE, "ear.veraison.key-attestation", to={"akpub": "="}), "base64url"),
    "a basis of an unknown TEE": (setting(*BASIS, "tee", to="abacus"), "abacus"),
    "a basis without a time zone": (setting(*BASIS, "verified_at", to="2026-03-15T12:00:00"), "no time zone"),
    "a basis with a short digest": (setting(*BASIS, "evidence_sha256", to="00"), "32 bytes"),
    "a basis that is a list": (setting(*BASIS, to=[]), "is not an object"),
}


@pytest.mark.parametrize(("change", "reason"), REFUSED.values(), ids=REFUSED)
def test_malformed_claims_are_refused(change: Change, reason: str) -> None:
    claims = json_of(result())
    change(claims)
    with pytest.raises(ParseError, match=reason):
        result_of_json(json.dumps(claims).encode())


@pytest.mark.parametrize("document", [b"[]", b"null", b"{", b'{"a":1,"a":2}', b'{"iat":1e999}', b"\xff", b"[" * 9999])
def test_what_is_no_claims_set_is_refused(document: bytes) -> None:
    with pytest.raises(ParseError):
        result_of_json(document)
    with pytest.raises(ParseError):
        result_of_cbor(document, longest=1 << 16)


def test_a_status_better_than_its_worst_claim_is_refused() -> None:
    claims = json_of(result())
    claims["submods"]["cpu0"]["ear.trustworthiness-vector"]["storage-opaque"] = 32
    with pytest.raises(BindingInvalid, match="better than the worst claim") as caught:
        result_of_json(json.dumps(claims).encode())
    assert (caught.value.expected, caught.value.actual) == (Tier.WARNING, Tier.AFFIRMING)


def test_a_whole_better_than_its_worst_part_is_refused() -> None:
    claims = json_of(result(profile=Profile.DRAFT_03))
    claims["submods"]["gpu0"] = {"ear_status": "contraindicated"}
    with pytest.raises(VerificationError, match="better than its worst submodule"):
        result_of_json(json.dumps(claims).encode())


def test_a_whole_that_claims_nothing_is_as_bad_as_its_worst_part() -> None:
    claims = json_of(result(profile=Profile.DRAFT_03)) | {"ear_status": "none"}
    assert result_of_json(json.dumps(claims).encode()).status is Tier.NONE
    claims["submods"]["gpu0"] = {"ear_status": "warning"}
    assert result_of_json(json.dumps(claims).encode()).status is Tier.WARNING


def test_unknown_claims_are_passed_over() -> None:
    claims = json_of(result()) | {"jti": "x", "iss": "y"}
    claims["submods"]["cpu0"]["someone.elses"] = 1
    assert result_of_json(json.dumps(claims).encode()) == result()


def test_another_verifier_s_claims_in_cbor_become_json() -> None:
    claims = cbor_of(result())
    claims[266]["cpu0"][-70000] = {"digest": b"\xff\xfe", "list": [{"n": None}], 7: 1}
    found = result_of_cbor(_cbor.dumps(claims), longest=1 << 16)
    assert found.submodules["cpu0"].evidence == {"digest": "__4", "list": [{"n": None}], "7": 1}


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        ({1: "a", "1": "b"}, "two keys that are the same"),
        ({"a": _cbor.Tag(1, 2)}, "CBORTag"),
    ],
    ids=["keys that become one", "a tag"],
)
def test_cbor_that_json_cannot_say_is_refused(evidence: dict[object, object], reason: str) -> None:
    claims = cbor_of(result())
    claims[266]["cpu0"][-70000] = evidence
    with pytest.raises(ParseError, match=reason):
        result_of_cbor(_cbor.dumps(claims), longest=1 << 16)


@pytest.mark.parametrize(
    "text", ["AAECAwQFBgc=", "AAECAwQFBgc", "+/8CAwQFBgc=", "-_8CAwQFBgc"], ids=["padded", "bare", "ordinary", "url"]
)
def test_nonces_are_read_as_deployed_verifiers_write_them(text: str) -> None:
    found = result_of_json(json.dumps(json_of(result()) | {"eat_nonce": text}).encode())
    assert found.nonce[2:] == bytes(range(2, 8))


def test_a_result_is_not_a_yes() -> None:
    with pytest.raises(TypeError, match="status"):
        bool(result())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"submodules": {}}, "at least one submodule"),
        ({"submodules": {"": Submodule(status=Tier.NONE)}}, "with a name"),
        ({"status": Tier.AFFIRMING, "submodules": {"a": Submodule(status=Tier.WARNING)}}, "better than the worst"),
        ({"nonce": b"1234567"}, "8 to 64 bytes, this one has 7"),
        ({"issued_at": NOW.replace(tzinfo=None)}, "no time zone"),
        ({"issued_at": NOW.replace(microsecond=1)}, "whole second"),
        ({"expires_at": NOW}, "not after"),
    ],
)
def test_a_contradictory_result_cannot_be_made(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        result(**changes)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"status": Tier.AFFIRMING, "vector": TrustVector(hardware=-1)}, "better than the worst claim"),
        ({"status": Tier.NONE, "policies": ("",)}, "policy's identifier"),
        ({"status": Tier.NONE, "evidence": {"a": {1, 2}}}, "set"),
        ({"status": Tier.NONE, "evidence": {"a": float("nan")}}, "float"),
        ({"status": Tier.NONE, "added": {"cloister": {}}}, "for the basis"),
    ],
)
def test_a_contradictory_submodule_cannot_be_made(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Submodule(**fields)


def test_the_parts_of_a_result_come_from_its_appraisals() -> None:
    worse = appraisal(status=Tier.WARNING, policy_id="")
    made = AttestationResult.of(
        {"cpu0": Submodule.of(appraisal()), "tpm": Submodule.of(worse)},
        verifier=Verifier(developer="d", build="b"), issued_at=NOW + timedelta(microseconds=7), expires_at=None,
    )  # fmt: skip
    assert made.status is Tier.WARNING
    assert made.issued_at == NOW
    assert made.submodules["tpm"].policies == ()
    basis = made.submodules["cpu0"].basis
    assert basis is not None
    assert (basis.anchor_kind, basis.unchecked) == ("hardware", appraisal().unchecked)
    assert replace(made, status=Tier.CONTRAINDICATED).status is Tier.CONTRAINDICATED
