"""Verify an attestation result: who signed it, whether it is valid now, whether it answers the nonce.

1. Take the token apart; bounded, one spelling per value, no critical headers.
2. Choose keys: the caller's only, those with the token's `kid` if both have one. A key that a token brings is not used.
3. The token's `alg` is the algorithm of the key. Then the signature, before the payload is looked at.
4. Read the claims: known profile, every known claim of its type, no status better than what it sums up.
5. `exp`, `nbf`, `iat` and the caller's maximum age, at the caller's time.
6. The caller's nonce is echoed.

It does NOT check whether the status is good enough, which the relying party decides, nor the evidence again, nor
whether the signing key has been withdrawn: give the verifier's current keys.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cloister import _crypto
from cloister.errors import EndorsementUnavailable, NotFresh, SignatureInvalid
from cloister.model import Challenge, Unchecked
from cloister.result.algorithms import check_signature
from cloister.result.attestation import AttestationResult
from cloister.result.keys import VerificationKey
from cloister.result.token import Token, parse_token

__all__ = ["Unverified", "check_times", "decode_unverified", "verify_result"]

LEEWAY: Final = timedelta(seconds=60)
"""How far the verifier's clock may be ahead of ours. Never added to the time at which a result expires."""
WHAT: Final = "the attestation result's signature"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unverified:
    """What a token claims. Not an AttestationResult, so that nothing that takes one takes this by mistake."""

    claimed: AttestationResult
    token: Token


def decode_unverified(token: bytes) -> Unverified:
    """Decode without believing, to look at it. ParseError or BindingInvalid if there is nothing to look at."""
    taken = parse_token(token)
    return Unverified(claimed=taken.result(), token=taken)


def verify_result(
    token: bytes,
    keys: Iterable[VerificationKey],
    *,
    at: datetime,
    nonce: Challenge | Unchecked,
    max_age: timedelta | Unchecked = Unchecked("no maximum age was asked for"),  # noqa: B008 - immutable
) -> AttestationResult:
    """The result in a JWT or CWT that one of these keys signed.

    `at` has a time zone. `nonce` is what the relying party sent, or why it sent none; without a nonce and a maximum
    age, a result without `exp` is good for ever. Raises ParseError (malformed), SignatureInvalid, BindingInvalid
    (contradicts itself), NotFresh, EndorsementUnavailable (expired, too old, not valid yet).
    """
    taken = parse_token(token)
    _check_signature(taken, tuple(keys))
    result = taken.result()
    check_times(result, at, max_age)
    if isinstance(nonce, Challenge):
        _check_nonce(result, nonce.nonce)
    return result


def _check_signature(token: Token, keys: Sequence[VerificationKey]) -> None:
    """One of the keys signed the token, or SignatureInvalid."""
    named = [key for key in keys if not (key.kid and token.kid) or key.kid == token.kid]
    if not named:
        raise SignatureInvalid(
            f"none of the {len(keys)} keys has the identifier that the result names",
            expected=[key.kid for key in keys], actual=token.kid, set_by="the caller's keys",
        )  # fmt: skip
    fitting = [key for key in named if key.algorithm == token.algorithm]
    if not fitting:
        raise SignatureInvalid(
            f"the result says it is signed with {token.algorithm!r}, which is not the algorithm of any key given",
            expected=sorted({str(key.algorithm) for key in named}), actual=token.algorithm, set_by="the caller's keys",
        )  # fmt: skip
    for key in fitting:
        try:
            check_signature(key.spki, token.signature, token.signed, what=WHAT)
        except SignatureInvalid:
            continue
        return
    raise SignatureInvalid(f"{WHAT} does not verify under any key given", set_by="the caller's keys")


def check_times(result: AttestationResult, at: datetime, max_age: timedelta | Unchecked) -> None:
    """The result is valid at that time (RFC 7519, sections 4.1.4 to 4.1.6), or EndorsementUnavailable."""
    if result.expires_at is not None and at >= result.expires_at:
        raise _outside("has expired", ("until", result.expires_at), at)
    start = max(result.issued_at, result.not_before or result.issued_at)
    if start - at > LEEWAY:
        raise _outside("is not valid yet", ("from", start), at)
    if isinstance(max_age, timedelta) and at - result.issued_at > max_age:
        raise _outside(f"is more than {max_age} old", ("issued", result.issued_at), at)


def _outside(reason: str, expected: tuple[str, datetime], at: datetime) -> EndorsementUnavailable:
    when = f"{expected[0]} {expected[1]:%Y-%m-%d %H:%M:%S} UTC"
    return EndorsementUnavailable(
        f"the attestation result {reason} ({when}); ask the verifier for a new one",
        expected=expected, actual=at, set_by="the attestation result, or the caller's maximum age",
    )  # fmt: skip


def _check_nonce(result: AttestationResult, nonce: bytes) -> None:
    """The result echoes exactly this nonce, or NotFresh."""
    if not result.nonce:
        raise NotFresh("the attestation result has no nonce", expected=nonce, actual=b"", set_by="the caller's nonce")
    if not _crypto.equal(result.nonce, nonce):
        raise NotFresh(
            "the attestation result answers another nonce", expected=nonce, actual=result.nonce,
            set_by="the caller's nonce",
        )  # fmt: skip
