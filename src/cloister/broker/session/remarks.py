"""What the author of a session should know: what is dangerous in it, and what has no effect."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from cloister.appraise.known_claims import EXECUTABLES, MACHINES, decides_by_default
from cloister.broker.session.session import Given, Rule, Session
from cloister.frameworks.danger_shield import findings_of_shield
from cloister.frameworks.findings import Severity

__all__ = ["Remark", "remarks"]

SHORT = 12
"""Characters: shorter passwords of people are guessed."""


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing to know about a session, and where it stands."""

    place: str
    text: str
    dangerous: bool = False


def remarks(session: Session) -> tuple[Remark, ...]:
    """All of them, in the order of the file."""
    found = (*_about_services(session), *_about_secrets(session), *_about_people(session))
    return tuple(sorted(found, key=lambda one: [int(part) for part in re.findall(r":(\d+)", one.place)[-1:]]))


def _about_services(session: Session) -> Iterator[Remark]:
    for service in session.services:
        for rule in service.attestation:
            yield from _about_rule(rule)
        for one in findings_of_shield(service.shield) if service.shield else ():
            text = f"{one.key}: {one.reason}"
            yield Remark(one.place, text, dangerous=one.severity is Severity.DANGEROUS)
        if not session.secrets_of(service):
            yield Remark(_at(session, service.place.line), f"service `{service.name}` gets no secret")


def _about_rule(rule: Rule) -> Iterator[Remark]:
    if rule.unsafe_allow_debug:
        text = "accepts debug: the host reads and changes what is inside"
        yield Remark(rule.set_by("unsafe_allow_debug"), text, dangerous=True)
    if "testing" in rule.anchors:
        text = "accepts emulated TEEs and test roots: their evidence proves nothing"
        yield Remark(rule.set_by("unsafe_accept_testing"), text, dangerous=True)
    if "software" in rule.anchors:
        text = "a software enclave is open to whoever controls the host's kernel"
        yield Remark(rule.set_by("anchors"), text)
    runtime = any(decides_by_default(rule.tee, name) == EXECUTABLES for name in rule.claims)
    if rule.tee in MACHINES and not runtime:
        text = f"what {rule.tee} measures at launch is a machine's start; see that it covers what loads later"
        yield Remark(rule.set_by("tee"), text)


def _about_secrets(session: Session) -> Iterator[Remark]:
    for secret in session.secrets:
        place = _at(session, secret.place.line)
        if not session.recipients_of(secret.name) and not session.exports_of(secret.name):
            yield Remark(place, f"nobody gets the secret `{secret.name}`")
        for one in sorted(secret.exports):
            if not one.session_hash:
                text = f"whoever updates session {one.session} decides who gets `{secret.name}`; `session_hash` pins it"
                yield Remark(place, text)
        given = isinstance(secret.origin, Given) and secret.kind == "ascii" and not secret.origin.composed_of
        if given and len(session.values[secret.name].reveal()) < SHORT:
            yield Remark(
                place, f"the value of `{secret.name}` is short: `generate: {{}}` makes one that nobody guesses"
            )


def _about_people(session: Session) -> Iterator[Remark]:
    if "ANY" in session.access.read:
        yield Remark(_at(session, 1), "anybody may read this session, though not the secrets' values")
    if session.approvals is not None and len(session.approvals.owners) == session.approvals.threshold > 1:
        text = "every owner must approve updates: one lost key, and this session can never change"
        yield Remark(_at(session, 1), text)


def _at(session: Session, line: int) -> str:
    return f"{session.file}:{line}"
