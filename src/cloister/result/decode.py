"""From an EAR claims-set to an AttestationResult. Says nothing about who signed it: see `cloister.result.verify`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from cloister import _cbor, _json
from cloister.appraise.vector import Tier, TrustVector
from cloister.errors import ParseError
from cloister.model import Tee
from cloister.result import _base64url
from cloister.result.attestation import BASIS, DEEPEST, AttestationResult, Basis, Json, Profile, Submodule, Verifier
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
    Name,
    Names,
    contradiction,
)
from cloister.verification.recipe import Tcb

__all__ = ["result_of_cbor", "result_of_json"]

RECORD: Final = "EAR"
LATEST: Final = 253_402_300_799
"""The last second of the year 9999."""

Claims = Mapping[object, object]


def result_of_json(payload: bytes) -> AttestationResult:
    """The result in the payload of a JWT; ParseError if it is none, BindingInvalid if it contradicts itself."""
    return _result(_json.loads(payload, RECORD), JSON)


def result_of_cbor(payload: bytes, *, longest: int) -> AttestationResult:
    """The result in the payload of a CWT of at most `longest` bytes; errors as above."""
    return _result(_cbor.loads(payload, RECORD, longest=longest), CBOR)


def _result(claims: object, form: Form) -> AttestationResult:
    if not isinstance(claims, Mapping):
        raise ParseError(RECORD, "claims-set", 0, "is not an object")
    profile = _profile(form.text(claims, PROFILE), form)
    names = NAMES[profile]
    submodules = {
        _named(name, form): _submodule(one, form, names) for name, one in form.map(claims, SUBMODULES).items()
    }
    if not submodules:
        raise form.error(SUBMODULES, "is empty")
    try:
        return AttestationResult(
            profile=profile, verifier=_verifier(form.map(claims, names.verifier), form), submodules=submodules,
            status=_overall(claims, form, names, submodules), issued_at=_time(claims, form, ISSUED),
            nonce=form.read_nonce(claims) if form.has(claims, NONCE) else b"",
            expires_at=_time(claims, form, EXPIRES) if form.has(claims, EXPIRES) else None,
            not_before=_time(claims, form, NOT_BEFORE) if form.has(claims, NOT_BEFORE) else None,
        )  # fmt: skip
    except ValueError as error:
        raise ParseError(RECORD, "claims-set", 0, str(error)) from error


def _profile(text: str, form: Form) -> Profile:
    try:
        return Profile(text)
    except ValueError:
        raise form.error(PROFILE, f"is {text!r}; only {', '.join(Profile)} are understood") from None


def _named(name: object, form: Form) -> str:
    if not isinstance(name, str) or not name:
        raise form.error(SUBMODULES, f"has the name {name!r}, which is no text")
    return name


def _verifier(claims: Claims, form: Form) -> Verifier:
    return Verifier(**{name: form.text(claims, VERIFIER[name]) for name in VERIFIER})


def _overall(claims: Claims, form: Form, names: Names, submodules: Mapping[str, Submodule]) -> Tier:
    """The status of the whole. Where a token names one, it may be worse than the parts, or NONE: no claim."""
    worst = max(one.status for one in submodules.values())
    if not names.drafted or not form.has(claims, names.status):
        return worst
    status = form.read_tier(claims, names.status)
    if status < worst and status is not Tier.NONE:
        raise contradiction("the result's status is better than its worst submodule's", expected=worst, actual=status)
    return max(status, worst)


def _submodule(claims: object, form: Form, names: Names) -> Submodule:
    if not isinstance(claims, Mapping):
        raise form.error(SUBMODULES, "holds something that is no object")
    status = form.read_tier(claims, names.status)
    vector = _vector(form.map(claims, names.vector), form) if form.has(claims, names.vector) else TrustVector()
    if not vector.bears(status):
        raise contradiction("a status is better than the worst claim", expected=vector.worst(), actual=status)
    added = _plain_map(claims, form, names.added)
    basis = _basis(added.pop(BASIS)) if BASIS in added else None
    key = form.map(claims, names.key) if form.has(claims, names.key) else None
    try:
        return Submodule(
            status=status, vector=vector, policies=_policies(claims, form, names), basis=basis, added=added,
            evidence=_plain_map(claims, form, names.evidence),
            attested_key=b"" if key is None else form.read_octets(key, names.key_member),
        )  # fmt: skip
    except ValueError as error:
        raise form.error(SUBMODULES, str(error)) from error


def _vector(claims: Claims, form: Form) -> TrustVector:
    """The vector. A claim that is not known is refused: passing over it might pass over a warning."""
    known = {form.name(name): field for field, name in VECTOR.items()}
    values = {}
    for name, value in claims.items():
        if name not in known:
            raise ParseError(RECORD, "trustworthiness vector", 0, f"has the claim {name!r}, which is not known")
        if type(value) is not int or not -128 <= value <= 127:
            raise ParseError(RECORD, str(name), 0, f"is {value!r}, not a whole number from -128 to 127")
        values[known[name]] = value
    return TrustVector(**values)


def _policies(claims: Claims, form: Form, names: Names) -> tuple[str, ...]:
    if not form.has(claims, names.policy):
        return ()
    if not names.drafted:
        return (form.text(claims, names.policy),)
    found = form.find(claims, names.policy)
    if not isinstance(found, list) or not found or not all(isinstance(one, str) for one in found):
        raise form.error(names.policy, "is not a list of texts, or is empty")
    return tuple(found)


def _time(claims: Claims, form: Form, name: Name) -> datetime:
    seconds = form.whole(claims, name)
    if not 0 <= seconds <= LATEST:
        raise form.error(name, f"is {seconds}, which is no time that is understood")
    return datetime.fromtimestamp(seconds, UTC)


def _plain_map(claims: Claims, form: Form, name: Name) -> dict[str, Json]:
    """What a verifier repeats of the evidence, or adds: any JSON value. CBOR's byte strings become base64url."""
    if not form.has(claims, name):
        return {}
    try:
        return _plain_items(form.map(claims, name), 1)
    except ValueError as error:
        raise form.error(name, str(error)) from error


