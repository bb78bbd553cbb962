"""Parts of a session in the words of a person."""

from cloister.broker.session.session import (
    Approvals,
    Export,
    Generated,
    Given,
    Imported,
    KeyHolder,
    Rule,
    Secret,
    Session,
)

__all__ = [
    "approvals_in_words",
    "export_in_words",
    "holders_in_words",
    "origin_in_words",
    "recipients_in_words",
    "rule_in_words",
    "shortened",
]

DIGITS = 16
"""Of a digest, where people compare it with another."""


def shortened(digits: str) -> str:
    """The first digits of a digest."""
    return digits if len(digits) <= DIGITS else f"{digits[:DIGITS]}..."


def rule_in_words(rule: Rule, *, short: bool = True) -> str:
    """One way to be a service: `sgx, measurement abab..., tolerating OutOfDate`."""
    show = shortened if short else str
    parts = [str(rule.tee)]
    if rule.measurements:
        parts.append("measurement " + " or ".join(show(one) for one in sorted(rule.measurements)))
    if rule.signer:
        parts.append(f"signer {show(rule.signer)}")
    if rule.product is not None:
        parts.append(f"product {rule.product}")
    if rule.minimum_security_version is not None:
        parts.append(f"security version {rule.minimum_security_version} or later")
    parts += [f"{name} {show(str(value))}" for name, value in sorted(rule.claims.items())]
    if rule.anchors != {"hardware"}:
        parts.append(f"vouched for by {' or '.join(sorted(rule.anchors))}")
    if rule.tolerate:
        parts.append(f"tolerating {', '.join(sorted(rule.tolerate))}")
    if rule.ignore_advisories:
        parts.append(f"ignoring {', '.join(sorted(rule.ignore_advisories))}")
    if rule.unsafe_allow_debug:
        parts.append("debug allowed")
    return ", ".join(parts)


def export_in_words(export: Export) -> str:
    """Who else may have a secret."""
    which = f" at {shortened(export.session_hash)}" if export.session_hash else ""
    return f"session {export.session}{which}"


def recipients_in_words(session: Session, secret: str) -> str:
    """Everybody who may get a secret: `service web (sgx, measurement abab...), session reports`."""
    services = [
        f"service {one.name} ({'; or '.join(sorted(rule_in_words(rule) for rule in one.attestation))})"
        for one in sorted(session.recipients_of(secret), key=lambda service: service.name)
    ]
    exports = [export_in_words(one) for one in sorted(session.exports_of(secret))]
    return ", ".join((*services, *exports)) or "nobody"


def origin_in_words(secret: Secret) -> str:
    """Where a value comes from; never the value."""
    origin = secret.origin
    if isinstance(origin, Imported):
        at = f" at {shortened(origin.session_hash)}" if origin.session_hash else ""
        return f"imported from {origin.session}{at}, there {origin.secret}"
    if isinstance(origin, Given):
        return f"given, put together from {', '.join(origin.composed_of)}" if origin.composed_of else "given"
    return f"made by the broker{_how(origin, secret.kind)}"


def _how(origin: Generated, kind: str) -> str:
    parts = [origin.algorithm] if origin.algorithm else []
    if origin.size:
        parts.append(f"{origin.size} {'characters' if kind == 'ascii' else 'bytes'}")
    if origin.common_name:
        parts.append(f"for {origin.common_name}, {origin.days} days")
    if origin.dns:
        parts.append(f"DNS {' '.join(origin.dns)}")
    return f" ({', '.join(parts)})" if parts else ""


def holders_in_words(holders: tuple[KeyHolder, ...]) -> str:
    """People by name and key."""
    return ", ".join(f"{one.name} ({shortened(one.fingerprint)})" for one in sorted(holders, key=lambda one: one.name))


def approvals_in_words(approvals: Approvals | None) -> str:
    """Who must agree."""
    if approvals is None:
        return "nobody"
    return f"{approvals.threshold} of {len(approvals.owners)}: {holders_in_words(approvals.owners)}"
