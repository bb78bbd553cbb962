"""Administration over HTTP: secrets come in, and never out.

PUT  /admin/v1/secrets/REPOSITORY/TYPE/TAG           {"value": base64, "release": RULE, "expires": RFC 3339}; 201
GET  /admin/v1/secrets, /admin/v1/secrets/NAME       names, versions, rules, times; never a value
POST /admin/v1/secrets/NAME/rotate                   {"value": base64}; a new version under the same rule; 201
POST /admin/v1/secrets/NAME/revoke                   every version's key is destroyed
PUT  /admin/v1/sessions/NAME                         {"session": YAML, "approvals": [...]}; takes effect, 201
GET  /admin/v1/sessions                              names, versions, hashes
DELETE /admin/v1/sessions/NAME                       every version and what was made for it is destroyed
GET  /admin/v1/log/checkpoint                        of the audit log, to be kept elsewhere

`Authorization: Bearer TOKEN`, compared in constant time with the SHA-256 of the token, which is all that is stored.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cloister import _json
from cloister.broker.audit import AuditLog, Change, SecretChanged, SecretName, SessionChanged, SessionName
from cloister.broker.secrets_rule import parse_rule
from cloister.broker.secrets_vault import LARGEST_SECRET, SecretVersion, Vault, check_name
from cloister.broker.session.approval import parse_approval
from cloister.broker.store import StoredSession
from cloister.broker.store_sessions import Held, SessionShelf
from cloister.errors import CloisterError, NotAttested, ParseError
from cloister.model import Unchecked
from cloister.serve.body import read_body
from cloister.serve.journal import note, request_id
from cloister.serve.problems import problem
from cloister.serve.workers import Workers

__all__ = ["AdminApi"]

LARGEST: Final = 2 * LARGEST_SECRET + 65_536
RECORD: Final = "administration"
NAME: Final = "/admin/v1/secrets/{repository}/{type}/{tag}"
SESSION: Final = "/admin/v1/sessions/{name:path}"
MOST_APPROVALS: Final = 64

Work = Callable[[Request, bytes], Response]


@dataclass(frozen=True, kw_only=True)
class AdminApi:
    """The endpoints. `token_sha256` is of the administrator's token."""

    vault: Vault
    shelf: SessionShelf
    audit: AuditLog
    workers: Workers
    token_sha256: bytes

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/admin/v1/secrets", self._admin(self.list), methods=["GET"]),
            Route(NAME, self._admin(self.put), methods=["PUT"]),
            Route(NAME, self._admin(self.show), methods=["GET"]),
            Route(f"{NAME}/rotate", self._admin(self.rotate), methods=["POST"]),
            Route(f"{NAME}/revoke", self._admin(self.revoke), methods=["POST"]),
            Route("/admin/v1/sessions", self._admin(self.sessions), methods=["GET"]),
            Route(SESSION, self._admin(self.put_session), methods=["PUT"]),
            Route(SESSION, self._admin(self.revoke_session), methods=["DELETE"]),
            Route("/admin/v1/log/checkpoint", self._admin(self.checkpoint), methods=["GET"]),
        ]

    def list(self, request: Request, body: bytes) -> Response:
        """Every version of every secret."""
        del request, body
        return JSONResponse({"secrets": [_document(one) for one in self.vault.versions()]})

    def show(self, request: Request, body: bytes) -> Response:
        """Every version of one secret."""
        del body
        return JSONResponse({"secrets": [_document(one) for one in self.vault.versions(_name(request))]})

    def put(self, request: Request, body: bytes) -> Response:
        """A new version, with its rule."""
        message = _object(body, {"value", "release", "expires"})
        expires = _time(message["expires"]) if message.get("expires") is not None else None
        rule = parse_rule(_json.member(message, "release", RECORD))
        made = self.vault.put(_name(request), _value(message), rule, expires=expires)
        self._record(request, made, Change.CREATED if made.version == 1 else Change.UPDATED)
        return JSONResponse(_document(made), 201)

    def rotate(self, request: Request, body: bytes) -> Response:
        """A new value under the same rule."""
        made = self.vault.rotate(_name(request), _value(_object(body, {"value"})))
        self._record(request, made, Change.UPDATED)
        return JSONResponse(_document(made), 201)

    def revoke(self, request: Request, body: bytes) -> Response:
        """The end of a secret."""
        _object(body or b"{}", set())
        gone = self.vault.revoke(_name(request))
        for one in gone:
            self._record(request, one, Change.REVOKED)
        return JSONResponse({"revoked": [one.version for one in gone]})

    def sessions(self, request: Request, body: bytes) -> Response:
        """Every session that was ever in effect; the last of a name is."""
        del request, body
        return JSONResponse({"sessions": [_session_document(one) for one in self.shelf.listed()]})

    def put_session(self, request: Request, body: bytes) -> Response:
        """A session takes effect: a first one, or one that replaces the one in effect."""
        message = _object(body, {"session", "approvals"})
        given = _json.members(message, "approvals", RECORD) if "approvals" in message else []
        if len(given) > MOST_APPROVALS:
            raise ParseError(RECORD, "approvals", 0, f"are more than {MOST_APPROVALS}")
        approvals = [parse_approval(json.dumps(one).encode(), f"approval {n}") for n, one in enumerate(given, 1)]
        text = _json.text(message, "session", RECORD).encode()
        made = self.shelf.update(request.path_params["name"], text, approvals)
        change = Change.CREATED if made.number == 1 else Change.UPDATED
        owners = dict.fromkeys(bytes.fromhex(one.owner) for one in approvals)
        self._record_session(request, made, change, tuple(owners))
        return JSONResponse({"name": made.session.name, "number": made.number, "sha256": made.sha256}, 201)

    def revoke_session(self, request: Request, body: bytes) -> Response:
        """The end of a session."""
        del body
        held = self.shelf.current(request.path_params["name"])
        self.shelf.revoke(held.session.name)
        self._record_session(request, held, Change.REVOKED, ())
        return JSONResponse({"revoked": held.session.name})

    def _record_session(self, request: Request, held: Held, change: Change, owners: tuple[bytes, ...]) -> None:
        note(request, step=str(change), secret=held.session.name, version=held.number)
        name = SessionName(name=held.session.name, version=held.session.version, sha256=bytes.fromhex(held.sha256))
        before = held.session.predecessor
        self.audit.append(
            SessionChanged(
                request=request_id(request), session=name, change=change, by=(self.token_sha256_id, *owners),
                predecessor=bytes.fromhex(before) if before else Unchecked("this is the first session of that name"),
            )
        )  # fmt: skip

    def checkpoint(self, request: Request, body: bytes) -> Response:
        """The head of the audit log, signed."""
        del request, body
        return Response(self.audit.checkpoint().serialize(), media_type="application/json")

    def _record(self, request: Request, one: SecretVersion, change: Change) -> None:
        """After the change: the log says what is so. A release of it has an entry of its own, before it."""
        note(request, secret=one.name, version=one.version, step=str(change))
        session = SessionName(name=f"release rule of {one.name}", version=str(one.version), sha256=one.rule.sha256)
        secret = SecretName(name=one.name, version=one.version)
        self.audit.append(
            SecretChanged(
                request=request_id(request), session=session, secret=secret, change=change, by=(self.token_sha256_id,)
            )
        )

    @property
    def token_sha256_id(self) -> bytes:
        """What the administrator is called in the log: a digest of the token's digest, of no use for anything else."""
        return hashlib.sha256(b"cloister administrator\n" + self.token_sha256).digest()

    def _admin(self, work: Work) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            try:
                self._check_token(request)
                body = await read_body(request, LARGEST)
                return await self.workers.run(lambda: work(request, body))
            except CloisterError as error:
                return problem(error)

        return endpoint

    def _check_token(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).digest()
        if not hmac.compare_digest(given, self.token_sha256) or scheme.lower() != "bearer":
            raise NotAttested("the administrator's token is missing or wrong: Authorization: Bearer TOKEN")