def _plain_items(items: Claims, depth: int) -> dict[str, Json]:
    made = {str(key): _plain(value, depth) for key, value in items.items()}
    if len(made) < len(items):
        raise ValueError("has two keys that are the same in JSON")
    return made


def _plain(value: object, depth: int) -> Json:
    if depth > DEEPEST:
        raise ValueError(f"is nested more than {DEEPEST} deep")
    if isinstance(value, dict):
        return _plain_items(value, depth + 1)
    if isinstance(value, list):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, bytes):
        return _base64url.encode(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"has a {type(value).__name__}, which is not understood")


def _basis(value: Json) -> Basis:
    """What Cloister added: see `cloister.result.encode.basis`."""
    if not isinstance(value, dict):
        raise ParseError(RECORD, BASIS, 0, "is not an object")
    date = value.get("tcb_date")
    try:
        return Basis(
            tee=Tee(_json.text(value, "tee", RECORD)), anchor=_json.text(value, "anchor", RECORD),
            anchor_kind=_json.text(value, "anchor_kind", RECORD), unchecked=_texts(value, "unchecked"),
            verified_at=datetime.fromisoformat(_json.text(value, "verified_at", RECORD)),
            evidence_sha256=bytes.fromhex(_text(value, "evidence_sha256")),
            tcb=Tcb(
                status=_text(value, "tcb_status"), advisories=_texts(value, "tcb_advisories"),
                date=None if date is None else datetime.fromisoformat(_text(value, "tcb_date")),
            ),
        )  # fmt: skip
    except ValueError as error:
        raise ParseError(RECORD, BASIS, 0, str(error)) from error


def _text(value: Mapping[str, Json], key: str) -> str:
    return _json.text(value, key, RECORD) if key in value else ""


def _texts(value: Mapping[str, Json], key: str) -> tuple[str, ...]:
    found = _json.members(value, key, RECORD) if key in value else []
    texts = tuple(one for one in found if isinstance(one, str))
    if len(texts) < len(found):
        raise ParseError(RECORD, key, 0, "holds something that is no text")
    return texts
