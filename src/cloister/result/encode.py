"""From an AttestationResult to an EAR claims-set."""

import json
from datetime import datetime

from cloister import _cbor
from cloister.result.attestation import BASIS, AttestationResult, Basis, Json, Submodule
from cloister.result.claims import (
    CBOR,
    EXPIRES,
    ISSUED,
    JSON,
    NAMES,
    NONCE,
    NOT_BEFORE,
    PROFILE,
    SUBMODULES,
    VECTOR,
    VERIFIER,
    Form,
    Names,
)

__all__ = ["cbor_claims", "json_claims"]

Claims = dict[int | str, object]


def json_claims(result: AttestationResult) -> bytes:
    """The payload of a JWT. ValueError if the profile cannot say what the result says."""
    return json.dumps(claims_of(result, JSON), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def cbor_claims(result: AttestationResult) -> bytes:
    """The payload of a CWT. ValueError if the profile or CBOR cannot say what the result says."""
    try:
        return _cbor.dumps(claims_of(result, CBOR))
    except TypeError as error:  # floating-point numbers, which only other verifiers' tokens have
        raise ValueError(str(error)) from error


def claims_of(result: AttestationResult, form: Form) -> Claims:
    """The claims-set of a result in its profile."""
    names = NAMES[result.profile]
    verifier: Claims = {form.name(VERIFIER[name]): getattr(result.verifier, name) for name in VERIFIER}
    claims: Claims = {
        form.name(PROFILE): result.profile.value,
        form.name(ISSUED): seconds(result.issued_at),
        form.name(names.verifier): verifier,
        form.name(SUBMODULES): {name: submodule(one, form, names) for name, one in result.submodules.items()},
    }
    for name, time in ((EXPIRES, result.expires_at), (NOT_BEFORE, result.not_before)):
        if time is not None:
            claims[form.name(name)] = seconds(time)
    if result.nonce:
        claims[form.name(NONCE)] = form.octets(result.nonce)
    if names.drafted:
        claims[form.name(names.status)] = form.tier(result.status)
    elif result.status != max(one.status for one in result.submodules.values()):
        raise ValueError(f"profile {result.profile} cannot say that the whole is {result.status}: its parts are better")
    return claims


def submodule(one: Submodule, form: Form, names: Names) -> Claims:
    """The claims of one appraisal."""
    claims: Claims = {form.name(names.status): form.tier(one.status)}
    if claimed := one.vector.claimed():
        claims[form.name(names.vector)] = {form.name(VECTOR[name]): value for name, value in claimed.items()}
    if one.policies:
        claims[form.name(names.policy)] = policies(one, names)
    if one.evidence:
        claims[form.name(names.evidence)] = dict(one.evidence)
    if added := dict(one.added) | ({} if one.basis is None else {BASIS: basis(one.basis)}):
        claims[form.name(names.added)] = added
    if one.attested_key:
        claims[form.name(names.key)] = {form.name(names.key_member): form.octets(one.attested_key)}
    return claims


def policies(one: Submodule, names: Names) -> str | list[str]:
    """The identifiers of the policies: a list, or the only one."""
    if names.drafted:
        return list(one.policies)
    if len(one.policies) > 1:
        raise ValueError(f"the deployed profiles name one policy, not {len(one.policies)}")
    return one.policies[0]


def basis(one: Basis) -> dict[str, Json]:
    """What an appraisal rests on, the same in JSON and CBOR."""
    claims: dict[str, Json] = {
        "tee": one.tee.value,
        "anchor": one.anchor,
        "anchor_kind": one.anchor_kind,
        "verified_at": one.verified_at.isoformat(),
        "unchecked": list(one.unchecked),
    }
    if one.tcb.status:
        claims["tcb_status"] = one.tcb.status
    if one.tcb.advisories:
        claims["tcb_advisories"] = list(one.tcb.advisories)
    if one.tcb.date is not None:
        claims["tcb_date"] = one.tcb.date.isoformat()
    if one.evidence_sha256:
        claims["evidence_sha256"] = one.evidence_sha256.hex()
    return claims


def seconds(time: datetime) -> int:
    """Seconds since 1970 (RFC 7519, NumericDate), a whole number."""
    return int(time.timestamp())
