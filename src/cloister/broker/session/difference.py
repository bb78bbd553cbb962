"""What an update changes, in the words of a person, with what weakens marked.

Weakens: somebody may get a secret, read or update the session, or speak for it, who could not before; or a secret
becomes easier to guess. Everything else is reported as a change. The question asked is always about the whole: an
alternative that is no stricter than what already let the same attesters in weakens nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cloister.broker.session.canonical import rule_document
from cloister.broker.session.difference_shield import shield_changes
from cloister.broker.session.session import (
    Approvals,
    Export,
    Generated,
    Given,
    Imported,
    KeyHolder,
    Secret,
    Service,
    Session,
)
from cloister.broker.session.strictness import all_covered, opens, owners_lose
from cloister.broker.session.words import (
    approvals_in_words,
    holders_in_words,
    origin_in_words,
    recipients_in_words,
    rule_in_words,
)

__all__ = ["Change", "differences"]

LONGEST = 120
"""Characters shown of a text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference. `place` is where it stands in the new session, or in the old one if it is gone."""

    text: str
    weakens: bool
    place: str


def differences(old: Session, new: Session) -> tuple[Change, ...]:
    """Everything that means something else in `new`. Empty if both have the same canonical form, predecessors aside."""
    return (*_about_secrets(old, new), *_about_services(old, new), *_about_people(old, new))


def _change(session: Session, line: int, text: str, *, weakens: bool = False) -> Change:
    return Change(text=text, weakens=weakens, place=f"{session.file}:{line}")


# ------------------------------------------------------------------------------------------------- secrets


def _about_secrets(old: Session, new: Session) -> Iterator[Change]:
    for name in sorted({*old.by_name, *new.by_name}):
        before, after = old.by_name.get(name), new.by_name.get(name)
        if after is None:
            yield _change(old, old.by_name[name].place.line, f"secret `{name}` is gone")
            continue
        line = after.place.line
        if before is None:
            got = recipients_in_words(new, name)
            yield _change(new, line, f"new secret `{name}` ({after.kind}, {origin_in_words(after)}) for {got}")
        else:
            if before.kind != after.kind:
                yield _change(new, line, f"the kind of `{name}` changed from {before.kind} to {after.kind}")
            yield from _about_origin(before, after, old, new)
            yield from _about_recipients(name, old, new)
        yield from _about_namesakes(after, old, new)


def _about_namesakes(after: Secret, old: Session, new: Session) -> Iterator[Change]:
    """The same value under another name: who may get it then counts as if the name had stayed."""
    namesake = old.by_name.get(after.name)
    if namesake is not None and _same_value(namesake, after, old, new):
        return  # two names may have shared one value all along: `_about_recipients` compares this name with itself
    for before in old.secrets:
        if before.name != after.name and _same_value(before, after, old, new):
            weakens = _more_get(before.name, old, after.name, new)
            was, now = recipients_in_words(old, before.name), recipients_in_words(new, after.name)
            text = f"`{after.name}` is what `{before.name}` was; who may get it: {was} before, {now} now"
            yield _change(new, after.place.line, text, weakens=weakens)


def _same_value(before: Secret, after: Secret, old: Session, new: Session) -> bool:
    if isinstance(before.origin, Given) and isinstance(after.origin, Given):
        return old.values[before.name] == new.values[after.name]
    if isinstance(before.origin, Imported) and isinstance(after.origin, Imported):
        return (before.origin.session, before.origin.secret) == (after.origin.session, after.origin.secret)
    return False


def _about_origin(before: Secret, after: Secret, old: Session, new: Session) -> Iterator[Change]:
    line, name = after.place.line, after.name
    was, now = before.origin, after.origin
    if was != now:
        yield _change(
            new, line, f"`{name}` was {origin_in_words(before)}, and is now {origin_in_words(after)}",
            weakens=_easier(was, now),
        )  # fmt: skip
    elif isinstance(now, Given) and old.values[name] != new.values[name]:
        yield _change(new, line, f"the value of `{name}` changed")


def _easier(was: Given | Generated | Imported, now: Given | Generated | Imported) -> bool:
    """Whether more people may know the value, or it is easier to guess."""
    if isinstance(was, Generated) and isinstance(now, Generated):
        bits = {"AES-128": 128, "AES-192": 192, "AES-256": 256}
        return now.size < was.size or bits.get(now.algorithm, 0) < bits.get(was.algorithm, 0)
    return isinstance(was, Generated)  # nobody knew what the broker made


def _about_recipients(name: str, old: Session, new: Session) -> Iterator[Change]:
    before, after = recipients_in_words(old, name), recipients_in_words(new, name)
    weakens = _more_get(name, old, name, new)
    if before != after or weakens:
        yield _change(
            new, new.by_name[name].place.line, f"who may get `{name}` changed from {before} to {after}", weakens=weakens
        )


def _more_get(was: str, old: Session, now: str, new: Session) -> bool:
    """Whether an attester or a session may get the secret that could not before."""
    before = [rule for one in old.recipients_of(was) for rule in one.attestation]
    after = [rule for one in new.recipients_of(now) for rule in one.attestation]
    exported = old.exports_of(was)
    return not all_covered(after, before) or any(not _exported(one, exported) for one in new.exports_of(now))


def _exported(export: Export, before: frozenset[Export]) -> bool:
    """An export to any version of a session covers that to a certain one."""
    return export in before or Export(session=export.session) in before


# ------------------------------------------------------------------------------------------------- services


def _about_services(old: Session, new: Session) -> Iterator[Change]:
    before = {one.name: one for one in old.services}
    after = {one.name: one for one in new.services}
    for name in sorted({*before, *after}):
        if name not in after:
            yield _change(old, before[name].place.line, f"service `{name}` is gone")
        elif name not in before:
            rules = "; or ".join(map(rule_in_words, after[name].attestation))
            yield _change(new, after[name].place.line, f"new service `{name}`: {rules}")
        else:
            yield from _about_service(before[name], after[name], new)


def _about_service(before: Service, after: Service, new: Session) -> Iterator[Change]:
    line, name = after.place.line, after.name
    was = [rule_document(one) for one in before.attestation]
    for rule in after.attestation:
        if rule_document(rule) not in was:
            weakens = not all_covered([rule], before.attestation)
            text = f"`{name}` may now also be: {rule_in_words(rule, short=False)}"
            yield _change(new, rule.place.line, text, weakens=weakens)
    now = [rule_document(one) for one in after.attestation]
    for rule in before.attestation:
        if rule_document(rule) not in now:
            yield _change(new, line, f"`{name}` can no longer be: {rule_in_words(rule, short=False)}")
    yield from _about_texts(before, after, new)


def _texts(service: Service) -> dict[str, str]:
    """What a service runs, by what people call it."""
    return {
        "command": " ".join(repr(one.text) for one in service.command),
        **{f"variable {name}": repr(one.text) for name, one in service.environment.items()},
        **{f"file {one.path}": repr(one.content.text) for one in service.files},
        "working directory": service.pwd,
        "secrets it may ask for": ", ".join(service.asks_for),
    }


def _about_texts(before: Service, after: Service, new: Session) -> Iterator[Change]:
    was, now = _texts(before), _texts(after)
    for key in sorted({*was, *now}):
        if was.get(key) != now.get(key):
            text = f"the {key} of `{after.name}` changed from {_shown(was, key)} to {_shown(now, key)}"
            yield _change(new, after.place.line, text)
    for text, weakens in shield_changes(before.shield, after.shield):
        yield _change(new, after.place.line, f"the shield of `{after.name}`: {text}", weakens=weakens)


def _shown(texts: Mapping[str, str], key: str) -> str:
    text = texts.get(key, "")
    return (text if len(text) <= LONGEST else f"{text[:LONGEST]}...") or "nothing"


# ------------------------------------------------------------------------------------------------- people


def _about_people(old: Session, new: Session) -> Iterator[Change]:
    if old.name != new.name:
        yield _change(new, 1, f"the name changed from {old.name} to {new.name}: this is another session", weakens=True)
    for action in ("read", "update"):
        was: frozenset[str] = getattr(old.access, action)
        now: frozenset[str] = getattr(new.access, action)
        if was != now:
            text = f"who may {action} the session changed from {', '.join(sorted(was))} to {', '.join(sorted(now))}"
            yield _change(new, 1, text, weakens=opens(now, was))
    if _holders(old.approvals) != _holders(new.approvals):
        text = (
            f"who must approve updates changed from {approvals_in_words(old.approvals)} to "
            f"{approvals_in_words(new.approvals)}"
        )
        yield _change(new, 1, text, weakens=owners_lose(new.approvals, old.approvals))
    if set(old.verifiers) != set(new.verifiers):
        was_words, now_words = (holders_in_words(each.verifiers) or "any the broker trusts" for each in (old, new))
        text = f"whose attestation results count changed from {was_words} to {now_words}"
        yield _change(new, 1, text, weakens=_more_count(new, old))


def _holders(approvals: Approvals | None) -> tuple[int, frozenset[KeyHolder]] | None:
    return None if approvals is None else (approvals.threshold, frozenset(approvals.owners))


def _more_count(new: Session, old: Session) -> bool:
    """Whether a verifier counts that did not."""
    keys, before = ({one.fingerprint for one in each.verifiers} for each in (new, old))
    return bool(before) and (not keys or bool(keys - before))
