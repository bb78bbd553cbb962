"""The service as an ASGI application: routes, and around each request an identifier, a log line, a count.

What nobody foresaw ends here: the client learns the request's identifier, the log where it happened, nobody the words
of the exception, because it is not known what they quote.
"""

import itertools
import secrets
import time
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router

from cloister.broker.store import Store
from cloister.errors import CloisterError
from cloister.serve.body import BUDGET, BodyBudget
from cloister.serve.journal import REQUEST_ID, Journal
from cloister.serve.metrics import Metrics
from cloister.serve.problems import problem
from cloister.serve.workers import Workers

__all__ = ["Application", "common_routes"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
]


class Application:
    """Every request, whatever becomes of it, is logged and counted once."""

    def __init__(self, routes: list[Route], journal: Journal, metrics: Metrics) -> None:
        self._router = Router(routes, redirect_slashes=False)
        self._journal, self.metrics = journal, metrics
        self.budget = BodyBudget()
        self._life, self._count = secrets.token_hex(8), itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection's request, or the server's start and end."""
        if scope["type"] != "http":
            await self._router(scope, receive, send)
            return
        scope[REQUEST_ID], scope[BUDGET] = f"{self._life}-{next(self._count):x}", self.budget
        status, start = 0, time.perf_counter()

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                named = (b"x-request-id", scope[REQUEST_ID].encode())
                message["headers"] = [*message.get("headers", []), *HEADERS, named]
            await send(message)

        self.metrics.begun()
        try:
            await self._answer(scope, receive, sending, lambda: status)
        finally:
            self.budget.release(scope)
            seconds = time.perf_counter() - start
            self.metrics.answered(scope["path"], status, seconds)
            self._journal.request(scope, status=status, seconds=seconds)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, status: Callable[[], int]) -> None:
        try:
            await self._router(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - the last resort; see the module's words
            self.metrics.crashed()
            where = traceback.extract_tb(error.__traceback__)[-1]
            self._journal.write(
                "crash",
                request=scope[REQUEST_ID],
                kind=type(error).__name__,
                file=where.filename,
                line=where.lineno or 0,
            )
            if not status():
                body = {"type": "about:blank", "title": "Internal Server Error", "status": 500}
                response = JSONResponse(body, 500, media_type="application/problem+json")
                await response(scope, receive, send)


def common_routes(store: Store, workers: Workers, metrics: Metrics, document: dict[str, Any]) -> list[Route]:
    """What every service has: health, counters, its own description."""

    async def health(_: Request) -> Response:
        try:
            await workers.run(store.ping)
        except CloisterError as error:
            return problem(error)
        return JSONResponse({"status": "ok"})

    async def counters(_: Request) -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def description(_: Request) -> Response:
        return JSONResponse(document)

    return [
        Route("/healthz", health, methods=["GET"]),
        Route("/metrics", counters, methods=["GET"]),
        Route("/openapi.json", description, methods=["GET"]),
    ]
