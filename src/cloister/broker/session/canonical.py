"""The canonical form of a session, and its SHA-256, which is the session's identity.

Deterministic JSON: every key is there, defaults included; keys sorted, no space, UTF-8, no number with a fraction. What
has no order in meaning (services, alternatives, owners, lists that are sets) is sorted, so that two files that mean the
same have one identity, and comments or spelling change nothing. docs/formats/session.md lists the members.

Values of secrets are not in it. Instead stands HMAC-SHA-256 under the session's salt: the hash covers the values, yet
whoever sees the canonical form cannot try guesses without the salt.
"""

import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Final

from cloister.broker.session.secret_value import SecretValue
from cloister.broker.session.session import Generated, Given, Imported, KeyHolder, Rule, Secret, Service, Session
from cloister.shield_policy.document import policy_document
from cloister.shield_policy.policy import ShieldPolicy

__all__ = [
    "canonical_bytes",
    "canonical_form",
    "commitment_of",
    "document",
    "open_texts",
    "rule_document",
    "session_hash",
]

FORMAT: Final = "cloister-session-1"
COMMITMENT: Final = b"cloister session secret 1\0"

Json = None | bool | int | str | list["Json"] | dict[str, "Json"]


def session_hash(session: Session) -> str:
    """The session's identity: 64 hexadecimal digits."""
    return hashlib.sha256(canonical_form(session)).hexdigest()


def canonical_form(session: Session) -> bytes:
    """The bytes whose SHA-256 is the identity."""
    return canonical_bytes(document(session))


def canonical_bytes(value: Json) -> bytes:
    """The bytes of a document: the one way in which it is written."""
    return _encoded(value).encode()


def _encoded(value: Json) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def document(session: Session) -> dict[str, Json]:
    """The canonical form as data. It holds no secret."""
    approvals = session.approvals
    return {
        "format": FORMAT,
        "name": session.name,
        "version": session.version,
        "predecessor": session.predecessor or None,
        "services": _sorted([_service(one) for one in session.services]),
        "secrets": _sorted([_secret(one, session) for one in session.secrets]),
        "access_policy": {"read": _texts(session.access.read), "update": _texts(session.access.update)},
        "approvals": {"threshold": approvals.threshold, "owners": _holders(approvals.owners)} if approvals else None,
        "verifiers": _holders(session.verifiers),
    }


def open_texts(session: Session) -> tuple[str, ...]:
    """Every text of the session that is not a secret's value: readers see it, and the host some of it."""
    return tuple(_strings(document(session)))


def _strings(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield key
            yield from _strings(one)


def _sorted(values: list[dict[str, Json]]) -> list[Json]:
    return [*sorted(values, key=_encoded)]


def _texts(values: frozenset[str] | tuple[str, ...]) -> list[Json]:
    return [*sorted(values)]


def _holders(holders: tuple[KeyHolder, ...]) -> list[Json]:
    return _sorted([{"name": one.name, "key": one.spki.hex()} for one in holders])


def _service(service: Service) -> dict[str, Json]:
    """A service without a shield is written as it was before there were shields: its session keeps its identity."""
    shield: dict[str, Json] = {} if service.shield is None else {"shield": _shield(service.shield)}
    return {
        "name": service.name,
        "attestation": _sorted([rule_document(one) for one in service.attestation]),
        "command": [one.text for one in service.command],
        "environment": {name: one.text for name, one in service.environment.items()},
        "pwd": service.pwd or None,
        "injection_files": {one.path: one.content.text for one in service.files},
        "secrets": _texts(service.asks_for),
        **shield,
    }


def _shield(policy: ShieldPolicy) -> dict[str, Json]:
    """Its lists have no order in meaning."""
    found = policy_document(policy)
    for one in (*found["listen"], *found["connect"]):
        one |= {key: sorted(one[key]) for key in ("clients", "pins") if key in one}
    return found | {key: _sorted(found[key]) for key in ("files", "listen", "connect")}


def rule_document(rule: Rule) -> dict[str, Json]:
    """One entry of `attestation`."""
    return {
        "tee": str(rule.tee),
        "measurement": _texts(rule.measurements),
        "signer": rule.signer or None,
        "product": rule.product,
        "minimum_security_version": rule.minimum_security_version,
        "tolerate": _texts(rule.tolerate),
        "ignore_advisories": _texts(rule.ignore_advisories),
        "claims": dict(rule.claims),
        "anchors": _texts(rule.anchors),
        "unsafe_allow_debug": rule.unsafe_allow_debug,
    }


def _secret(secret: Secret, session: Session) -> dict[str, Json]:
    exports: list[dict[str, Json]] = [
        {"session": one.session, "session_hash": one.session_hash or None} for one in secret.exports
    ]
    return {
        "name": secret.name, "kind": secret.kind, "origin": _origin(secret, session), "export": _sorted(exports)
    }  # fmt: skip


def _origin(secret: Secret, session: Session) -> dict[str, Json]:
    origin = secret.origin
    if isinstance(origin, Imported):
        return {
            "is": "import", "session": origin.session, "secret": origin.secret,
            "session_hash": origin.session_hash or None,
        }  # fmt: skip
    if isinstance(origin, Generated):
        return {
            "is": "generate", "size": origin.size, "algorithm": origin.algorithm or None, "days": origin.days,
            "common_name": origin.common_name or None, "dns": _texts(origin.dns),
        }  # fmt: skip
    return {"is": "value", "commitment": commitment(secret, session), "composed_of": _texts(_parts(origin))}


def _parts(origin: Given) -> tuple[str, ...]:
    return origin.composed_of


def commitment(secret: Secret, session: Session) -> str:
    """What stands for a value that the owner wrote: HMAC-SHA-256 under the salt, over the name, the kind, the value."""
    if session.salt is None:
        raise ValueError("a session with values has a salt")
    return commitment_of(secret.name, secret.kind, session.values[secret.name], session.salt)


def commitment_of(name: str, kind: str, value: SecretValue, salt: SecretValue) -> str:
    """The commitment to this value, as this secret, under this salt."""
    named = f"{name}\0{kind}\0".encode()
    return hmac.digest(salt.reveal(), COMMITMENT + named + value.reveal(), "sha256").hex()
