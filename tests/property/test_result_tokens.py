"""Any attestation result survives signing and verifying in every profile and encoding; any bytes are refused."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloister.appraise.vector import Tier, TrustVector
from cloister.errors import ParseError, VerificationError
from cloister.model import Challenge, Tee, Unchecked
from cloister.result.algorithms import Algorithm
from cloister.result.attestation import AttestationResult, Basis, Json, Profile, Submodule, Verifier
from cloister.result.decode import result_of_cbor, result_of_json
from cloister.result.keys import VerificationKey
from cloister.result.signing import SigningKey
from cloister.result.token import issue_cwt, issue_jwt, parse_token
from cloister.result.verify import verify_result
from cloister.verification.recipe import Tcb

KEYS = {algorithm: SigningKey.generate(algorithm) for algorithm in Algorithm}
DRAFTS = {Profile.DRAFT_03, Profile.DRAFT_04}
JWT = issue_jwt(
    AttestationResult.of(
        {"cpu0": Submodule(status=Tier.AFFIRMING)}, verifier=Verifier(developer="d", build="b"),
        issued_at=datetime(2026, 1, 1, tzinfo=UTC), expires_at=None,
    ),
    KEYS[Algorithm.ES256],
)  # fmt: skip

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = texts.filter(bool)
seconds = st.datetimes(datetime(1970, 1, 2), datetime(9990, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001 - zone beside
    lambda time: time.replace(microsecond=0)
)
instants = st.datetimes(datetime(1970, 1, 2), datetime(9990, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
plain: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 64), (1 << 64) - 1) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
claims = st.dictionaries(texts.filter(lambda name: name != "cloister"), plain, max_size=3)
vectors = st.builds(
    TrustVector,
    **dict.fromkeys(TrustVector().values(), st.just(0) | st.integers(-128, 127)),
)
bases = st.builds(
    Basis, tee=st.sampled_from(Tee), anchor_kind=texts, anchor=texts, verified_at=instants,
    tcb=st.builds(
        Tcb, status=texts, advisories=st.lists(texts, max_size=3).map(tuple), date=st.none() | instants
    ),
    unchecked=st.lists(texts, max_size=3).map(tuple),
    evidence_sha256=st.just(b"") | st.binary(min_size=32, max_size=32),
)  # fmt: skip


@st.composite
def submodules(draw: st.DrawFn, profile: Profile) -> Submodule:
    vector = draw(vectors)
    return Submodule(
        status=draw(st.sampled_from([tier for tier in Tier if vector.bears(tier)])),
        vector=vector,
        policies=tuple(draw(st.lists(names, max_size=3 if profile in DRAFTS else 1))),
        evidence=draw(claims),
        added=draw(claims),
        attested_key=draw(st.binary(max_size=40)),
        basis=draw(st.none() | bases),
    )


@st.composite
def results(draw: st.DrawFn) -> AttestationResult:
    profile = draw(st.sampled_from(Profile))
    parts = draw(st.dictionaries(names, submodules(profile), min_size=1, max_size=3))
    worst = max(one.status for one in parts.values())
    worse = [tier for tier in Tier if tier >= worst]
    issued = draw(seconds)
    return AttestationResult(
        profile=profile,
        verifier=Verifier(developer=draw(names), build=draw(names)),
        submodules=parts,
        status=draw(st.sampled_from(worse)) if profile in DRAFTS else worst,
        nonce=draw(st.just(b"") | st.binary(min_size=8, max_size=64)),
        issued_at=issued,
        expires_at=draw(st.none() | st.integers(1, 10**6).map(lambda age: issued + timedelta(seconds=age))),
        not_before=draw(st.none() | st.just(issued)),
    )


@given(said=results(), algorithm=st.sampled_from(Algorithm), issue=st.sampled_from([issue_jwt, issue_cwt]))
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_what_was_said_is_what_is_heard(said: AttestationResult, algorithm: Algorithm, issue: Any) -> None:
    key = KEYS[algorithm]
    nonce = Challenge(said.nonce) if any(said.nonce) else Unchecked("none was sent")
    token = issue(said, key)
    assert verify_result(token, [VerificationKey(spki=key.spki)], at=said.issued_at, nonce=nonce) == said


@given(data=st.binary(max_size=200))
@settings(max_examples=300)
def test_any_bytes_are_refused(data: bytes) -> None:
    for read in (parse_token, result_of_json, lambda payload: result_of_cbor(payload, longest=1 << 16)):
        try:
            read(data)
        except ParseError:
            continue
        assert read is parse_token


@given(data=plain)
@settings(max_examples=300)
def test_any_json_is_refused(data: Json) -> None:
    try:
        result_of_json(json.dumps(data).encode())
    except ParseError:
        return
    raise AssertionError("an attestation result from nothing")


@given(data=st.data())
@settings(max_examples=300)
def test_a_changed_token_is_refused(data: st.DataObject) -> None:
    """Cut, lengthened, or with other bytes in the middle: never verified, and refused in one of two ways."""
    start = data.draw(st.integers(0, len(JWT)))
    stop = data.draw(st.integers(start, len(JWT)))
    middle = data.draw(st.binary(max_size=4))
    changed = JWT[:start] + middle + JWT[stop:]
    if changed == JWT:
        return
    try:
        verify_result(
            changed, [VerificationKey(spki=KEYS[Algorithm.ES256].spki)],
            at=datetime(2026, 1, 1, tzinfo=UTC), nonce=Unchecked("not asked"),
        )  # fmt: skip
    except (ParseError, VerificationError):
        return
    raise AssertionError(f"verified: {changed!r}")
