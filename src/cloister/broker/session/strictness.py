"""Whether one demand is at least as strict as another: what an update must not lose without anybody noticing."""

from collections.abc import Iterable

from cloister.broker.session.session import AccessPolicy, Approvals, Rule

__all__ = ["all_covered", "at_least_as_strict", "opens", "owners_lose"]


def at_least_as_strict(new: Rule, old: Rule) -> bool:
    """Whether every attester that `new` lets in would have been let in by `old`."""
    return (
        new.tee is old.tee
        and _narrower(new.measurements, old.measurements)
        and old.signer in {"", new.signer}
        and old.product in {None, new.product}
        and _no_older(new.minimum_security_version, old.minimum_security_version)
        and new.tolerate <= old.tolerate
        and new.ignore_advisories <= old.ignore_advisories
        and new.anchors <= old.anchors
        and _claims(old) <= _claims(new)
        and (old.unsafe_allow_debug or not new.unsafe_allow_debug)
    )


def _claims(rule: Rule) -> set[tuple[str, str, str | int | bool]]:
    return {(name, type(value).__name__, value) for name, value in rule.claims.items()}


def _narrower(new: frozenset[str], old: frozenset[str]) -> bool:
    """No measurement demanded lets every one in."""
    return not old or (bool(new) and new <= old)


def _no_older(new: int | None, old: int | None) -> bool:
    return old is None or (new is not None and new >= old)


def all_covered(new: Iterable[Rule], old: Iterable[Rule]) -> bool:
    """Whether each of the new alternatives is at least as strict as one of the old."""
    kept = tuple(old)
    return all(any(at_least_as_strict(one, other) for other in kept) for one in new)


def opens(new: frozenset[str], old: frozenset[str]) -> bool:
    """Whether somebody may do more: entities of an access policy."""
    return "ANY" not in old and bool(new - old - {"NONE"})


def owners_lose(new: Approvals | None, old: Approvals | None) -> bool:
    """Whether updates need fewer signatures, or can be signed by somebody new."""
    if old is None:
        return False
    if new is None:
        return True
    keys = {one.fingerprint for one in new.owners} - {one.fingerprint for one in old.owners}
    return bool(keys) or new.threshold < old.threshold


def access_opens(new: AccessPolicy, old: AccessPolicy) -> bool:
    """Whether anybody may read or update who could not."""
    return opens(new.read, old.read) or opens(new.update, old.update)
