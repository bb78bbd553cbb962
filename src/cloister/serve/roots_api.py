"""Roots of volumes over HTTP: what runtimes report, carried by whoever has a network.

POST /cloister/v1/roots/SESSION  {"report": BASE64}  200 {"acknowledged": BASE64}, when it is on the disk
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cloister import _json
from cloister.broker.root_report import RootReport
from cloister.broker.root_reports import RootReports
from cloister.errors import CloisterError, ParseError
from cloister.serve.body import read_body
from cloister.serve.journal import note, request_id
from cloister.serve.problems import problem
from cloister.serve.workers import Workers

__all__ = ["RootsApi"]

LARGEST: Final = 1 << 13
RECORD: Final = "root report"


@dataclass(frozen=True, kw_only=True)
class RootsApi:
    """The endpoint. A report proves itself: whoever makes it has the volume's key."""

    reports: RootReports
    workers: Workers

    def routes(self) -> list[Route]:
        """What this service offers of it."""
        return [Route("/cloister/v1/roots/{session:path}", self.report, methods=["POST"])]

    async def report(self, request: Request) -> Response:
        """Keep a root, and acknowledge it."""
        session = request.path_params["session"]
        try:
            report = RootReport.parse(_octets(await read_body(request, LARGEST)))
            mac = await self.workers.run(
                lambda: self.reports.report(request=request_id(request), session=session, report=report)
            )
        except CloisterError as error:
            return problem(error)
        note(request, step="root", secret=session, version=report.root.generation)
        return JSONResponse({"acknowledged": base64.b64encode(mac).decode()})


def _octets(body: bytes) -> bytes:
    found = _json.loads(body, RECORD)
    if not isinstance(found, Mapping) or found.keys() != {"report"}:
        raise ParseError(RECORD, "members", 0, "are not those of this request: report")
    try:
        return base64.b64decode(_json.text(found, "report", RECORD), validate=True)
    except (binascii.Error, ValueError):
        raise ParseError(RECORD, "report", 0, "is not base64") from None
