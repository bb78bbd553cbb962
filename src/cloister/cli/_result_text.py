"""Attestation results for people and for scripts. No control character of a token reaches a terminal."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from cloister.appraise.vector import meaning_of, tier_of
from cloister.cli._terminal import clean
from cloister.result.attestation import AttestationResult, Basis, Json, Submodule
from cloister.result.token import Token

__all__ = ["WORTH", "document", "lines"]

LONGEST_VALUE = 100
MOST_CLAIMS = 200
WORTH = {
    "hardware": "the hardware vendor vouches",
    "owner": "worth what the owner of the device knows of it",
    "software": "the host's kernel and its root are trusted",
    "testing": "an emulator or a test: proves nothing",
}


def lines(result: AttestationResult, token: Token) -> Iterator[str]:
    """The result as a table."""
    yield f"status     {result.status}"
    yield f"verifier   {clean(result.verifier.developer)}, build {clean(result.verifier.build)}"
    yield f"issued     {shown_time(result.issued_at)}, expires {shown_time(result.expires_at)}"
    yield f"nonce      {result.nonce.hex() or 'none'}"
    yield f"signature  {clean(token.algorithm)}, key {clean(token.kid) or 'not named'} ({token.encoding})"
    yield f"profile    {result.profile}"
    for name, one in result.submodules.items():
        yield ""
        yield f"{clean(name)}: {one.status}"
        yield from submodule_lines(one)


def submodule_lines(one: Submodule) -> Iterator[str]:
    """One submodule: the vector in words, what it rests on, what the attester said."""
    for claim, value in one.vector.claimed().items():
        yield f"  {claim.replace('_', '-'):<17} {value:>4}  {tier_of(value)!s:<15}  {meaning_of(claim, value)}"
    if not one.vector.claimed():
        yield "  no trust vector: only the status says how far the verifier vouches"
    for policy in one.policies:
        yield f"  policy             {clean(policy)}"
    if one.basis is not None:
        yield from basis_lines(one.basis)
    if one.attested_key:
        yield f"  attested key       {cut(one.attested_key.hex())}"
    claims = [*leaves(one.evidence, ""), *leaves(one.added, "verifier: ")]
    for name, text in claims[:MOST_CLAIMS]:
        yield f"  {clean(name)} = {cut(clean(text))}"
    if len(claims) > MOST_CLAIMS:
        yield f"  and {len(claims) - MOST_CLAIMS} more claims (--json shows all)"


def basis_lines(basis: Basis) -> Iterator[str]:
    """What an appraisal rests on."""
    worth = WORTH.get(basis.anchor_kind, clean(basis.anchor_kind))
    yield f"  evidence           {basis.tee}, verified {shown_time(basis.verified_at)}"
    yield f"  trust anchor       {clean(basis.anchor)} ({worth})"
    if basis.tcb.status:
        yield f"  TCB                {clean(', '.join([basis.tcb.status, *basis.tcb.advisories]))}"
    for reason in basis.unchecked:
        yield f"  not checked        {clean(reason)}"


def leaves(value: Mapping[str, Json] | Json, name: str) -> Iterator[tuple[str, str]]:
    """The innermost values with their dotted names."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, f"{name}.{key}" if name and not name.endswith(" ") else f"{name}{key}")
    else:
        yield name, str(value)


def cut(text: str) -> str:
    """The text, cut where it is too long for a line."""
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}... ({len(text)} characters)"


def shown_time(time: datetime | None) -> str:
    """A time in UTC."""
    return "never" if time is None else f"{time:%Y-%m-%d %H:%M:%S %Z}"


def document(result: AttestationResult, token: Token, *, verified: bool, unchecked: Iterable[str]) -> dict[str, Json]:
    """The result as one JSON object. Bytes are hexadecimal digits, times ISO 8601."""
    return {
        "verified": verified,
        "status": result.status.value,
        "unchecked": list(unchecked),
        "profile": result.profile.value,
        "verifier": {"developer": result.verifier.developer, "build": result.verifier.build},
        "issued_at": result.issued_at.isoformat(),
        "not_before": iso(result.not_before),
        "expires_at": iso(result.expires_at),
        "nonce": result.nonce.hex(),
        "token": {"encoding": token.encoding, "algorithm": token.algorithm, "kid": token.kid},
        "submodules": {name: submodule_document(one) for name, one in result.submodules.items()},
    }


def submodule_document(one: Submodule) -> dict[str, Json]:
    """One submodule as a JSON object."""
    vector: dict[str, Json] = {
        claim: {"value": value, "tier": tier_of(value).value, "meaning": meaning_of(claim, value)}
        for claim, value in one.vector.claimed().items()
    }
    return {
        "status": one.status.value,
        "vector": vector,
        "policies": list(one.policies),
        "basis": None if one.basis is None else basis_document(one.basis),
        "attested_key": one.attested_key.hex(),
        "evidence": dict(one.evidence),
        "added": dict(one.added),
    }


def basis_document(basis: Basis) -> dict[str, Json]:
    """What an appraisal rests on, as a JSON object."""
    return {
        "tee": basis.tee.value,
        "anchor": basis.anchor,
        "anchor_kind": basis.anchor_kind,
        "verified_at": basis.verified_at.isoformat(),
        "tcb": {
            "status": basis.tcb.status,
            "advisories": list(basis.tcb.advisories),
            "date": iso(basis.tcb.date),
        },
        "unchecked": list(basis.unchecked),
        "evidence_sha256": basis.evidence_sha256.hex(),
    }


def iso(time: datetime | None) -> str | None:
    """A time in ISO 8601, if there is one."""
    return None if time is None else time.isoformat()
