"""Secrets put where a service finds them: arguments, environment and files, as its session says.

A value is put in as it is: what looks like a reference inside a value is not followed, or whoever chooses one secret
would read the others.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from cloister.broker.session import key_material
from cloister.broker.session.grammar import Word
from cloister.broker.session.provision_shield import NO_ROOTS, Roots, shield_block
from cloister.broker.session.references import FORMATS, Reference, Template, template_of
from cloister.broker.session.secret_value import SecretValue
from cloister.broker.session.session import Given, Service, Session
from cloister.errors import PolicyError

__all__ = ["Provisioned", "provision", "written_as"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provisioned:
    """What the program gets, for its TEE only. Everything is wrapped, whether there is a secret in it or not."""

    command: tuple[SecretValue, ...] = field(repr=False)
    environment: Mapping[str, SecretValue] = field(repr=False)
    files: Mapping[str, SecretValue] = field(repr=False)
    pwd: str
    shield: SecretValue | None = field(default=None, repr=False)
    """The shield block, if the service is shielded."""


def provision(
    session: Session, service: Service, values: Mapping[str, SecretValue], roots: Roots = NO_ROOTS
) -> Provisioned:
    """Fill in the service's texts. `values` holds what was made and imported; what the owner wrote is the session's.

    `roots` are what the broker keeps of the service's volumes. PolicyError if a value is missing, or does not fit where
    it is wanted.
    """
    known = {**values, **session.values}
    return Provisioned(
        command=tuple(_line(one, session, known) for one in service.command),
        environment={name: _line(one, session, known) for name, one in service.environment.items()},
        files={one.path: SecretValue(_filled(one.content, session, known)) for one in service.files},
        pwd=service.pwd,
        shield=shield_block(service.shield, session, known, roots) if service.shield else None,
    )


def _line(template: Template, session: Session, values: Mapping[str, SecretValue]) -> SecretValue:
    filled = _filled(template, session, values)
    if b"\0" in filled:
        raise PolicyError(f"{template.place}: a value with a NUL does not fit into an argument or variable")
    return SecretValue(filled)


def _filled(template: Template, session: Session, values: Mapping[str, SecretValue]) -> bytes:
    return b"".join(
        _value(one, session, values) if isinstance(one, Reference) else one.encode() for one in template.parts
    )


def _value(reference: Reference, session: Session, values: Mapping[str, SecretValue]) -> bytes:
    secret = session.by_name[reference.name]
    if reference.name not in values:
        raise PolicyError(
            f"{reference.place}: `{reference.name}` has no value yet: it was not made, or not exported to here"
        )
    value = values[reference.name].reveal()
    if isinstance(secret.origin, Given) and secret.origin.composed_of:
        value = _filled(template_of(Word(value.decode(), secret.place)), session, values)
    return written_as(secret.kind, value, reference.form)


def written_as(kind: str, value: bytes, form: str = "") -> bytes:
    """A value in one of the formats of its kind; empty is the default. ValueError if there is no such format."""
    chosen = form or FORMATS[kind][0]
    if chosen not in FORMATS[kind]:
        raise ValueError(f"a {kind} is written as {', '.join(FORMATS[kind])}")
    if kind == "x509" and chosen != "key":
        found = key_material.certificates_in(value)
        return found[0] if chosen == "crt" else b"".join(found)
    return WRITTEN[chosen](value)


WRITTEN: Final[dict[str, Callable[[bytes], bytes]]] = {
    "text": bytes,
    "raw": bytes,
    "hex": lambda value: value.hex().encode(),
    "base64": base64.b64encode,
    "key": key_material.private_pem,
    "pub": key_material.public_pem,
    "jwk": key_material.private_jwk,
}
