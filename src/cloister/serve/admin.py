"""Administration over HTTP: secrets come in, and never out.

PUT  /admin/v1/secrets/REPOSITORY/TYPE/TAG           {"value": base64, "release": RULE, "expires": RFC 3339}; 201
GET  /admin/v1/secrets, /admin/v1/secrets/NAME       names, versions, rules, times; never a value
POST /admin/v1/secrets/NAME/rotate                   {"value": base64}; a new version under the same rule; 201
POST /admin/v1/secrets/NAME/revoke                   every version's key is destroyed
GET  /admin/v1/log/checkpoint?worker=N               of the audit log, to be kept elsewhere; of the first worker's

`Authorization: Bearer TOKEN`, compared in constant time with the SHA-256 of the token, which is all that is stored.
Sessions have other people too: `session_api.py`.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cloister import _json
from cloister.broker.audit import AuditLog, Change, Checkpoint, SecretChanged, SecretName, SessionName
from cloister.broker.secrets_rule import parse_rule
from cloister.broker.secrets_vault import LARGEST_SECRET, SecretVersion, Vault, check_name
from cloister.errors import CloisterError, ParseError
from cloister.serve.body import read_body
from cloister.serve.callers import Callers
from cloister.serve.journal import note, request_id
from cloister.serve.problems import problem
from cloister.serve.workers import Workers

__all__ = ["AdminApi"]

LARGEST: Final = 2 * LARGEST_SECRET + 65_536
RECORD: Final = "administration"
NAME: Final = "/admin/v1/secrets/{repository}/{type}/{tag}"
LONGEST_NUMBER: Final = 3

Work = Callable[[Request, bytes], Response]


@dataclass(frozen=True, kw_only=True)
class AdminApi:
    """The endpoints."""

    vault: Vault
    audit: AuditLog
    checkpoint_of: Callable[[int], Checkpoint]
    workers: Workers
    callers: Callers

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/admin/v1/secrets", self._admin(self.list), methods=["GET"]),
            Route(NAME, self._admin(self.put), methods=["PUT"]),
            Route(NAME, self._admin(self.show), methods=["GET"]),
            Route(f"{NAME}/rotate", self._admin(self.rotate), methods=["POST"]),
            Route(f"{NAME}/revoke", self._admin(self.revoke), methods=["POST"]),
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

    def checkpoint(self, request: Request, body: bytes) -> Response:
        """The head of a worker's audit log, signed."""
        del body
        number = request.query_params.get("worker", "0")
        if not number.isascii() or not number.isdecimal() or len(number) > LONGEST_NUMBER:
            raise ParseError(RECORD, "worker", 0, "is not the number of one")
        return Response(self.checkpoint_of(int(number)).serialize(), media_type="application/json")

    def _record(self, request: Request, one: SecretVersion, change: Change) -> None:
        """After the change: the log says what is so. A release of it has an entry of its own, before it."""
        note(request, secret=one.name, version=one.version, step=str(change))
        session = SessionName(name=f"release rule of {one.name}", version=str(one.version), sha256=one.rule.sha256)
        secret = SecretName(name=one.name, version=one.version)
        self.audit.append(
            SecretChanged(
                request=request_id(request),
                session=session,
                secret=secret,
                change=change,
                by=(self.callers.administrator,),
            )
        )

    def _admin(self, work: Work) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            try:
                self.callers.require_administrator(request)
                body = await read_body(request, LARGEST)
                return await self.workers.run(lambda: work(request, body))
            except CloisterError as error:
                return problem(error)

        return endpoint


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
