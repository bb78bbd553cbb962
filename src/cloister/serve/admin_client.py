"""A client of the administration, for `cloister secret` and `session`: one request, one answer, TLS checked.

The token comes from a file or the environment, never from the command line, which everybody on the host can read. With
a key every request is signed: over a challenge of the server, and over the certificate that the server showed.
"""

import base64
import hashlib
import http.client
import json
import os
import ssl
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from cloister import _json
from cloister.broker.session.request_signature import HEADER, Asked, sign_request
from cloister.errors import CloisterError, Denied, NotAttested, ParseError, Undecided, UsageError
from cloister.result.signing import SigningKey

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
    """Speaks to one broker. `ca`: a file with the certificate to trust, the system's authorities if empty.

    The administrator has the token, the owner of a session `key`; who makes a first session has both.
    """

    url: str
    token: str = field(repr=False)
    ca: str = ""
    key: SigningKey | None = None

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

    def sessions(self) -> list[dict[str, Any]]:
        """Every session that was ever in effect."""
        found = self._call("GET", "sessions").get("sessions")
        return found if isinstance(found, list) else []

    def session(self, name: str) -> dict[str, Any]:
        """The session in effect: `sha256`, `number` and its canonical form under `session`."""
        return self._call("GET", f"sessions/{quote(name)}")

    def put_session(self, name: str, text: str, approvals: list[Any]) -> dict[str, Any]:
        """Put a session into effect."""
        return self._call("PUT", f"sessions/{quote(name)}", {"session": text, "approvals": approvals})

    def rotate_session(self, name: str, secrets: list[str]) -> dict[str, Any]:
        """New values of secrets that the broker makes."""
        return self._call("POST", f"sessions/{quote(name)}", {"rotate": secrets})

    def revoke_session(self, name: str) -> dict[str, Any]:
        """The end of a session."""
        return self._call("DELETE", f"sessions/{quote(name)}")

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        target, data = f"/admin/v1/{path}", b"" if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"} | (
            {"authorization": f"Bearer {self.token}"} if self.token else {}
        )
        connection = self._connection()
        try:
            if self.key is not None:
                headers[HEADER] = self._signature(connection, Asked(method=method, target=target, body=data))
            return self._answered(connection, method, target, data, headers)
        finally:
            connection.close()

    def _signature(self, connection: http.client.HTTPConnection, asked: Asked) -> str:
        """A signature with our key, over a challenge that this connection's server gives."""
        if self.key is None:
            raise UsageError("no key to sign with")
        try:
            connection.connect()
        except OSError as error:
            raise self._silent(error) from None
        shown = connection.sock.getpeercert(binary_form=True) if isinstance(connection.sock, ssl.SSLSocket) else None
        server = hashlib.sha256(shown).hexdigest() if shown else ""
        given = self._answered(connection, "POST", "/cloister/v1/challenge", b"", {}).get("challenge")
        if not isinstance(given, str):
            raise CloisterError(f"{self.url} gives no challenge: it is no broker, or an older one")
        return sign_request(self.key, asked, challenge=given, server=server)

    def _answered(
        self, connection: http.client.HTTPConnection, method: str, target: str, body: bytes, headers: dict[str, str]
    ) -> dict[str, Any]:
        try:
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            data = response.read(LARGEST)
        except (OSError, http.client.HTTPException) as error:
            raise self._silent(error) from None
        return _answer(response.status, data)

    def _silent(self, error: Exception) -> Undecided:
        reason = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or type(error).__name__
        return Undecided(f"{self.url} does not answer: {reason}")

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
