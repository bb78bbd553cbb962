"""Verifying attestation results: keys, times, nonces, and the reason of every refusal."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.forge.results import LATER, NONCE, NOW, result

from cloister.errors import EndorsementUnavailable, NotFresh, ParseError, SignatureInvalid
from cloister.model import Challenge, Unchecked
from cloister.result.algorithms import Algorithm
from cloister.result.attestation import AttestationResult, Profile, Submodule
from cloister.result.keys import VerificationKey
from cloister.result.signing import SigningKey
from cloister.result.token import issue_cwt, issue_jwt, parse_token
from cloister.result.verify import Unverified, decode_unverified, verify_result

KEY = SigningKey.generate()
OTHER = SigningKey.generate()
KEYS = [VerificationKey(spki=KEY.spki)]
ISSUERS = {"JWT": issue_jwt, "CWT": issue_cwt}
issuers = pytest.mark.parametrize("issue", ISSUERS.values(), ids=ISSUERS)
NOT_ASKED = Unchecked("no nonce was sent")


def verified(token: bytes, **changes: Any) -> AttestationResult:
    options: dict[str, Any] = {"at": NOW, "nonce": Challenge(NONCE)} | changes
    return verify_result(token, options.pop("keys", KEYS), **options)


@issuers
@pytest.mark.parametrize("profile", list(Profile), ids=[profile.name for profile in Profile])
@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_what_was_said_is_what_is_heard(issue: Any, profile: Profile, algorithm: Algorithm) -> None:
    key = SigningKey.generate(algorithm)
    said = result(profile=profile)
    token = issue(said, key)
    assert verified(token, keys=[VerificationKey(spki=key.spki)]) == said
    assert parse_token(token).algorithm == algorithm


@issuers
@pytest.mark.parametrize(
    ("at", "reason"),
    [
        (LATER, "has expired"),
        (LATER + timedelta(days=1), "has expired"),
        (NOW - timedelta(seconds=61), "is not valid yet"),
    ],
    ids=["at the second of exp", "a day later", "before it was issued"],
)
def test_outside_its_time(issue: Any, at: datetime, reason: str) -> None:
    with pytest.raises(EndorsementUnavailable, match=reason) as caught:
        verified(issue(result(), KEY), at=at)
    assert caught.value.exit_code == 6


@issuers
@pytest.mark.parametrize("at", [NOW - timedelta(seconds=60), NOW, LATER - timedelta(seconds=1)])
def test_inside_its_time(issue: Any, at: datetime) -> None:
    assert verified(issue(result(), KEY), at=at) == result()


@issuers
def test_not_before(issue: Any) -> None:
    token = issue(result(not_before=NOW + timedelta(seconds=100)), KEY)
    with pytest.raises(EndorsementUnavailable, match="is not valid yet"):
        verified(token)
    assert verified(token, at=NOW + timedelta(seconds=40)).not_before == NOW + timedelta(seconds=100)


@issuers
def test_without_an_end_only_the_age_is_asked(issue: Any) -> None:
    token, later = issue(result(expires_at=None), KEY), NOW + timedelta(days=365)
    assert verified(token, at=later).expires_at is None
    assert verified(token, at=later, max_age=timedelta(days=365)).expires_at is None
    with pytest.raises(EndorsementUnavailable, match="more than 1 day, 0:00:00 old"):
        verified(token, at=later, max_age=timedelta(days=1))


@issuers
@pytest.mark.parametrize(
    "nonce",
    [NONCE[:-1], NONCE + b"\0", bytes(31) + b"\1", NONCE[::-1]],
    ids=["shorter", "longer", "nearly zeros", "reversed"],
)
def test_another_nonce(issue: Any, nonce: bytes) -> None:
    with pytest.raises(NotFresh, match="answers another nonce"):
        verified(issue(result(), KEY), nonce=Challenge(nonce))


@issuers
def test_no_nonce(issue: Any) -> None:
    token = issue(result(nonce=b""), KEY)
    with pytest.raises(NotFresh, match="has no nonce"):
        verified(token)
    assert verified(token, nonce=NOT_ASKED).nonce == b""


@issuers
def test_another_key(issue: Any) -> None:
    with pytest.raises(SignatureInvalid, match="does not verify under any key given") as caught:
        verified(issue(result(), KEY), keys=[VerificationKey(spki=OTHER.spki)])
    assert caught.value.exit_code == 5


@issuers
def test_one_of_several_keys(issue: Any) -> None:
    keys = [VerificationKey(spki=OTHER.spki), *KEYS]
    assert verified(issue(result(), KEY), keys=keys) == result()


@issuers
def test_no_key(issue: Any) -> None:
    with pytest.raises(SignatureInvalid, match="none of the 0 keys"):
        verified(issue(result(), KEY), keys=[])


@issuers
def test_keys_are_chosen_by_their_identifier(issue: Any) -> None:
    token = issue(result(), KEY)
    kid = parse_token(token).kid
    assert verified(token, keys=[VerificationKey(spki=KEY.spki, kid=kid)]) == result()
    with pytest.raises(SignatureInvalid, match="identifier"):
        verified(token, keys=[VerificationKey(spki=KEY.spki, kid="another")])


@issuers
def test_decoding_does_not_believe(issue: Any) -> None:
    decoded = decode_unverified(issue(result(), OTHER))
    assert decoded.claimed == result()
    assert type(decoded) is Unverified
    assert not issubclass(Unverified, AttestationResult)


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (b"", "CWT"),
        (b"ey", "1 parts"),
        (b"eyJ.e30", "2 parts"),
        (b"eyJhbGciOiJFUzI1NiJ9.e30.AA.AA", "4 parts"),
        (b"eyJhbGciOiJFUzI1NiJ9.e30.A", "signature at byte 25: is not base64url"),
        (b"eyJhbGciOiJFUzI1NiJ9.e3 0.AA", "payload at byte 21: is not base64url"),
        (b"e30.e30.AA", "CWT"),
        (b"eyJhIjoxfQ.e30.AA", "alg at byte 0: is missing"),
        (b"eyJhbGciOjF9.e30.AA", "alg at byte 0: is not a string"),
        (b"ey" + b"A" * (1 << 20), "at most 1048576"),
        (b"\xd2\x84" + bytes(1 << 16), "at most 65536"),
    ],
)
def test_what_is_no_token(token: bytes, reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        verified(token)


@pytest.mark.parametrize(("issue", "size"), [(issue_jwt, 1 << 20), (issue_cwt, 1 << 16)], ids=ISSUERS)
def test_a_token_that_nobody_would_read_is_not_issued(issue: Any, size: int) -> None:
    said = result()
    large = Submodule(status=said.status, evidence={"log": "x" * size})
    with pytest.raises(ValueError, match="leave out some of the evidence"):
        issue(result(submodules={"cpu0": large}), KEY)
