"""Attestation results that others have made: a token of a deployed Veraison, and claims-sets as the sources show them.

The token and its key are the test vector of veraison/rust-ear, src/ear.rs, test `verify` (Apache-2.0, "Contributors to
the Veraison project"). The claims-sets are written down anew from the field tables of draft-ietf-rats-ear-03 and -04,
figures 3 to 5, and of Trustee's attestation-service, ear_token/broker.rs.
"""

import json
from datetime import UTC, datetime, timedelta

import pytest

from cloister import _cbor
from cloister.appraise.vector import Tier, TrustVector
from cloister.errors import NotFresh, ParseError, SignatureInvalid
from cloister.model import Challenge, Unchecked
from cloister.result.attestation import AttestationResult, Profile, Submodule, Verifier
from cloister.result.decode import result_of_cbor, result_of_json
from cloister.result.keys import VerificationKey, verification_keys
from cloister.result.signing import SigningKey
from cloister.result.verify import verify_result

VERAISON_KEY = b"""{
    "crv": "P-256", "kty": "EC",
    "x": "usWxHK2PmfnHKwXPS54m0kTcGJ90UiglWiGahtagnv8", "y": "IBOL-C3BttVivg-lSreASjpkttcsz-1rb7btKLv8EX4"
}"""
VERAISON_TOKEN = (
    b"eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJlYXIudmVyaWZpZXItaWQiOnsiYnVpbGQiOiJOL0EiLCJkZXZlbG9wZXIiOiJWZXJhaXNvbiBQ"
    b"cm9qZWN0In0sImVhdF9ub25jZSI6IjNXSHlqbmRHT1RJPSIsImVhdF9wcm9maWxlIjoidGFnOmdpdGh1Yi5jb20sMjAyMzp2ZXJhaXNvbi9lYXIiLC"
    b"JpYXQiOjE3MDQ5MDgxOTUsInN1Ym1vZHMiOnsiUEFSU0VDX1RQTSI6eyJlYXIuYXBwcmFpc2FsLXBvbGljeS1pZCI6InBvbGljeTpQQVJTRUNfVFBN"
    b"IiwiZWFyLnN0YXR1cyI6ImFmZmlybWluZyIsImVhci50cnVzdHdvcnRoaW5lc3MtdmVjdG9yIjp7ImNvbmZpZ3VyYXRpb24iOjAsImV4ZWN1dGFibG"
    b"VzIjoyLCJmaWxlLXN5c3RlbSI6MCwiaGFyZHdhcmUiOjIsImluc3RhbmNlLWlkZW50aXR5IjoyLCJydW50aW1lLW9wYXF1ZSI6MCwic291cmNlZC1k"
    b"YXRhIjowLCJzdG9yYWdlLW9wYXF1ZSI6MH0sImVhci52ZXJhaXNvbi5hbm5vdGF0ZWQtZXZpZGVuY2UiOnsia2F0Ijp7ImNlcnRJbmZvIjoiLzFSRF"
    b"I0QVhBQ0lBQzRPZnJLT0ZLSGxhM2pFelVQSzNNSkNTK1cydHdCVlRFREY4RTk2dzFWWlpBQWdBQVFJREJBVUdCd0FBQUFBYXZJOTFPSFRnOTNOdHli"
    b"UUJETTZINVJSQTFjNEFJZ0FMM3p1UDlHSy96MXhBR3Fuc1Zxd0ZxU09BdkxVUExoQUkrTmErOFV3VmZWWUFJZ0FMNGhRWm1kbXJaN05vbEExdmRXbE"
    b"JMeC96TXQ0RldhSWt1R3JoWEdHUkJpWT0iLCJraWQiOiJBYUZKUUNRSDNzT3RxSFdUVWs2WjUrZncvazE4dnl2SkVuWXcxTTdrVHZ0VCIsInB1YkFy"
    b"ZWEiOiJBQ01BQ3dBRUFISUFBQUFRQUJnQUN3QURBQkFBSUtFL0JCMjJySmFDbktRK3BxM05PeEQxcmJaNXp5ZituTThzMS9jbDlwd1RBQ0IyUDlCb2"
    b"gwcDlEYmlqYUdpVVF1ZkRHWDNaL0ZYZFVqd3JCTUZEKzlPTW53PT0iLCJzaWciOiJBQmdBQ3dBZzA4SkVGY1lxRmsrUnpPVHZvaUp0K1JMOEZvd3ox"
    b"NzVMakVmTW1KTHcyOU1BSUJLbDQ3eWJyYmdmOTltK21DblVDbkZtTFRNZDN5MUFLTWVoaFNiWEMvYzQiLCJ0cG1WZXIiOiIyLjAifSwicGF0Ijp7Im"
    b"F0dGVzdEluZm8iOiIvMVJEUjRBWUFDSUFDNE9mcktPRktIbGEzakV6VVBLM01KQ1MrVzJ0d0JWVEVERjhFOTZ3MVZaWkFBZ0FBUUlEQkFVR0J3QUFB"
    b"QUFhdkk5Mk9IVGc5M050eWJRQkRNNkg1UlJBMWM0QUFBQUJBQXNEQndBQUFDQXVxYXVSbU5GamdBZEFETkxEdnZITWRGdUdTM1lCR2c0YnhTR0FyR1"
    b"JTMUE9PSIsImtpZCI6IkFhRkpRQ1FIM3NPdHFIV1RVazZaNStmdy9rMTh2eXZKRW5ZdzFNN2tUdnRUIiwic2lnIjoiQUJnQUN3QWdNcWN0TlRuZFh3"
    b"VU5MZkNERW1lOC81c0hVM2diaGFPL05OdW4xY2tpT0xBQUlLVFkwU2VWUUJIWkpuaXNPRzNTb2VOQ1dHYTJnWlMrSUhuWkN2M3dUOTVJIiwidHBtVm"
    b"VyIjoiMi4wIn19LCJlYXIudmVyYWlzb24ua2V5LWF0dGVzdGF0aW9uIjp7ImFrcHViIjoiTUZrd0V3WUhLb1pJemowQ0FRWUlLb1pJemowREFRY0RR"
    b"Z0FFb1Q4RUhiYXNsb0tjcEQ2bXJjMDdFUFd0dG5uUEpfNmN6eXpYOXlYMm5CTjJQOUJvaDBwOURiaWphR2lVUXVmREdYM1pfRlhkVWp3ckJNRkQtOU"
    b"9NbncifX19fQ.eRyCRmGEOt2GeMvi1-PiSaIVOuixBHwz8FYPSm7XuKnZd6XYe_8HQaCXEtarpOppvzoyHcZvU_4rV54iE7PQaw"
)
NONCE = bytes.fromhex("dd61f28e77463932")
ISSUED = datetime(2024, 1, 10, 17, 36, 35, tzinfo=UTC)


