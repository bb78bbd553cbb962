"""A session in lines for people. Values of secrets are not in them, and cannot get there: they do not become text."""

import sys
from collections.abc import Iterable, Iterator

from cloister.broker.session.canonical import session_hash
from cloister.broker.session.session import Service, Session
from cloister.broker.session.words import (
    approvals_in_words,
    holders_in_words,
    origin_in_words,
    recipients_in_words,
    rule_in_words,
)
from cloister.cli._lines import labelled, width_of_terminal
from cloister.cli._terminal import clean

__all__ = ["described", "print_lines"]


def print_lines(lines: Iterable[str]) -> None:
    """Print prose on standard error, where it disturbs no script."""
    for one in lines:
        print(clean(one), file=sys.stderr)


def described(session: Session, identity: str = "") -> Iterator[str]:
    """Who gets what, and who decides. `identity` is the hash of a session whose values are not at hand."""
    width = width_of_terminal()
    yield from labelled("session", session.name, width=width, indent=0)
    yield from labelled("hash", identity or session_hash(session), width=width, indent=0)
    yield from labelled("replaces", session.predecessor or "nothing: a first session", width=width, indent=0)
    for service in session.services:
        yield ""
        yield from _service(service, session, width)
    for secret in session.secrets:
        yield ""
        yield f"secret {secret.name}"
        yield from labelled("is", f"{secret.kind}, {origin_in_words(secret)}", width=width)
        yield from labelled("for", recipients_in_words(session, secret.name), width=width)
    yield ""
    yield from labelled("may read", ", ".join(sorted(session.access.read)), width=width, indent=0)
    yield from labelled("may update", ", ".join(sorted(session.access.update)), width=width, indent=0)
    yield from labelled("must approve", approvals_in_words(session.approvals), width=width, indent=0)
    yield from labelled(
        "verifiers", holders_in_words(session.verifiers) or "any the broker trusts", width=width, indent=0
    )


def _service(service: Service, session: Session, width: int) -> Iterator[str]:
    yield f"service {service.name}"
    for rule in service.attestation:
        yield from labelled("must be", rule_in_words(rule, short=False), width=width)
    if service.command:
        yield from labelled("runs", " ".join(one.text for one in service.command), width=width)
    for name, template in service.environment.items():
        yield from labelled("variable", f"{name}={template.text}", width=width)
    for file in service.files:
        yield from labelled("file", file.path, width=width)
    if service.pwd:
        yield from labelled("in", service.pwd, width=width)
    yield from labelled("gets", ", ".join(session.secrets_of(service)) or "no secret", width=width)
