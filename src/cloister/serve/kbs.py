"""The KBS protocol 0.4.0 over HTTP: auth, attest, resource.

POST /kbs/v0/auth      200 Challenge, cookie `kbs-session-id`
POST /kbs/v0/attest    200 {"token": EAR}, for an attester that answers the challenge of its cookie; once
GET  /kbs/v0/resource/REPOSITORY/TYPE/TAG    200 JWE; by the cookie (background check) or a bearer token (passport)
GET  /cloister/v1/provision/SERVICE/SESSION  200 JWE of all that a service of a session gets; the same, for sessions.
     `-` is the session's only service. ?format=json (default) or block: what the plaintext is written as
"""

import base64
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import format_datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cloister.broker.audit import AuditLog
from cloister.broker.flow import Broker, Release
from cloister.broker.nonces import Challenges, Purpose, Ticket
from cloister.broker.provision_forms import JSON
from cloister.broker.secrets_vault import check_name
from cloister.broker.store import Store
from cloister.errors import CloisterError, NotAttested, UsageError
from cloister.serve.appraiser import Appraised, Appraising
from cloister.serve.body import read_body
from cloister.serve.durable import Durable, Outcome, Trail
from cloister.serve.journal import note, request_id
from cloister.serve.kbs_messages import parse_attestation, parse_request
from cloister.serve.problems import kbs_error, problem
from cloister.serve.workers import Workers

__all__ = ["COOKIE", "KbsApi"]

COOKIE: Final = "kbs-session-id"
LARGEST_REQUEST: Final = 1 << 16
SMALL: Final = 1 << 15
LARGEST_ATTESTATION: Final = 4 << 20
"""Bytes: a TDX quote with a large event log, in base64."""