def test_a_token_of_a_deployed_veraison() -> None:
    found = verify_result(VERAISON_TOKEN, verification_keys(VERAISON_KEY), at=ISSUED, nonce=Challenge(NONCE))
    assert (found.profile, found.status, found.issued_at) == (Profile.VERAISON, Tier.AFFIRMING, ISSUED)
    assert found.verifier == Verifier(developer="Veraison Project", build="N/A")
    assert (found.expires_at, found.nonce) == (None, NONCE)
    one = found.submodules["PARSEC_TPM"]
    assert one.vector == TrustVector(executables=2, hardware=2, instance_identity=2)
    assert one.policies == ("policy:PARSEC_TPM",)
    assert set(one.evidence) == {"kat", "pat"}
    assert one.basis is None
    assert VerificationKey(spki=one.attested_key).algorithm == "ES256"


def test_that_token_under_another_key_or_nonce() -> None:
    with pytest.raises(SignatureInvalid):
        verify_result(
            VERAISON_TOKEN, [VerificationKey(spki=SigningKey.generate().spki)], at=ISSUED, nonce=Challenge(NONCE)
        )
    with pytest.raises(NotFresh):
        verify_result(VERAISON_TOKEN, verification_keys(VERAISON_KEY), at=ISSUED, nonce=Challenge(b"another!"))


def test_that_token_years_later_is_verified_unless_an_age_is_asked_for() -> None:
    """It has no `exp`: the reason for `max_age`."""
    later, keys, unasked = (
        ISSUED + timedelta(days=3650),
        verification_keys(VERAISON_KEY),
        Unchecked("no nonce was sent"),
    )
    assert verify_result(VERAISON_TOKEN, keys, at=later, nonce=unasked).status is Tier.AFFIRMING


POLICY = "https://veraison.example/policy/1/60a0068d"
VERAISON = Verifier(developer="https://veraison-project.org", build="vts 0.0.1")


def drafted(profile: Profile, policy: str = POLICY) -> AttestationResult:
    """Figure 3 of the drafts, and figure 5, its CBOR form: a PSA device with code that must not run."""
    one = Submodule(
        status=Tier.CONTRAINDICATED, policies=(policy,),
        vector=TrustVector(instance_identity=2, executables=96, hardware=2),
    )  # fmt: skip
    return AttestationResult.of(
        {"PSA": one},
        verifier=VERAISON,
        profile=profile,
        expires_at=None,
        issued_at=datetime.fromtimestamp(1666529184, UTC),
    )


