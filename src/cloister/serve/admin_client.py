"""A client of the administration, for `cloister secret`: one request, one answer, TLS checked.

The token comes from a file or the environment, never from the command line, which everybody on the host can read.
"""

import base64
import http.client
import json
import os
import ssl
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from cloister import _json
from cloister.errors import CloisterError, Denied, NotAttested, ParseError, Undecided, UsageError

__all__ = ["TOKEN_VARIABLE", "AdminClient", "token_from"]

TOKEN_VARIABLE: Final = "CLOISTER_ADMIN_TOKEN"  # noqa: S105 - the name of a variable
SECONDS: Final = 30
LARGEST: Final = 16 << 20
ERRORS: Final[dict[int, type[CloisterError]]] = {
    400: UsageError, 401: NotAttested, 403: Denied, 404: UsageError, 503: Undecided,
}  # fmt: skip


def token_from(file: str | None) -> str:
    """The administrator's token; UsageError if there is none, or others may read its file."""
    if file is None:
        token = os.environ.get(TOKEN_VARIABLE, "")
        if not token:
            raise UsageError(f"no administrator's token: give --admin-token-file FILE, or set {TOKEN_VARIABLE}")
        return token.strip()
    path = Path(file)
    try:
        with path.open() as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            token = stream.read(1024).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {type(error).__name__}") from None
    if mode & 0o077:
        raise UsageError(f"{path}: others can read this token (mode {mode:04o}); run `chmod 600 {path}`")
    return token


@dataclass(frozen=True, kw_only=True)
class AdminClient:
    """Speaks to one broker. `ca`: a file with the certificate to trust, the system's authorities if empty."""

    url: str
    token: str = field(repr=False)
    ca: str = ""

    def put(self, name: str, value: bytes, release: dict[str, Any], expires: str = "") -> dict[str, Any]:
        """Store a new version."""
        body: dict[str, Any] = {"value": base64.b64encode(value).decode(), "release": release}
        return self._call("PUT", f"secrets/{name}", body | ({"expires": expires} if expires else {}))

    def versions(self, name: str = "") -> list[dict[str, Any]]:
        """What is told about one secret, or about all."""
        found = self._call("GET", f"secrets/{name}" if name else "secrets").get("secrets")
        return found if isinstance(found, list) else []

    def rotate(self, name: str, value: bytes) -> dict[str, Any]:
        """A new value under the same rule."""
        return self._call("POST", f"secrets/{name}/rotate", {"value": base64.b64encode(value).decode()})

    def revoke(self, name: str) -> dict[str, Any]:
        """The end of a secret."""
        return self._call("POST", f"secrets/{name}/revoke", {})

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        connection = self._connection()
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        try:
            connection.request(method, f"/admin/v1/{path}", None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            data = response.read(LARGEST)
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or type(error).__name__
            raise Undecided(f"{self.url} does not answer: {reason}") from None
        finally:
            connection.close()
        return _answer(response.status, data)

    def _connection(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/"):
            raise UsageError(f"--url {self.url}: give https://HOST:PORT")
        try:
            if parts.scheme == "http":
                return http.client.HTTPConnection(parts.hostname, parts.port, timeout=SECONDS)
            context = ssl.create_default_context(cafile=self.ca or None)
            return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=SECONDS, context=context)
        except (OSError, ValueError) as error:
            raise UsageError(f"--url {self.url}, --ca {self.ca or '(none)'}: {error}") from error


def _answer(status: int, data: bytes) -> dict[str, Any]:
    """The document; the exception that the server's refusal is."""
    try:
        found = _json.loads(data, "answer") if data else {}
    except ParseError:
        found = {}
    document = found if isinstance(found, dict) else {}
    if status < 300:
        return document
    raise ERRORS.get(status, CloisterError)(str(document.get("detail") or f"the server answers {status}"))
