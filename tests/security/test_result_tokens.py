"""Attacks on attestation results: confused algorithms, keys that the token brings, changed bytes. None may verify."""

import hmac
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.forge.results import NONCE, NOW, result

from cloister import _cbor
from cloister._cose import CoseSign1
from cloister.appraise.vector import Tier
from cloister.errors import BindingInvalid, CloisterError, ParseError, SignatureInvalid, VerificationError
from cloister.model import Challenge
from cloister.result import _base64url
from cloister.result.algorithms import Algorithm
from cloister.result.attestation import AttestationResult, Profile
from cloister.result.encode import cbor_claims, json_claims
from cloister.result.jwk import public_jwk
from cloister.result.keys import VerificationKey
from cloister.result.signing import SigningKey
from cloister.result.token import issue_cwt, issue_jwt
from cloister.result.verify import verify_result

KEYS = {algorithm: SigningKey.generate(algorithm) for algorithm in Algorithm}
GOOD = KEYS[Algorithm.ES256]
MALLORY = SigningKey.generate()
PAYLOAD = json_claims(result())


def verified(token: bytes, *keys: SigningKey) -> AttestationResult:
    given = [VerificationKey(spki=key.spki) for key in keys or (GOOD,)]
    return verify_result(token, given, at=NOW, nonce=Challenge(NONCE))


def jwt(header: dict[str, object], sign: Callable[[bytes], bytes], payload: bytes = PAYLOAD) -> bytes:
    """A token with any header and any signature."""
    signed = f"{_base64url.encode(json.dumps(header).encode())}.{_base64url.encode(payload)}".encode()
    return signed + b"." + _base64url.encode(sign(signed)).encode()


def cwt(protected: Mapping[int, object], sign: Callable[[bytes], bytes], unprotected: Mapping[int, object]) -> bytes:
    """The same as COSE_Sign1."""
    parts: dict[str, Any] = {
        "protected": _cbor.dumps(protected), "unprotected": unprotected,
        "payload": cbor_claims(result()), "tagged": True,
    }  # fmt: skip
    return CoseSign1(signature=sign(CoseSign1(signature=b"", **parts).to_be_signed()), **parts).serialize()


def test_the_tokens_made_here_can_verify() -> None:
    """Otherwise the attacks below would fail for another reason than they should."""
    assert verified(jwt({"alg": "ES256"}, GOOD.sign)) == result()
    assert verified(cwt({1: -7}, GOOD.sign, {})) == result()


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", ""])
@pytest.mark.parametrize("signature", [b"", bytes(64)], ids=["empty", "zeros"])
def test_unsigned(name: str, signature: bytes) -> None:
    with pytest.raises(SignatureInvalid, match="not the algorithm of any key"):
        verified(jwt({"alg": name}, lambda _signed: signature))


def encodings(key: SigningKey) -> dict[str, bytes]:
    """The public key in every form that a careless verifier might use as an HMAC key."""
    public = serialization.load_der_public_key(key.spki)
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return {"DER": key.spki, "PEM": pem, "PEM stripped": pem.strip(), "JWK": json.dumps(public_jwk(key.spki)).encode()}


@pytest.mark.parametrize("algorithm", list(Algorithm))
@pytest.mark.parametrize("form", ["DER", "PEM", "PEM stripped", "JWK"])
@pytest.mark.parametrize("name", ["HS256", "HS384", "HS512"])
def test_the_public_key_as_an_hmac_key(algorithm: Algorithm, form: str, name: str) -> None:
    key, digest = KEYS[algorithm], f"sha{name[2:]}"
    token = jwt({"alg": name}, lambda signed: hmac.digest(encodings(key)[form], signed, digest))
    with pytest.raises(SignatureInvalid, match="not the algorithm of any key"):
        verified(token, key)
    disguised = jwt({"alg": str(algorithm)}, lambda signed: hmac.digest(encodings(key)[form], signed, digest))
    with pytest.raises(SignatureInvalid):
        verified(disguised, key)


@pytest.mark.parametrize("claimed", [*Algorithm, "RS256", "ES512", "PS512", "Ed25519", "es256", "ES256 ", "ES256K"])
@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_an_algorithm_that_is_not_the_key_s(claimed: str, algorithm: Algorithm) -> None:
    if claimed == algorithm:
        return
    key = KEYS[algorithm]
    with pytest.raises(SignatureInvalid, match="not the algorithm of any key"):
        verified(jwt({"alg": claimed}, key.sign), key)


