"""What went wrong, as each protocol says it. One table of statuses for all of them.

400 malformed    401 not attested    403 denied    404 no such    409 answered already    503 could not decide
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from starlette.responses import JSONResponse

from cloister.broker.secrets_vault import UnknownSecret
from cloister.errors import CloisterError, Denied, EndorsementUnavailable, ParseError, PolicyError, VerificationError

__all__ = ["Refusal", "kbs_error", "problem", "problem_of", "status_of"]

LONGEST_DETAIL: Final = 500
KBS_TYPES: Final = "https://github.com/confidential-containers/kbs/errors"
KBS_NAMES: Final[Mapping[int, str]] = {
    400: "SerdeError", 401: "AttestationError", 403: "PolicyDeny", 404: "ResourceNotFound", 503: "Undecided",
}  # fmt: skip


class Refusal(CloisterError):
    """A request that the service refuses before its content matters: too large, too slow, of another media type."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def status_of(error: CloisterError) -> int:
    """The HTTP status of an exception; 500 for what no request should be able to cause."""
    for kind, status in (
        (ParseError | PolicyError, 400),
        (VerificationError, 401),
        (Denied, 403),
        (UnknownSecret, 404),
        (EndorsementUnavailable, 503),
    ):
        if isinstance(error, kind):
            return status
    return error.status if isinstance(error, Refusal) else 500


def kbs_error(error: CloisterError, name: str = "") -> JSONResponse:
    """ErrorInformation of the KBS protocol: `type`, a URL that ends in a name, and `detail`."""
    status = status_of(error)
    kind = f"{KBS_TYPES}/{name or KBS_NAMES.get(status, 'Refused')}"
    return JSONResponse({"type": kind, "detail": detail(error)}, status, _retry(status))


def problem(error: CloisterError) -> JSONResponse:
    """Problem details (RFC 9457), as Veraison's API and the administration have them."""
    status, body = problem_of(error)
    return JSONResponse(body, status, _retry(status), media_type="application/problem+json")


def problem_of(error: CloisterError) -> tuple[int, dict[str, object]]:
    """The same as its status and its members."""
    status = status_of(error)
    title = HTTPStatus(status).phrase
    return status, {"type": "about:blank", "title": title, "status": status, "detail": detail(error)}


def detail(error: CloisterError) -> str:
    """The exception's words, bounded. Whatever is secret never is in one."""
    return str(error)[:LONGEST_DETAIL]


def _retry(status: int) -> Mapping[str, str]:
    return {"retry-after": "5"} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
