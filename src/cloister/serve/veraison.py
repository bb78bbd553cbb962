"""Veraison's challenge-response API, version 1 (veraison/docs, api/challenge-response), and its discovery document.

POST   /challenge-response/v1/newSession?nonceSize=N or ?nonce=BASE64URL    201, Location, waiting
POST   /challenge-response/v1/session/ID     evidence; 200, complete, with the result (EAR)
GET    /challenge-response/v1/session/ID     its state
DELETE /challenge-response/v1/session/ID     204
GET    /.well-known/veraison/verification    media types, endpoints, the key that signs results

Evidence carries the session's nonce itself as report data. A session takes one piece of evidence: when that is found
not authentic, the session stays open until it expires, and another piece may be sent.
"""

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cloister import __version__
from cloister.broker.nonces import NONCE_BYTES, Challenges, Purpose, Ticket
from cloister.broker.secrets_vault import UnknownSecret
from cloister.broker.store import Store
from cloister.errors import CloisterError, NotAttested, ParseError
from cloister.result import _base64url
from cloister.result.jwk import public_jwk
from cloister.serve.appraiser import Appraising
from cloister.serve.body import read_body
from cloister.serve.journal import note
from cloister.serve.problems import Refusal, problem
from cloister.serve.workers import Workers

__all__ = ["DISCOVERY_TYPE", "MEDIA_TYPES", "SESSION_TYPE", "VeraisonApi"]

SESSION_TYPE: Final = "application/vnd.veraison.challenge-response-session+json"
DISCOVERY_TYPE: Final = "application/vnd.veraison.discovery+json"
ANY_EVIDENCE: Final = "application/vnd.cloister.evidence"
"""Whatever `cloister verify` reads: the evidence says itself what it is."""
MEDIA_TYPES: Final = (
    'application/eat-collection; profile="http://arm.com/CCA-SSD/1.0.0"',
    "application/vnd.veraison.configfs-tsm+json",
    "application/vnd.veraison.configfs-tsm+cbor",
    "application/vnd.veraison.tsm-report+cbor",
    "application/cmw+json",
    "application/cmw+cbor",
    ANY_EVIDENCE,
)
PREFIX: Final = "/challenge-response/v1"
LARGEST_EVIDENCE: Final = 4 << 20
RECORD: Final = "newSession"


class UnknownSession(UnknownSecret):
    """There is no session at this address, or there is none any more."""


