"""Secrets by name and version: encrypted when they come in, opened only to be encrypted to an attested key.

    name                REPOSITORY/TYPE/TAG, as the KBS protocol addresses resources
    ciphertext          the secret under its own key, bound to name, version, rule and expiry
    wrapped key         that key under the key-encryption key, bound to the same

There is no way to read a value back: who put it in has it, and who is attested gets it.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cloister.broker.secrets_key import KeyEncryption, SecretUnreadable, sealed, unsealed
from cloister.broker.secrets_rule import ReleaseRule, parse_rule
from cloister.broker.session.secret_value import SecretValue
from cloister.broker.store import Sealed, Store
from cloister.errors import CloisterError, Denied, ParseError, Undecided

__all__ = ["LARGEST_SECRET", "SecretVersion", "UnknownSecret", "Vault", "check_name", "secret_context"]

LARGEST_SECRET: Final = 1 << 16
"""Bytes."""
PART: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
"""Of a name. No dot in front: a part is never `.` or `..`."""
ATTEMPTS: Final = 8
RECORD: Final = "secret"


class UnknownSecret(CloisterError):
    """There is no secret of that name."""

    exit_code = 4
    status = 404


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretVersion:
    """What is told about a version of a secret."""

    name: str
    version: int
    rule: ReleaseRule
    created: datetime
    expires: datetime | None
    revoked: datetime | None


def check_name(name: str) -> str:
    """The name, if it is three parts of harmless characters; ParseError if not."""
    parts = name.split("/")
    if len(parts) != 3 or not all(map(PART.fullmatch, parts)):
        raise ParseError(RECORD, "name", 0, "is not REPOSITORY/TYPE/TAG of letters, digits, `.`, `_` and `-`")
    return name


class Vault:
    """The secrets in a store, under a key-encryption key."""

    def __init__(self, store: Store, key: KeyEncryption, clock: Callable[[], datetime]) -> None:
        self._store, self._key, self._clock = store, key, clock

    def put(self, name: str, value: bytes, rule: ReleaseRule, *, expires: datetime | None = None) -> SecretVersion:
        """Store a value as the newest version. ParseError for a name, size or time that cannot be."""
        check_name(name)
        if not 1 <= len(value) <= LARGEST_SECRET:
            raise ParseError(RECORD, "value", 0, f"has {len(value)} bytes; 1 to {LARGEST_SECRET} are possible")
        if expires is not None and expires <= self._clock():
            raise ParseError(RECORD, "expires", 0, "is past")
        expires = None if expires is None else expires.replace(microsecond=0)
        for _ in range(ATTEMPTS):
            newest = self._store.latest(name)
            made = self._seal(name, 1 if newest is None else newest.version + 1, value, rule, expires)
            if self._store.add_version(made):
                return _told(made)
        raise Undecided(f"{name}: others store new versions all the time; try again")

    def rotate(self, name: str, value: bytes) -> SecretVersion:
        """A new value under the rule and expiry of the newest version. UnknownSecret, or Denied if it was revoked."""
        newest = self._newest(name)
        if newest.revoked is not None:
            raise Denied(f"{name} was revoked; store it anew, with its rule")
        return self.put(name, value, self.rule_of(newest), expires=newest.expires)

    def revoke(self, name: str) -> list[SecretVersion]:
        """Destroy every version's key and ciphertext, the newest first; those that were not revoked before."""
        self._newest(name)
        gone = [one for one in reversed(self._store.versions(name)) if self._store.revoke(name, one.version)]
        return [_told(one) for one in gone]

    def versions(self, name: str = "") -> list[SecretVersion]:
        """All versions, of one secret or of all. UnknownSecret if there is none of that name."""
        if name:
            self._newest(name)
        return [_told(one) for one in self._store.versions(name)]

    def current(self, name: str) -> Sealed:
        """The newest version. UnknownSecret if there is none, Denied if it is revoked or has expired."""
        newest = self._newest(name)
        if newest.revoked is not None:
            raise Denied("the secret was revoked", set_by="the secret's owner")
        if newest.expires is not None and self._clock() >= newest.expires:
            raise Denied("the secret has expired", set_by="the secret's owner")
        return newest

    def rule_of(self, one: Sealed) -> ReleaseRule:
        """The rule of a version, authenticated: SecretUnreadable if somebody changed it in the database."""
        self._content_key(one)
        return _rule(one)

    def open(self, one: Sealed) -> SecretValue:
        """The value. SecretUnreadable if the database was changed."""
        context = secret_context(one.name, one.version, one.rule, one.expires)
        return SecretValue(unsealed(self._content_key(one), one.ciphertext, context))

    def _newest(self, name: str) -> Sealed:
        newest = self._store.latest(check_name(name))
        if newest is None:
            raise UnknownSecret("there is no secret of that name")
        return newest

    def _content_key(self, one: Sealed) -> bytes:
        return self._key.unwrap(one.wrapped_key, secret_context(one.name, one.version, one.rule, one.expires))

    def _seal(self, name: str, version: int, value: bytes, rule: ReleaseRule, expires: datetime | None) -> Sealed:
        context, content_key = secret_context(name, version, rule.text(), expires), os.urandom(32)
        return Sealed(
            name=name, version=version, rule=rule.text(), created=self._clock().replace(microsecond=0),
            expires=expires, revoked=None, wrapped_key=self._key.wrap(content_key, context),
            ciphertext=sealed(content_key, value, context),
        )  # fmt: skip


def secret_context(name: str, version: int, rule: str, expires: datetime | None) -> bytes:
    """What a version's key and ciphertext are bound to."""
    until = 0 if expires is None else int(expires.timestamp())
    document = json.dumps([name, version, rule, until], separators=(",", ":"))
    return b"cloister secret\n" + hashlib.sha256(document.encode()).digest()


def _rule(one: Sealed) -> ReleaseRule:
    try:
        return parse_rule(json.loads(one.rule))
    except (ValueError, ParseError) as error:
        raise SecretUnreadable("the database holds a release rule that is none") from error


def _told(one: Sealed) -> SecretVersion:
    return SecretVersion(
        name=one.name, version=one.version, rule=_rule(one), created=one.created, expires=one.expires,
        revoked=one.revoked,
    )  # fmt: skip
