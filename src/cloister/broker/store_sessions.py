"""Sessions in the store: which one is in effect, the values that were made for it, and how it is replaced.

A session is stored as the owner wrote it, with the values that the broker made and who created it, under a key of its
own that is wrapped by the key-encryption key. Replacing it takes the right to, the hash of the one in effect, and the
approvals that this one demands.
"""

import base64
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from cloister.broker.secrets_key import KeyEncryption, SecretUnreadable, sealed, unsealed
from cloister.broker.secrets_vault import UnknownSecret
from cloister.broker.session.access import Caller, check_access
from cloister.broker.session.approval import Approval, agreement
from cloister.broker.session.canonical import session_hash
from cloister.broker.session.exchange import granted
from cloister.broker.session.read import parse_session
from cloister.broker.session.secret_maker import SecretMaker
from cloister.broker.session.secret_value import SecretValue
from cloister.broker.session.session import Generated, Imported, Secret, Service, Session
from cloister.broker.store import Store, StoredSession
from cloister.errors import Denied, PolicyError, Undecided

__all__ = ["Held", "SessionShelf", "session_context"]

DEEPEST: Final = 4
"""Sessions that import from sessions that import."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A session in effect. `number` counts the sessions of that name, from 1; `values` are those that were made.

    `creator` is the SHA-256 of the key of whoever made the first one; empty if that was the administrator.
    """

    session: Session
    sha256: str
    number: int
    creator: str
    created: datetime
    values: Mapping[str, SecretValue] = field(repr=False)