@dataclass(frozen=True, kw_only=True)
class KbsApi:
    """The endpoints. Without `appraiser` there is no attestation here, without `broker` no release."""

    challenges: Challenges
    store: Store
    workers: Workers
    audit: AuditLog
    log: Durable
    database: Durable
    secure_cookie: bool
    appraiser: Appraising | None
    broker: Broker | None

    @property
    def quick(self) -> bool:
        """Whether the database answers reads in microseconds."""
        return self.store.line is not None

    def routes(self) -> list[Route]:
        """What this service offers of the protocol."""
        found = []
        if self.appraiser is not None:
            found += [
                Route("/kbs/v0/auth", self.auth, methods=["POST"]),
                Route("/kbs/v0/attest", self.attest, methods=["POST"]),
            ]
        if self.broker is not None:
            found += [
                Route("/kbs/v0/resource/{repository}/{type}/{tag}", self.resource, methods=["GET"]),
                Route("/cloister/v1/provision/{service}/{session:path}", self.provision, methods=["GET"]),
            ]
        return found

    async def auth(self, request: Request) -> Response:
        """A challenge, and the cookie that stands for it. Nothing is stored."""
        try:
            tee = parse_request(await read_body(request, LARGEST_REQUEST))
        except CloisterError as error:
            return kbs_error(error)
        ticket = self.challenges.issue(Purpose.KBS, tee=tee)
        note(request, session=ticket.digest, tee=tee, step="challenge")
        response = JSONResponse({"nonce": base64.b64encode(ticket.nonce).decode(), "extra-params": ""})
        self._set_cookie(response, ticket)
        return response

    async def attest(self, request: Request) -> Response:
        """Evidence for the challenge; an attestation result, once."""
        try:
            ticket = self._ticket(request)
            body = await read_body(request, LARGEST_ATTESTATION)
            note(request, session=ticket.digest, tee=ticket.tee, step="evidence")
            token = await self._appraise(request, ticket, body)
        except CloisterError as error:
            return kbs_error(error)
        response = JSONResponse({"token": token.decode()})
        self._set_cookie(response, ticket)
        return response

    async def resource(self, request: Request) -> Response:
        """A secret for the attested key."""
        name = "/".join(request.path_params[part] for part in ("repository", "type", "tag"))
        try:
            release = await self._recorded(lambda broker: self._release(request, broker, name))
        except NotAttested as error:
            return kbs_error(error, "TokenNotFound" if error.__cause__ is None else "TokenVerifierError")
        except CloisterError as error:
            return kbs_error(error)
        note(request, step="release", secret=name, version=release.version)
        return JSONResponse(dict(release.jwe))

    async def provision(self, request: Request) -> Response:
        """All that a service of a session gets, for the attested key. No part of the KBS protocol; by its sessions."""
        try:
            release = await self.workers.run(lambda: self._provide(request))
        except CloisterError as error:
            return problem(error)
        note(request, step="provision", secret=release.name, version=release.version)
        return JSONResponse(dict(release.jwe))

    def _provide(self, request: Request) -> Release:
        if self.broker is None:
            raise UsageError("this service releases nothing")
        token, asked = self._token(request), request.path_params
        return self.broker.provision(
            request=request_id(request), token=token, session=asked["session"], service=asked["service"],
            form=request.query_params.get("format", JSON),
        )  # fmt: skip

    async def _appraise(self, request: Request, ticket: Ticket, body: bytes) -> bytes:
        """The token, when it is in the database that this ticket has it and no other."""
        made = await self.workers.soon(lambda: self._result(ticket, body), quick=self.quick and len(body) <= SMALL)
        entered = self.store.enter_answer(ticket.digest, made.token, ticket.expires)
        if entered is None:
            accepted = await self.workers.run(lambda: self.store.accept(ticket.digest, made.token, ticket.expires))
        else:
            await self.database.reached(lambda: entered.done)
            accepted = entered.outcome() == 1
        if not accepted:
            raise NotAttested("this challenge was answered already; begin with a new one")
        note(request, verdict=str(made.result.status))
        if self.broker is not None:
            self.broker.remember(made.token, made.result)
        return made.token

    def _result(self, ticket: Ticket, body: bytes) -> Appraised:
        if self.appraiser is None:
            raise UsageError("this service appraises nothing")
        if self.store.answer_of(ticket.digest) is not None:
            raise NotAttested("this challenge was answered already; begin with a new one")
        message = parse_attestation(body, ticket.tee)
        if not hmac.compare_digest(message.nonce.encode(), base64.b64encode(ticket.nonce)):
            raise NotAttested("the nonce is not the one of this session's challenge")
        return self.appraiser.of_attestation(message, ticket.nonce)

    async def _recorded(self, work: Callable[[Broker], Release]) -> Release:
        """What the broker answers, good or bad, when the audit log has it on the disk."""
        if self.broker is None:
            raise UsageError("this service releases nothing")
        trail = Trail(self.audit)
        broker, outcome = self.broker.recording_in(trail), Outcome[Release]()
        await self.workers.soon(lambda: outcome.of(lambda: work(broker)), quick=self.quick)
        await self.log.reached(trail.settled)
        return outcome.reveal()

    def _release(self, request: Request, broker: Broker, name: str) -> Release:
        check_name(name)
        token = self._token(request)
        return broker.release(request=request_id(request), token=token, name=name)

    def _token(self, request: Request) -> bytes:
        """The passport, if the attester brings one; else what the verifier here found in the cookie's session."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return given.strip().encode()
        ticket = self._ticket(request)
        note(request, session=ticket.digest, tee=ticket.tee)
        token = self.store.answer_of(ticket.digest)
        if not token:
            raise NotAttested("this session is not attested; POST evidence to /kbs/v0/attest")
        return token

    def _ticket(self, request: Request) -> Ticket:
        cookie = request.cookies.get(COOKIE)
        if cookie is None:
            raise NotAttested("the cookie kbs-session-id is missing; begin with POST /kbs/v0/auth")
        return self.challenges.read(cookie, Purpose.KBS)

    def _set_cookie(self, response: Response, ticket: Ticket) -> None:
        secure = "; Secure" if self.secure_cookie else ""
        until = format_datetime(ticket.expires, usegmt=True)  # the text is base64url, so nothing needs quoting
        response.raw_headers.append((
            b"set-cookie",
            f"{COOKIE}={ticket.text}; expires={until}; HttpOnly; Path=/; SameSite=strict{secure}".encode(),
        ))  # fmt: skip
