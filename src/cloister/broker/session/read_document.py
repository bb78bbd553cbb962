"""A session from its canonical form, as a broker shows it: everything but the values and the salt.

`known` is a session whose values are at hand. Where the form commits to one of them, it is that value; every other
value is unlike any. So `differences` can compare a file with what is in effect, and a broker need not be asked about
values, which whoever may read could then guess at. With another salt every value counts as changed.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from cloister import _json
from cloister._yaml import Place
from cloister.broker.session.canonical import commitment_of
from cloister.broker.session.grammar import Word
from cloister.broker.session.read_people import fingerprint
from cloister.broker.session.references import Template, template_of
from cloister.broker.session.secret_value import SecretValue
from cloister.broker.session.session import (
    AccessPolicy,
    Approvals,
    Export,
    Generated,
    Given,
    Imported,
    InjectedFile,
    KeyHolder,
    Rule,
    Secret,
    Service,
    Session,
)
from cloister.errors import ParseError, PolicyError
from cloister.model import Tee
from cloister.shield_policy.document import policy_of_document
from cloister.shield_policy.policy import ShieldPolicy

__all__ = ["session_of_document"]

RECORD: Final = "session in canonical form"


def session_of_document(document: object, file: str, known: Session | None = None) -> Session:
    """The session. `file` stands where its lines would be named. ParseError if the document is none."""
    place = Place(file)
    try:
        return _session(document, place, known)
    except (ValueError, TypeError, AttributeError) as error:
        raise ParseError(RECORD, "members", 0, "are not those of a session") from error


def _session(document: object, place: Place, known: Session | None) -> Session:
    approvals = _json.member(document, "approvals", RECORD)
    policy = _json.member(document, "access_policy", RECORD)
    secrets = _json.members(document, "secrets", RECORD)
    return Session(
        name=_json.text(document, "name", RECORD), version=_json.text(document, "version", RECORD), file=place.file,
        predecessor=_text(document, "predecessor"),
        services=tuple(_service(one, place) for one in _json.members(document, "services", RECORD)),
        secrets=tuple(_secret(one, place) for one in secrets), values=dict(_values(secrets, known)),
        access=AccessPolicy(read=_words(policy, "read"), update=_words(policy, "update")),
        approvals=None if approvals is None else Approvals(
            threshold=_json.whole(approvals, "threshold", RECORD), owners=_holders(approvals, "owners")
        ),
        verifiers=_holders(document, "verifiers"),
    )  # fmt: skip


def _text(value: object, name: str) -> str:
    """Text, or nothing."""
    return "" if _json.member(value, name, RECORD) is None else _json.text(value, name, RECORD)


def _words(value: object, name: str) -> frozenset[str]:
    return frozenset(_texts(value, name))


def _texts(value: object, name: str) -> tuple[str, ...]:
    found = tuple(one for one in _json.members(value, name, RECORD) if isinstance(one, str))
    if len(found) != len(_json.members(value, name, RECORD)):
        raise ParseError(RECORD, name, 0, "is not a list of texts")
    return found


def _pairs(value: object, name: str) -> Mapping[str, object]:
    found = _json.member(value, name, RECORD)
    if not isinstance(found, Mapping):
        raise ParseError(RECORD, name, 0, "is not an object")
    return found


def _holders(value: object, name: str) -> tuple[KeyHolder, ...]:
    keys = [(one, bytes.fromhex(_json.text(one, "key", RECORD))) for one in _json.members(value, name, RECORD)]
    return tuple(
        KeyHolder(name=_json.text(one, "name", RECORD), spki=spki, fingerprint=fingerprint(spki)) for one, spki in keys
    )


def _service(value: object, place: Place) -> Service:
    def templates(name: str) -> dict[str, Template]:
        texts = _pairs(value, name)
        return {key: template_of(Word(_json.text(texts, key, RECORD), place)) for key in texts}

    return Service(
        name=_json.text(value, "name", RECORD), place=place, pwd=_text(value, "pwd"),
        attestation=tuple(_rule(one, place) for one in _json.members(value, "attestation", RECORD)),
        command=tuple(template_of(Word(one, place)) for one in _texts(value, "command")),
        environment=templates("environment"), asks_for=_texts(value, "secrets"),
        files=tuple(InjectedFile(path=path, content=one) for path, one in templates("injection_files").items()),
        shield=_shield(value, place),
    )  # fmt: skip


def _shield(value: object, place: Place) -> ShieldPolicy | None:
    if not isinstance(value, Mapping) or "shield" not in value:
        return None
    try:
        return policy_of_document(value["shield"], place.file)
    except PolicyError as error:
        raise ParseError(RECORD, "shield", 0, str(error)) from error


def _rule(value: object, place: Place) -> Rule:
    claims = {name: one for name, one in _pairs(value, "claims").items() if isinstance(one, str | int)}
    return Rule(
        tee=Tee(_json.text(value, "tee", RECORD)), place=place, places={}, measurements=_words(value, "measurement"),
        signer=_text(value, "signer"), product=_whole(value, "product"),
        minimum_security_version=_whole(value, "minimum_security_version"), tolerate=_words(value, "tolerate"),
        ignore_advisories=_words(value, "ignore_advisories"), claims=claims, anchors=_words(value, "anchors"),
        unsafe_allow_debug=_flag(value, "unsafe_allow_debug"),
    )  # fmt: skip


def _flag(value: object, name: str) -> bool:
    found = _json.member(value, name, RECORD)
    if not isinstance(found, bool):
        raise ParseError(RECORD, name, 0, "is neither true nor false")
    return found


def _whole(value: object, name: str) -> int | None:
    return None if _json.member(value, name, RECORD) is None else _json.whole(value, name, RECORD)


def _secret(value: object, place: Place) -> Secret:
    exports = _json.members(value, "export", RECORD)
    return Secret(
        name=_json.text(value, "name", RECORD), kind=_json.text(value, "kind", RECORD), place=place,
        origin=_origin(_json.member(value, "origin", RECORD)),
        exports=frozenset(
            Export(session=_json.text(one, "session", RECORD), session_hash=_text(one, "session_hash"))
            for one in exports
        ),
    )  # fmt: skip


def _origin(value: object) -> Given | Generated | Imported:
    kind = _json.text(value, "is", RECORD)
    if kind == "import":
        return Imported(
            session=_json.text(value, "session", RECORD), secret=_json.text(value, "secret", RECORD),
            session_hash=_text(value, "session_hash"),
        )  # fmt: skip
    if kind == "generate":
        return Generated(
            size=_json.whole(value, "size", RECORD), algorithm=_text(value, "algorithm"),
            days=_json.whole(value, "days", RECORD), common_name=_text(value, "common_name"),
            dns=_texts(value, "dns"),
        )  # fmt: skip
    if kind != "value":
        raise ParseError(RECORD, "is", 0, "is none of value, generate, import")
    return Given(composed_of=_texts(value, "composed_of"))


def _values(secrets: list[object], known: Session | None) -> Iterator[tuple[str, SecretValue]]:
    """A value for every secret that has one: one of `known`, or one that no secret can have."""
    for one in secrets:
        origin = _json.member(one, "origin", RECORD)
        if _json.text(origin, "is", RECORD) == "value":
            name, kind = _json.text(one, "name", RECORD), _json.text(one, "kind", RECORD)
            wanted = _json.text(origin, "commitment", RECORD)
            yield name, _committed(name, kind, wanted, known)


def _committed(name: str, kind: str, wanted: str, known: Session | None) -> SecretValue:
    if known is not None and known.salt is not None:
        for value in known.values.values():
            if commitment_of(name, kind, value, known.salt) == wanted:
                return value
    return SecretValue(b"\0not known: " + wanted.encode())