@pytest.mark.parametrize("number", [-35, -36, -8, -37, -38, -39])
def test_an_algorithm_that_is_not_the_key_s_in_cose(number: int) -> None:
    with pytest.raises(SignatureInvalid, match="not the algorithm of any key"):
        verified(cwt({1: number}, GOOD.sign, {}))


@pytest.mark.parametrize("number", [5, 0, -65535, -257, "ES256"])
def test_an_unknown_algorithm_in_cose(number: object) -> None:
    """HMAC (5), none, RS1, RS256, a name instead of a number."""
    with pytest.raises(ParseError, match="alg"):
        verified(cwt({1: number}, GOOD.sign, {}))


def test_an_algorithm_outside_the_signed_headers() -> None:
    for protected in ({}, {1: -7}):
        with pytest.raises(ParseError, match=r"alg|protected"):
            verified(cwt(protected, GOOD.sign, {1: -7}))


BROUGHT: dict[str, dict[str, object]] = {
    "jwk": {"jwk": public_jwk(MALLORY.spki)},
    "jku": {"jku": "https://mallory.example/keys"},
    "x5u": {"x5u": "https://mallory.example/chain"},
    "x5c": {"x5c": [_base64url.encode(MALLORY.spki)]},
    "kid of the good key": {"kid": str(public_jwk(GOOD.spki)["kid"])},
    "kid as a path": {"kid": "../../../../dev/null"},
    "all of them": {"jwk": public_jwk(MALLORY.spki), "jku": "https://mallory.example", "kid": "1"},
}


@pytest.mark.parametrize("header", BROUGHT.values(), ids=BROUGHT)
def test_keys_that_the_token_brings_are_not_used(header: dict[str, object]) -> None:
    with pytest.raises(SignatureInvalid):
        verified(jwt({"alg": "ES256"} | header, MALLORY.sign))
    if "kid" not in header:
        assert verified(jwt({"alg": "ES256"} | header, GOOD.sign)) == result()


@pytest.mark.parametrize("header", [{"crit": ["exp"], "exp": 1}, {"crit": []}, {"b64": False, "crit": ["b64"]}])
def test_critical_headers(header: dict[str, object]) -> None:
    with pytest.raises(ParseError, match="crit"):
        verified(jwt({"alg": "ES256"} | header, GOOD.sign))


def test_critical_headers_in_cose() -> None:
    with pytest.raises(ParseError, match="crit"):
        verified(cwt({1: -7, 2: [99], 99: 1}, GOOD.sign, {}))


def test_two_algorithms_in_one_header() -> None:
    header = b'{"alg":"none","alg":"ES256"}'
    signed = f"{_base64url.encode(header)}.{_base64url.encode(PAYLOAD)}".encode()
    with pytest.raises(ParseError, match="stands twice"):
        verified(signed + b"." + _base64url.encode(GOOD.sign(signed)).encode())


@pytest.mark.parametrize("key", [b"status", b"sub"], ids=["status", "submods"])
def test_two_answers_in_one_payload(key: bytes) -> None:
    """One for a parser that takes the first, another for one that takes the last."""
    name = b'"ear.status":"contraindicated",' if key == b"status" else b'"submods":{},'
    place = PAYLOAD.index(b'"ear.status"' if key == b"status" else b'"submods"')
    payload = PAYLOAD[:place] + name + PAYLOAD[place:]
    with pytest.raises(ParseError, match="stands twice"):
        verified(jwt({"alg": "ES256"}, GOOD.sign, payload))


def test_a_verifier_s_own_contradiction() -> None:
    """Rightly signed, but better than its vector: refused, whoever reads only the status is deceived."""
    claims = json.loads(PAYLOAD)
    claims["submods"]["cpu0"]["ear.trustworthiness-vector"]["hardware"] = 97
    with pytest.raises(BindingInvalid):
        verified(jwt({"alg": "ES256"}, GOOD.sign, json.dumps(claims).encode()))


@pytest.mark.parametrize("signature", [b"", bytes(64), bytes(63), bytes(65), b"\xff" * 64, bytes(70)])
@pytest.mark.parametrize("algorithm", [Algorithm.ES256, Algorithm.EDDSA])
def test_signatures_that_are_none(signature: bytes, algorithm: Algorithm) -> None:
    with pytest.raises(SignatureInvalid):
        verified(jwt({"alg": str(algorithm)}, lambda _signed: signature), KEYS[algorithm])


