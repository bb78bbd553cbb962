"""Who asks: the administrator by a token, anybody else by a signature with their key.

A signature is over the request, a challenge of this broker, and the broker's certificate (request_signature.py). A
challenge counts once, over all replicas; it is used up only for somebody who may do what is asked, so that strangers
with keys of their own cannot fill the table of what was used.
"""

import hashlib
import hmac
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cloister.broker.nonces import Challenges, Purpose, Ticket
from cloister.broker.session.access import Caller
from cloister.broker.session.request_signature import HEADER, Asked, read_signature
from cloister.broker.store import Store
from cloister.errors import NotAttested

__all__ = ["Callers", "Identified"]


@dataclass(frozen=True, slots=True)
class Identified:
    """Somebody, and the challenge that they signed, which is not used up yet."""

    caller: Caller
    ticket: Ticket | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Callers:
    """`token_sha256` is of the administrator's token, `certificate` the SHA-256 of this broker's, in hexadecimal.

    Without a certificate (behind a proxy, in tests) whatever a client says of it is believed.
    """

    token_sha256: bytes
    challenges: Challenges
    store: Store
    certificate: str

    def routes(self) -> list[Route]:
        """Where challenges come from."""
        return [Route("/cloister/v1/challenge", self.challenge, methods=["POST"])]

    async def challenge(self, request: Request) -> Response:
        """A challenge for one signed request. Nothing is stored."""
        del request
        ticket = self.challenges.issue(Purpose.REQUEST)
        return JSONResponse({"challenge": ticket.text, "expires": ticket.expires.isoformat()})

    @property
    def administrator(self) -> bytes:
        """What the administrator is called in the log: a digest of the token's digest, of no use for anything else."""
        return hashlib.sha256(b"cloister administrator\n" + self.token_sha256).digest()

    def require_administrator(self, request: Request) -> None:
        """NotAttested without the administrator's token."""
        if not self._has_token(request):
            raise NotAttested("the administrator's token is missing or wrong: Authorization: Bearer TOKEN")

    def identify(self, request: Request, body: bytes) -> Identified:
        """Who asks, which may be nobody; NotAttested if a token or signature is there and wrong."""
        administrator = "authorization" in request.headers
        if administrator:
            self.require_administrator(request)
        header = request.headers.get(HEADER)
        if header is None:
            return Identified(Caller(administrator=administrator))
        signed = read_signature(header, Asked(method=request.method, target=_target(request), body=body))
        if self.certificate and not hmac.compare_digest(signed.server.encode(), self.certificate.encode()):
            raise NotAttested("this request was signed for a server with another certificate")
        ticket = self.challenges.read(signed.challenge, Purpose.REQUEST)
        return Identified(Caller(administrator=administrator, key=signed.key), ticket)

    def use_up(self, who: Identified) -> None:
        """The challenge, once it is known that the request is allowed; NotAttested if it was used before."""
        if who.ticket is not None and not self.store.accept(who.ticket.digest, b"request", who.ticket.expires):
            raise NotAttested("this signed request was sent before; sign it anew, over a new challenge")

    def names(self, caller: Caller) -> tuple[bytes, ...]:
        """The caller in the audit log."""
        given = (self.administrator,) if caller.administrator else ()
        return (*given, bytes.fromhex(caller.key)) if caller.key else given

    def _has_token(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).digest()
        return hmac.compare_digest(given, self.token_sha256) and scheme.lower() == "bearer"


def _target(request: Request) -> str:
    """Path and query as they were sent: what the client signed, not what a router makes of it."""
    path: bytes = request.scope["raw_path"]
    query: bytes = request.scope["query_string"]
    return (path + (b"?" + query if query else b"")).decode("latin-1")
