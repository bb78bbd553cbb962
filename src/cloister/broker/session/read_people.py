"""Keys of people and verifiers in a session: who must approve, who may read and update, whose results count."""

import hashlib
from collections.abc import Sequence
from typing import Final

from cloister._yaml import wrong
from cloister.broker.session.grammar import Found
from cloister.broker.session.session import AccessPolicy, Approvals, KeyHolder
from cloister.errors import UsageError
from cloister.result.keys import verification_keys

__all__ = ["access_of", "approvals_of", "fingerprint", "holders_of"]

FINGERPRINT: Final = 64
"""Hexadecimal digits of a SHA-256."""
WORDS: Final = frozenset({"CREATOR", "ANY", "NONE"})


def fingerprint(spki: bytes) -> str:
    """How a public key (DER SubjectPublicKeyInfo) is named: its SHA-256 in hexadecimal digits."""
    return hashlib.sha256(spki).hexdigest()


def holders_of(found: Sequence[Found]) -> tuple[KeyHolder, ...]:
    """People with their keys; no name and no key stands twice."""
    made: list[KeyHolder] = []
    for one in found:
        try:
            (key,) = verification_keys(one.text("key").encode())
        except (UsageError, ValueError) as error:
            reason = error if isinstance(error, UsageError) else "several keys; each holder has one"
            raise wrong(one.at("key"), f"the key of a holder: {reason}") from None
        holder = KeyHolder(
            name=one.text("name"), spki=key.spki, fingerprint=fingerprint(key.spki)
        )  # fmt: skip
        if holder.name in WORDS:
            raise wrong(one.at("name"), "this word has a meaning in `access_policy`; give another name")
        for other in made:
            if other.name == holder.name:
                raise wrong(one.at("name"), "a second holder of this name; give another")
            if other.spki == holder.spki:
                raise wrong(one.at("key"), "this key stands twice: whoever holds it would count as two; remove one")
        made.append(holder)
    return tuple(made)


def approvals_of(found: Found | None) -> Approvals | None:
    """Who must approve; None if nobody must."""
    if found is None:
        return None
    owners = holders_of(found.records("owners"))
    threshold = found.whole("threshold") or 0
    if threshold > len(owners):
        raise wrong(
            found.at("threshold"), f"{threshold} of {len(owners)} owners can never agree: this session could not be "
            "updated any more; lower the threshold or add owners"
        )  # fmt: skip
    return Approvals(threshold=threshold, owners=owners)


def access_of(found: Found | None, approvals: Approvals | None) -> AccessPolicy:
    """Who may read and update: CREATOR if the session does not say."""
    if found is None:
        return AccessPolicy()
    owners = {one.name: one.fingerprint for one in approvals.owners} if approvals else {}
    given = {key: _entities(found, key, owners) for key in ("read", "update") if key in found}
    if "ANY" in given.get("update", ()):
        raise wrong(found.at("update"), "anybody could replace this session and take its secrets; name keys or CREATOR")
    return AccessPolicy(**given)


def _entities(found: Found, key: str, owners: dict[str, str]) -> frozenset[str]:
    entities: set[str] = set()
    for word in found.words(key):
        if word.text in WORDS:
            entities.add(word.text)
        elif word.text in owners:
            entities.add(owners[word.text])
        elif len(word.text) == FINGERPRINT and set(word.text.lower()) <= set("0123456789abcdef"):
            entities.add(word.text.lower())
        else:
            raise wrong(
                word.place, "this is no owner's name under `approvals`, no SHA-256 of a public key, and none of "
                "CREATOR, ANY, NONE"
            )  # fmt: skip
    if len(entities) > 1 and entities & {"NONE", "ANY"}:
        raise wrong(found.at(key), "NONE and ANY stand alone: beside others they hide what is meant")
    return frozenset(entities)