@dataclass(frozen=True, kw_only=True)
class VeraisonApi:
    """The endpoints."""

    challenges: Challenges
    store: Store
    workers: Workers
    appraiser: Appraising

    def routes(self) -> list[Route]:
        """All of them."""
        session = f"{PREFIX}/session/{{session}}"
        return [
            Route(f"{PREFIX}/newSession", self.new_session, methods=["POST"]),
            Route(session, self.submit, methods=["POST"]),
            Route(session, self.look, methods=["GET"]),
            Route(session, self.delete, methods=["DELETE"]),
            Route("/.well-known/veraison/verification", self.discover, methods=["GET"]),
        ]

    async def new_session(self, request: Request) -> Response:
        """A session with the client's nonce, or with one of the size that it asks for."""
        try:
            check_accept(request, SESSION_TYPE)
            ticket = self.challenges.issue(Purpose.VERAISON, nonce=_nonce_asked(request.query_params))
        except CloisterError as error:
            return problem(error)
        except ValueError as error:
            return problem(ParseError(RECORD, "nonce", 0, str(error)))
        note(request, session=ticket.digest, step="challenge")
        return _session(ticket, "waiting", status=201, headers={"location": f"session/{ticket.text}"})

    async def submit(self, request: Request) -> Response:
        """Evidence for a waiting session."""
        try:
            ticket = self._ticket(request)
            media = check_media_type(request)
            evidence = await read_body(request, LARGEST_EVIDENCE)
            note(request, session=ticket.digest, step="evidence")
            token = await self.workers.run(lambda: self._appraise(request, ticket, evidence))
        except CloisterError as error:
            return problem(error)
        sent = {"type": media, "value": base64.b64encode(evidence).decode()}
        return _session(ticket, "complete", evidence=sent, result=token.decode())

    async def look(self, request: Request) -> Response:
        """The session as it stands."""
        try:
            check_accept(request, SESSION_TYPE)
            ticket = self._ticket(request)
            found = await self.workers.run(lambda: self.store.answer_of(ticket.digest))
            if found == b"":
                raise UnknownSession("this session was deleted")
        except CloisterError as error:
            return problem(error)
        note(request, session=ticket.digest)
        return _session(ticket, "waiting") if found is None else _session(ticket, "complete", result=found.decode())

    async def delete(self, request: Request) -> Response:
        """End the session: its result is forgotten, and nothing more is taken for it."""
        try:
            ticket = self._ticket(request)
            await self.workers.run(lambda: self.store.withdraw(ticket.digest, ticket.expires))
        except CloisterError as error:
            return problem(error)
        note(request, session=ticket.digest, step="deleted")
        return Response(status_code=204)

    async def discover(self, request: Request) -> Response:
        """What is verified here, where, and with which key results are signed."""
        try:
            check_accept(request, DISCOVERY_TYPE)
        except Refusal as error:
            return problem(error)
        document = {
            "ear-verification-key": public_jwk(self.appraiser.key.spki), "media-types": list(MEDIA_TYPES),
            "version": f"cloister-{__version__}", "service-state": "READY",
            "api-endpoints": {"newChallengeResponseSession": f"{PREFIX}/newSession"},
        }  # fmt: skip
        return JSONResponse(document, media_type=DISCOVERY_TYPE)

    def _ticket(self, request: Request) -> Ticket:
        try:
            return self.challenges.read(request.path_params["session"], Purpose.VERAISON)
        except NotAttested as error:
            raise UnknownSession(str(error)) from error

    def _appraise(self, request: Request, ticket: Ticket, evidence: bytes) -> bytes:
        found = self.store.answer_of(ticket.digest)
        if found == b"":
            raise UnknownSession("this session was deleted")
        if found is not None:
            raise Refusal(409, "this session is complete; begin a new one for other evidence")
        made = self.appraiser.of_evidence(evidence, ticket.nonce)
        if not self.store.accept(ticket.digest, made.token, ticket.expires):
            raise Refusal(409, "this session is complete; begin a new one for other evidence")
        note(request, verdict=str(made.result.status), tee=str(_tee(made.result.submodules)))
        return made.token


def _tee(submodules: Mapping[str, object]) -> object:
    basis = getattr(next(iter(submodules.values())), "basis", None)
    return getattr(basis, "tee", "")


def _session(
    ticket: Ticket, state: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **more: object
) -> JSONResponse:
    """A ChallengeResponseSession."""
    body = {
        "nonce": base64.b64encode(ticket.nonce).decode(), "expiry": _rfc3339(ticket.expires),
        "accept": list(MEDIA_TYPES), "status": state, **more,
    }  # fmt: skip
    return JSONResponse(body, status, headers, media_type=SESSION_TYPE)


def _rfc3339(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _nonce_asked(query: Mapping[str, str]) -> bytes:
    """The nonce that is given, or one of the size that is asked for; ParseError for both, or what is neither."""
    if "nonce" in query and "nonceSize" in query:
        raise ParseError(RECORD, "nonceSize", 0, "and nonce exclude each other")
    if "nonce" in query:
        try:
            return _base64url.decode(query["nonce"].rstrip("="))
        except ValueError as error:  # also what is no ASCII
            raise ParseError(RECORD, "nonce", 0, "is not base64url") from error
    size = query.get("nonceSize", str(NONCE_BYTES))
    if not (size.isascii() and size.isdecimal() and len(size) <= 4):
        raise ParseError(RECORD, "nonceSize", 0, "is no number of bytes")
    return os.urandom(int(size))


def check_accept(request: Request, media_type: str) -> None:
    """Refusal with 406 if the client says what it accepts, and this is not in it."""
    accepted = request.headers.get("accept", "*/*")
    words = {one.partition(";")[0].strip().lower() for one in accepted.split(",")}
    if not words & {media_type, "*/*", "application/*"}:
        raise Refusal(406, f"the answer is {media_type}")


def check_media_type(request: Request) -> str:
    """The media type of the evidence; Refusal with 415 if it is not one of those that are accepted."""
    given = request.headers.get("content-type", "")
    wanted = {_normal(one): one for one in MEDIA_TYPES}
    if _normal(given) not in wanted:
        raise Refusal(
            415, "evidence of this media type is not verified here; /.well-known/veraison/verification lists them"
        )
    return wanted[_normal(given)]


def _normal(media_type: str) -> str:
    return "".join(media_type.split()).replace('"', "").lower()