@pytest.mark.parametrize(
    ("profile", "raw"),
    [
        (Profile.DRAFT_03, "NzQ3MjY5NzM2NTYzNzQK"),
        (Profile.DRAFT_04, ["application/vnd.evidence", "NzQ3MjY5NzM2NTYzNzQK"]),
    ],
    ids=["03", "04"],
)
def test_the_drafts_json(profile: Profile, raw: object) -> None:
    claims = {
        "eat_profile": profile.value,
        "iat": 1666529184,
        "ear_verifier_id": {"developer": "https://veraison-project.org", "build": "vts 0.0.1"},
        "ear_raw_evidence": raw,
        "submods": {
            "PSA": {
                "ear_status": "contraindicated",
                "ear_trustworthiness_vector": {"instance-identity": 2, "executables": 96, "hardware": 2},
                "ear_appraisal_policy_ids": [POLICY],
            }
        },
    }
    assert result_of_json(json.dumps(claims).encode()) == drafted(profile)


@pytest.mark.parametrize("profile", [Profile.DRAFT_03, Profile.DRAFT_04], ids=["03", "04"])
def test_the_drafts_cbor(profile: Profile) -> None:
    claims = {
        265: profile.value,
        6: 1666529184,
        1004: {0: "https://veraison-project.org", 1: "vts 0.0.1"},
        1002: b"lifeboatman",
        266: {"PSA": {1000: 96, 1001: {0: 2, 2: 96, 4: 2}, 1003: [POLICY]}},
    }
    assert result_of_cbor(_cbor.dumps(claims), longest=1 << 16) == drafted(profile)


def test_two_attesters_of_a_composite_device() -> None:
    """Figure 4: the claims that are missing claim nothing, and do not make the whole worse."""
    realm = {"ear_status": "affirming", "ear_trustworthiness_vector": {"instance-identity": 2}}
    platform = {
        "ear_status": "affirming",
        "ear_trustworthiness_vector": {"instance-identity": 2, "executables": 2, "hardware": 2},
    }
    claims = {
        "eat_profile": "tag:ietf.org,2026:rats/ear#03",
        "iat": 1666529300,
        "ear_verifier_id": {"developer": "https://veraison-project.org", "build": "vts 0.0.1"},
        "submods": {"CCA Platform": platform, "CCA Realm": realm},
    }
    found = result_of_json(json.dumps(claims).encode())
    assert (found.status, set(found.submodules)) == (Tier.AFFIRMING, {"CCA Platform", "CCA Realm"})


def test_the_time_of_issue_that_the_appendix_shows_is_refused() -> None:
    """The drafts' appendix B carries `"iat":1.666529184e+09`, which their own section 3 forbids."""
    payload = (
        b'{"eat_profile":"tag:github.com,2023:veraison/ear","iat":1.666529184e+09,"submods":{"a":{"ear.status":"none"}}'
    )
    payload += b',"ear.verifier-id":{"developer":"a","build":"b"}}'
    with pytest.raises(ParseError, match="iat at byte 0: is not a whole number"):
        result_of_json(payload)
    assert result_of_json(payload.replace(b"1.666529184e+09", b"1666529184")).status is Tier.NONE


def test_trustee_s_claims() -> None:
    """As its broker builds them: TEE and device numbered, claims under the TEE's name, `exp`, no nonce."""
    claims = {
        "eat_profile": "tag:github.com,2024:confidential-containers/Trustee",
        "iat": 1761119308,
        "exp": 1761119608,
        "ear.verifier-id": {"developer": "https://confidentialcontainers.org", "build": "attestation-service 0.1.0"},
        "submods": {
            "cpu0": {
                "ear.status": "contraindicated",
                "ear.trustworthiness-vector": {
                    "configuration": 36, "executables": 33, "file-system": 35, "hardware": 97,
                },
                "ear.appraisal-policy-id": "default",
                "ear.veraison.annotated-evidence": {
                    "init_data": "aa", "init_data_claims": None, "report_data": "bb",
                    "runtime_data_claims": {"tee-pubkey": {"kty": "EC"}}, "tdx": {"quote": {"body": {"mr_td": "cc"}}},
                },
            }
        },
    }  # fmt: skip
    found = result_of_json(json.dumps(claims).encode())
    one = found.submodules["cpu0"]
    assert (found.profile, found.status, one.policies) == (Profile.TRUSTEE, Tier.CONTRAINDICATED, ("default",))
    assert one.vector == TrustVector(configuration=36, executables=33, file_system=35, hardware=97)
    assert one.evidence["tdx"] == {"quote": {"body": {"mr_td": "cc"}}}
    assert found.expires_at == datetime.fromtimestamp(1761119608, UTC)
