"""Sessions over HTTP, for their owners and the administrator. No answer has the value of a secret.

GET    /admin/v1/sessions          names, versions, hashes; for the administrator
GET    /admin/v1/sessions/NAME     the session in effect, in its canonical form; for whom its access_policy lets read
PUT    /admin/v1/sessions/NAME     {"session": YAML, "approvals": [...]}; takes effect, 201; for whom it lets update
POST   /admin/v1/sessions/NAME     {"rotate": [SECRET, ...]}: new values of what the broker makes; the same people
DELETE /admin/v1/sessions/NAME     every version and what was made for it is destroyed; the same, and the administrator

Who asks is `callers.py`'s to say. A first session takes the administrator's token; who signs that request as well is
its CREATOR.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cloister import _json
from cloister.broker.audit import AuditLog, Change, SecretChanged, SecretName, SessionChanged, SessionName
from cloister.broker.session.access import Caller
from cloister.broker.session.approval import parse_approval
from cloister.broker.session.canonical import document
from cloister.broker.store import StoredSession
from cloister.broker.store_sessions import Held, SessionShelf
from cloister.errors import CloisterError, ParseError
from cloister.model import Unchecked
from cloister.serve.body import read_body
from cloister.serve.callers import Callers, Identified
from cloister.serve.journal import note, request_id
from cloister.serve.problems import problem
from cloister.serve.workers import Workers

__all__ = ["SessionApi"]

LARGEST: Final = 512 << 10
"""Bytes: a session of 128 KiB in JSON, and its approvals."""
RECORD: Final = "administration"
SESSION: Final = "/admin/v1/sessions/{name:path}"
MOST_APPROVALS: Final = 64
MOST_ROTATED: Final = 64

Work = Callable[[Request, bytes, Identified], Response]


@dataclass(frozen=True, kw_only=True)
class SessionApi:
    """The endpoints."""

    shelf: SessionShelf
    audit: AuditLog
    workers: Workers
    callers: Callers

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/admin/v1/sessions", self._endpoint(self.list), methods=["GET"]),
            Route(SESSION, self._endpoint(self.show), methods=["GET"]),
            Route(SESSION, self._endpoint(self.put), methods=["PUT"]),
            Route(SESSION, self._endpoint(self.rotate), methods=["POST"]),
            Route(SESSION, self._endpoint(self.revoke), methods=["DELETE"]),
            *self.callers.routes(),
        ]

    def list(self, request: Request, body: bytes, who: Identified) -> Response:
        """Every session that was ever in effect; the last of a name is."""
        del body
        if not who.caller.administrator:
            self.callers.require_administrator(request)
        self.callers.use_up(who)
        return JSONResponse({"sessions": [_listed(one) for one in self.shelf.listed()]})

    def show(self, request: Request, body: bytes, who: Identified) -> Response:
        """What is in effect."""
        del body
        name = request.path_params["name"]
        self._allow(name, "read", who)
        held = self.shelf.current(name)
        return JSONResponse(_told(held) | {"session": document(held.session)})

    def put(self, request: Request, body: bytes, who: Identified) -> Response:
        """A session takes effect: a first one, or one that replaces the one in effect."""
        name = request.path_params["name"]
        self._allow(name, "update", who)
        message = _object(body, {"session", "approvals"})
        given = _json.members(message, "approvals", RECORD) if "approvals" in message else []
        if len(given) > MOST_APPROVALS:
            raise ParseError(RECORD, "approvals", 0, f"are more than {MOST_APPROVALS}")
        approvals = [parse_approval(json.dumps(one).encode(), f"approval {n}") for n, one in enumerate(given, 1)]
        text = _json.text(message, "session", RECORD).encode()
        made = self.shelf.update(name, text, approvals, who.caller)
        change = Change.CREATED if made.number == 1 else Change.UPDATED
        self._record(request, made, change, who.caller, *(bytes.fromhex(one.owner) for one in approvals))
        return JSONResponse(_told(made), 201)

    def rotate(self, request: Request, body: bytes, who: Identified) -> Response:
        """New values of secrets that the broker makes; whoever asks from now on gets them."""
        name = request.path_params["name"]
        self._allow(name, "update", who)
        wanted = _json.members(_object(body, {"rotate"}), "rotate", RECORD)
        names = [one for one in wanted if isinstance(one, str)]
        if names != wanted or not 1 <= len(names) <= MOST_ROTATED or len(set(names)) != len(names):
            raise ParseError(RECORD, "rotate", 0, f"is no list of 1 to {MOST_ROTATED} different names of secrets")
        made = self.shelf.rotate(name, names, who.caller)
        for one in names:
            secret = SecretName(name=one, version=made.number)
            self.audit.append(
                SecretChanged(
                    request=request_id(request), session=_named(made), secret=secret, change=Change.UPDATED,
                    by=self.callers.names(who.caller),
                )
            )  # fmt: skip
        note(request, step="rotate", secret=name, version=made.number)
        return JSONResponse(_told(made) | {"rotated": names})

    def revoke(self, request: Request, body: bytes, who: Identified) -> Response:
        """The end of a session."""
        del body
        name = request.path_params["name"]
        if who.caller.administrator:
            self.callers.use_up(who)
        else:
            self._allow(name, "update", who)
        held = self.shelf.current(name)
        self.shelf.revoke(name)
        self._record(request, held, Change.REVOKED, who.caller)
        return JSONResponse({"revoked": name})

    def _allow(self, name: str, action: str, who: Identified) -> None:
        """First whether they may, then that they have not asked this before."""
        self.shelf.check(name, action, who.caller)
        self.callers.use_up(who)

    def _record(self, request: Request, held: Held, change: Change, caller: Caller, *owners: bytes) -> None:
        note(request, step=str(change), secret=held.session.name, version=held.number)
        before = held.session.predecessor
        self.audit.append(
            SessionChanged(
                request=request_id(request), session=_named(held), change=change,
                by=tuple(dict.fromkeys((*self.callers.names(caller), *owners))),
                predecessor=bytes.fromhex(before) if before else Unchecked("this is the first session of that name"),
            )
        )  # fmt: skip

    def _endpoint(self, work: Work) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            try:
                body = await read_body(request, LARGEST)
                return await self.workers.run(lambda: work(request, body, self.callers.identify(request, body)))
            except CloisterError as error:
                return problem(error)

        return endpoint


def _object(body: bytes, members: set[str]) -> Mapping[str, object]:
    """The message; an error about it quotes nothing, for it holds secrets."""
    try:
        found = _json.loads(body, RECORD)
    except ParseError as error:
        raise ParseError(RECORD, "body", error.offset, "is not JSON") from None
    if not isinstance(found, Mapping) or not found.keys() <= members:
        raise ParseError(RECORD, "members", 0, f"are not those of this request: {', '.join(sorted(members))}")
    return found


def _named(held: Held) -> SessionName:
    return SessionName(name=held.session.name, version=held.session.version, sha256=bytes.fromhex(held.sha256))


def _told(held: Held) -> dict[str, object]:
    return {
        "name": held.session.name, "number": held.number, "sha256": held.sha256,
        "created": held.created.isoformat(), "creator": held.creator or None,
    }  # fmt: skip


def _listed(one: StoredSession) -> dict[str, object]:
    state = {} if one.revoked is None else {"revoked": one.revoked.isoformat()}
    return {"name": one.name, "number": one.number, "sha256": one.sha256, "created": one.created.isoformat(), **state}