class SessionShelf:
    """The sessions in a store, under a key-encryption key."""

    def __init__(self, store: Store, key: KeyEncryption, clock: Callable[[], datetime]) -> None:
        self._store, self._key, self._clock = store, key, clock
        self._maker = SecretMaker(clock=clock)

    def check(self, name: str, action: str, caller: Caller) -> None:
        """Whether the caller may `read` or `update` the session in effect, or make a first one of that name.

        NotAttested or Denied if not, in the same words if there is none; Denied too if it was revoked.
        """
        newest = self._store.latest_session(name)
        held = None if newest is None or newest.revoked is not None else self._opened(newest)
        session, creator = (None, "") if held is None else (held.session, held.creator)
        check_access(action, session, creator, caller)

    def update(self, name: str, text: bytes, approvals: Iterable[Approval], caller: Caller) -> Held:
        """Put a session into effect: a first one, or one that names the hash of its predecessor.

        PolicyError if it cannot be, Denied if the caller may not or owners' approvals are missing, BindingInvalid and
        SignatureInvalid for approvals that are none, Undecided if another update came first.
        """
        newest = self._store.latest_session(name)
        before = None if newest is None else self._opened(newest)
        if before is None:
            check_access("update", None, "", caller)
        else:
            check_access("update", before.session, before.creator, caller)
        session = parse_session(text, f"{name.replace('/', '-')}.yaml")
        if session.name != name:
            raise PolicyError(f"this session is called {session.name}, not {name}")
        agreed = agreement(session, None if before is None else before.session, approvals)
        if not agreed.reached:
            missing = ", ".join(one.name for one in agreed.missing)
            raise Denied(
                f"{len(agreed.signed)} of {agreed.needed} owners have signed; missing: {missing}",
                expected=agreed.needed, actual=len(agreed.signed), set_by="the approvals of the session in effect",
            )  # fmt: skip
        made = Held(
            session=session, sha256=session_hash(session), number=1 if before is None else before.number + 1,
            creator=caller.key if before is None else before.creator, created=self._clock(),
            values=self._values(session, before),
        )  # fmt: skip
        return self._kept(made, text)

    def rotate(self, name: str, secrets: Iterable[str], caller: Caller) -> Held:
        """New values for secrets that the broker makes. The session and its hash stay as they are.

        Denied if the caller may not update it, or if owners must agree to changes; PolicyError for what is not made.
        """
        newest = self._newest(name)
        before = self._opened(newest)
        check_access("update", before.session, before.creator, caller)
        if before.session.approvals is not None:
            raise Denied(
                "owners must agree to changes of this session: what data was encrypted with may be lost with a value; "
                "update it instead, and let the secret have another name or another `generate`",
                set_by="the approvals of the session in effect",
            )  # fmt: skip
        fresh = {one: self._maker.make(_made_secret(before.session, one)) for one in secrets}
        made = replace(before, number=before.number + 1, values={**before.values, **fresh}, created=self._clock())
        return self._kept(made, self._document(newest)[0])

    def _kept(self, made: Held, text: bytes) -> Held:
        """It is in effect when this returns."""
        name = made.session.name
        if not self._store.add_session(self._sealed(made, text)):
            raise Undecided(f"{name}: another update came first; look at what is in effect now, and try again")
        return made

    def current(self, name: str) -> Held:
        """The session in effect. UnknownSecret if there is none of that name, Denied if it was revoked."""
        newest = self._newest(name)
        if newest.revoked is not None:
            raise Denied("the session was revoked", set_by="the session's owner")
        return self._opened(newest)

    def _newest(self, name: str) -> StoredSession:
        newest = self._store.latest_session(name)
        if newest is None:
            raise UnknownSecret("there is no session of that name")
        return newest

    def listed(self) -> list[StoredSession]:
        """Every session that was ever in effect, oldest first; what is secret in it stays encrypted."""
        return self._store.sessions()

    def revoke(self, name: str) -> int:
        """Destroy every version of a session and what was made for it; how many there were."""
        self._newest(name)
        return self._store.revoke_session(name)

    def values_for(self, held: Held, service: Service) -> dict[str, SecretValue]:
        """Every value that the service gets and the session does not hold itself: made, or imported from others."""
        return {
            name: self._value(held, name, DEEPEST)
            for name in held.session.secrets_of(service)
            if not name_is_given(held.session, name)
        }

    def _value(self, held: Held, name: str, deep: int) -> SecretValue:
        origin = held.session.by_name[name].origin
        if isinstance(origin, Imported):
            if deep == 0:
                raise Denied(f"`{name}` is imported through more than {DEEPEST} sessions")
            exporter = self.current(origin.session)
            return self._value(exporter, granted(held.session, name, exporter.session).name, deep - 1)
        if isinstance(origin, Generated):
            return held.values[name]
        if origin.composed_of:
            raise Denied(f"`{name}` is composed of other secrets, and so stays in its session")
        return held.session.values[name]

    def _values(self, session: Session, before: Held | None) -> dict[str, SecretValue]:
        """What the broker makes. An update keeps what it does not change."""
        old = {} if before is None else before.values
        made: dict[str, SecretValue] = {}
        for one in session.secrets:
            if isinstance(one.origin, Generated):
                known = None if before is None else before.session.by_name.get(one.name)
                same = known is not None and (known.kind, known.origin) == (one.kind, one.origin)
                made[one.name] = old[one.name] if same else self._maker.make(one)
        return made

    def _sealed(self, held: Held, text: bytes) -> StoredSession:
        context, content_key = session_context(held.session.name, held.number, held.sha256), os.urandom(32)
        values = {name: base64.b64encode(value.reveal()).decode() for name, value in held.values.items()}
        document = {"session": base64.b64encode(text).decode(), "values": values, "creator": held.creator}
        return StoredSession(
            name=held.session.name, number=held.number, sha256=held.sha256, created=held.created, revoked=None,
            wrapped_key=self._key.wrap(content_key, context),
            ciphertext=sealed(content_key, json.dumps(document).encode(), context),
        )  # fmt: skip

    def _opened(self, one: StoredSession) -> Held:
        if one.revoked is not None:
            raise Denied("the session was revoked; use another name", set_by="the session's owner")
        text, document = self._document(one)
        session = parse_session(text, f"{one.name.replace('/', '-')}.yaml")
        if session_hash(session) != one.sha256 or session.name != one.name:
            raise SecretUnreadable("the database holds a session under another one's hash")
        values = {name: SecretValue(base64.b64decode(value)) for name, value in document["values"].items()}
        return Held(
            session=session, sha256=one.sha256, number=one.number, values=values, created=one.created,
            creator=document.get("creator", ""),  # sessions stored before there were other creators have none
        )  # fmt: skip

    def _document(self, one: StoredSession) -> tuple[bytes, dict[str, Any]]:
        """The YAML, and what is stored beside it."""
        context = session_context(one.name, one.number, one.sha256)
        document = json.loads(unsealed(self._key.unwrap(one.wrapped_key, context), one.ciphertext, context))
        return base64.b64decode(document["session"]), document


def _made_secret(session: Session, name: str) -> Secret:
    """The secret, if the broker makes it. Its name is not quoted: it comes from outside."""
    secret = session.by_name.get(name)
    if secret is None or not isinstance(secret.origin, Generated):
        raise PolicyError("only a secret with `generate` gets a new value here; for others, update the session")
    return secret


def name_is_given(session: Session, name: str) -> bool:
    """Whether the owner wrote this secret's value in the session."""
    return not isinstance(session.by_name[name].origin, Generated | Imported)


def session_context(name: str, number: int, sha256: str) -> bytes:
    """What a stored session's key and ciphertext are bound to."""
    return b"cloister session\n" + json.dumps([name, number, sha256], separators=(",", ":")).encode()