def test_a_signature_in_longer_numbers() -> None:
    """The same r and s with zeros before them: right numbers, another spelling."""

    def padded(signed: bytes) -> bytes:
        signature = GOOD.sign(signed)
        return b"\0" + signature[:32] + b"\0" + signature[32:]

    for token in (jwt({"alg": "ES256"}, padded), cwt({1: -7}, padded, {})):
        with pytest.raises(SignatureInvalid):
            verified(token)


def test_a_signature_in_der_is_not_jose() -> None:
    private: Any = serialization.load_pem_private_key(GOOD.to_pem(), None)
    with pytest.raises(SignatureInvalid):
        verified(jwt({"alg": "ES256"}, lambda signed: bytes(private.sign(signed, ec.ECDSA(hashes.SHA256())))))


def test_a_signature_of_something_else() -> None:
    """A JWT's signature under a CWT of the same content, and the other way round."""
    jwt_signature = _base64url.decode(issue_jwt(result(), GOOD).rpartition(b".")[2].decode())
    with pytest.raises(SignatureInvalid):
        verified(cwt({1: -7}, lambda _signed: jwt_signature, {}))
    with pytest.raises(SignatureInvalid):
        verified(jwt({"alg": "ES256"}, lambda _signed: issue_cwt(result(), GOOD)[-64:]))


SMALL = result(submodules={"cpu0": result().submodules["cpu0"]}, expires_at=None)


@pytest.mark.parametrize("issue", [issue_jwt, issue_cwt], ids=["JWT", "CWT"])
@pytest.mark.parametrize("algorithm", [Algorithm.ES256, Algorithm.EDDSA, Algorithm.PS256])
def test_no_token_with_one_bit_changed_verifies(issue: Any, algorithm: Algorithm) -> None:
    """Every bit of the whole token: no part of it is without protection, not even the spelling of its base64."""
    key = KEYS[algorithm]
    token = issue(SMALL, key)
    assert verified(token, key) == SMALL
    survivors = []
    for place in range(8 * len(token)):
        changed = bytearray(token)
        changed[place // 8] ^= 1 << place % 8
        try:
            verified(bytes(changed), key)
        except (VerificationError, ParseError):
            continue
        survivors.append(place)
    assert not survivors


@pytest.mark.parametrize("issue", [issue_jwt, issue_cwt], ids=["JWT", "CWT"])
@pytest.mark.parametrize("extra", [b"\n", b" ", b"\0", b"=", b".", b".e30", b"A"])
def test_nothing_may_stand_around_a_token(issue: Any, extra: bytes) -> None:
    token = issue(result(), GOOD)
    for changed in (token + extra, extra + token):
        with pytest.raises((ParseError, SignatureInvalid)):
            verified(changed)


@pytest.mark.parametrize(
    "outside",
    [
        b"\xd8\x12\x84", b"\xd9\x00\x12\x84", b"\xd2\x98\x04", b"\xd2\x9f", b"\xd8\x3d\x84", b"\xd1\x84",
    ],
    ids=["long tag", "longer tag", "long array", "endless array", "CWT tag alone", "COSE_Mac0"],
)  # fmt: skip
def test_other_spellings_of_a_cwt(outside: bytes) -> None:
    token = issue_cwt(result(), GOOD)
    assert token[:2] == b"\xd2\x84"
    with pytest.raises(ParseError):
        verified(outside + token[2:])


def test_the_tag_of_cwt_may_stand_before_it() -> None:
    assert verified(b"\xd8\x3d" + issue_cwt(result(), GOOD)) == result()


def test_a_result_of_another_verifier_for_the_same_nonce() -> None:
    with pytest.raises(SignatureInvalid):
        verified(issue_jwt(result(), MALLORY))


def test_large_input_ends_soon() -> None:
    """Bounded before anything is parsed, whatever the header says."""
    deep = _base64url.encode(b'{"alg":' + b"[" * 40_000)
    for token in (
        b"ey" * (1 << 20), deep.encode() + b".e30.AA", b"\xd2" * (1 << 15), b"\xd2\x84" + b"\x81" * 60_000,
        b"ey." * 300_000,
    ):  # fmt: skip
        with pytest.raises(CloisterError):
            verified(token)


def test_a_status_is_never_improved_by_decoding() -> None:
    for tier in Tier:
        made = result(status=tier, profile=Profile.DRAFT_04)
        assert verified(issue_jwt(made, GOOD)).status is tier