def _name(request: Request) -> str:
    return check_name("/".join(request.path_params[part] for part in ("repository", "type", "tag")))


def _object(body: bytes, members: set[str]) -> Mapping[str, object]:
    """The message; an error about it quotes nothing, for it holds a secret."""
    try:
        found = _json.loads(body, RECORD)
    except ParseError as error:
        raise ParseError(RECORD, "body", error.offset, "is not JSON") from None
    if not isinstance(found, Mapping) or not found.keys() <= members:
        raise ParseError(RECORD, "members", 0, f"are not those of this request: {', '.join(sorted(members)) or 'none'}")
    return found


def _value(message: Mapping[str, object]) -> bytes:
    try:
        return base64.b64decode(_json.text(message, "value", RECORD), validate=True)
    except ValueError:
        raise ParseError(RECORD, "value", 0, "is not base64") from None


def _time(value: object) -> datetime:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
        if found is not None and found.tzinfo is not None:
            return found.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ParseError(RECORD, "expires", 0, "is not a time with a zone, like 2027-01-31T12:00:00Z")


def _document(one: SecretVersion) -> dict[str, object]:
    times = {"created": one.created, "expires": one.expires, "revoked": one.revoked}
    return {
        "name": one.name, "version": one.version, "release": _json.loads(one.rule.text(), RECORD),
        **{name: time.isoformat() for name, time in times.items() if time is not None},
    }  # fmt: skip


def _session_document(one: StoredSession) -> dict[str, object]:
    state = {} if one.revoked is None else {"revoked": one.revoked.isoformat()}
    return {"name": one.name, "number": one.number, "sha256": one.sha256, "created": one.created.isoformat(), **state}
