"""A client of the KBS protocol 0.4.0 and of sessions (docs/formats/broker-api.md). Nothing else here has a network.

Background check: the broker has the evidence checked, and its cookie stands for the answer. Passport: a verifier's
signed result is shown to the broker. Either way the answer is a JWE for the attested key, which nobody here can open.

An answer is bounded in bytes, and by one time for all of it: a server that sends a byte now and then ends as one that
sends none. Redirects and proxies are not followed.
"""

import base64
import binascii
import contextlib
import http.client
import json
import re
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urlsplit

from cloister import _json
from cloister.attest.flow import Flow
from cloister.attest.frames import LONGEST_NONCE, Statement
from cloister.errors import CloisterError, Denied, NotAttested, ParseError, Undecided, UsageError
from cloister.launch import _abi

__all__ = ["Challenge", "Provider", "Server", "sealed_of"]

VERSION: Final = "0.4.0"
COOKIE: Final = "kbs-session-id"
LARGEST: Final = 12 << 20
"""Bytes of an answer: a frame for the runtime, in base64url."""
LONGEST_DETAIL: Final = 500
SECONDS: Final = 30.0
KEY: Final = 32
MEMBERS: Final = {"protected", "broker_key", "encrypted_key", "ciphertext"}
BASE64: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}")
TOKEN: Final = re.compile(r"[A-Za-z0-9_.~+/=-]+")
ERRORS: Final[Mapping[int, type[CloisterError]]] = {400: UsageError, 401: NotAttested, 403: Denied, 404: Denied}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said."""

    document: Mapping[str, object] = field(repr=False)
    cookie: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Server:
    """One party, `broker` or `verifier`. `ca`: a file of the only authorities to believe; empty: the system's."""

    role: str
    url: str
    ca: str = ""
    flow: Flow = field(default_factory=Flow)
    seconds: float = SECONDS
    _context: list[ssl.SSLContext] = field(default_factory=list, repr=False, init=False)
    _idle: list[http.client.HTTPConnection] = field(default_factory=list, repr=False, init=False, compare=False)

    def __post_init__(self) -> None:
        """UsageError for an address that is none, or authorities that cannot be read."""
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in {"http", "https"} and parts.hostname and not (parts.path.strip("/") or parts.query)
            _ = parts.port
        except ValueError:
            usable = False
        if not usable or "@" in self.url:
            raise UsageError(f"--{self.role} {self.url}: give https://HOST:PORT")
        try:
            self._context.append(ssl.create_default_context(cafile=self.ca or None))
        except OSError as error:
            raise UsageError(f"--ca {self.ca}: {error.strerror or error}: give a file of certificates in PEM") from None

    def call(
        self, method: str, path: str, message: object = None, headers: Mapping[str, str] | None = None, *,
        keep: bool = False,
    ) -> Answer:  # fmt: skip
        """One request and its answer. CloisterError: refused; Undecided: silent.

        On a connection of its own, or with `keep` on one that is kept for the next: a request that may be made twice.
        """
        body = b"" if message is None else json.dumps(message, separators=(",", ":")).encode()
        self.flow.note("carrier", self.role, f"{method} {path}", body)
        exchange = self._exchange_kept if keep else self._exchange
        try:
            status, data, cookie = exchange(method, path, body or None, headers or {})
        except (OSError, http.client.HTTPException) as error:
            raise Undecided(f"the {self.role} {self.url} does not answer: {_reason(error)}") from None
        self.flow.note(self.role, "carrier", f"{method} {path}", data, status=status)
        return Answer(self._document(status, data), cookie)

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes, str]:
        connection = self._connection()
        try:
            return self._over(connection, method, path, body, headers)
        finally:
            connection.close()

    def _exchange_kept(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes, str]:
        """The other side may have closed a connection that was kept: then on a new one. Not if it is only slow."""
        with contextlib.suppress(IndexError):
            connection = self._idle.pop()
            try:
                answer = self._over(connection, method, path, body, headers)
            except TimeoutError:
                connection.close()
                raise
            except (OSError, http.client.HTTPException):
                connection.close()
            else:
                self._idle.append(connection)
                return answer
        connection = self._connection()
        try:
            answer = self._over(connection, method, path, body, headers)
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return answer

    def _over(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None,
        headers: Mapping[str, str],
    ) -> tuple[int, bytes, str]:  # fmt: skip
        late = threading.Event()
        if connection.sock is None:
            connection.connect()
        timer = threading.Timer(self.seconds, _hang_up, [connection.sock, late])
        timer.daemon = True
        timer.start()
        try:
            connection.request(method, path, body, {"content-type": "application/json", **headers})
            response = connection.getresponse()
            data = response.read(LARGEST + 1)
        finally:
            timer.cancel()
            if late.is_set():
                raise TimeoutError(f"not within {self.seconds:g} seconds")
        if len(data) > LARGEST:
            raise OSError(f"the answer is larger than {LARGEST} bytes")
        if response.length:
            raise OSError("the answer was cut off")
        return response.status, data, response.headers.get("set-cookie", "")

    def _connection(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        if parts.scheme == "http":
            return http.client.HTTPConnection(host, parts.port, timeout=self.seconds)
        return http.client.HTTPSConnection(host, parts.port, timeout=self.seconds, context=self._context[0])

    def _document(self, status: int, data: bytes) -> Mapping[str, object]:
        try:
            found = _json.loads(data, "answer")
        except ParseError as error:
            found = error
        if status == http.client.OK and isinstance(found, Mapping):
            return found
        said = found.get("detail") if isinstance(found, Mapping) else None
        if status == http.client.OK:
            raise Undecided(f"the {self.role} {self.url} answers with something that is no message of the protocol")
        detail = said[:LONGEST_DETAIL] if isinstance(said, str) else f"status {status}"
        raise ERRORS.get(status, Undecided)(f"the {self.role} says: {detail}")


def _hang_up(sock: socket.socket, late: threading.Event) -> None:
    late.set()
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _reason(error: Exception) -> str:
    """What a person can use: a certificate's fault, the system's word, or at least the kind of failure."""
    found = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or str(error) or type(error).__name__
    certificate = isinstance(error, ssl.SSLCertVerificationError)
    return f"its certificate is not accepted: {found}" if certificate else str(found)


@dataclass(frozen=True, slots=True)
class Challenge:
    """What evidence must answer: base64 text, and the cookie that stands for it."""

    nonce: str
    cookie: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Provider:
    """Where a program's secrets come from. With a `verifier` of its own, evidence goes there, not to the broker."""

    broker: Server
    session: str
    service: str = "-"
    verifier: Server | None = None

    @property
    def judge(self) -> Server:
        """Who looks at the evidence."""
        return self.verifier or self.broker

    def challenge(self) -> Challenge:
        """Begin."""
        message = {"version": VERSION, "tee": "software", "extra-params": ""}
        answer = self.judge.call("POST", "/kbs/v0/auth", message)
        nonce, cookie = answer.document.get("nonce"), answer.cookie.partition(";")[0].strip()
        if not isinstance(nonce, str) or len(nonce) > LONGEST_NONCE or not BASE64.fullmatch(nonce):
            raise Undecided(f"the {self.judge.role}'s challenge is not base64")
        if not cookie.startswith(f"{COOKIE}=") or not cookie.isprintable() or not cookie.isascii():
            raise Undecided(f"the {self.judge.role}'s challenge has no cookie")
        return Challenge(nonce, cookie)

    def provision(self, challenge: Challenge, statement: Statement, evidence: bytes) -> bytes:
        """Answer the challenge and fetch what is encrypted to the key: encapsulated key, ciphertext, tag."""
        token = self._attest(challenge, statement, evidence)
        path = f"/cloister/v1/provision/{quote(self.service, safe='')}/{quote(self.session)}?format=block"
        shown = {"cookie": challenge.cookie} if self.verifier is None else {"authorization": f"Bearer {token}"}
        return sealed_of(self.broker.call("GET", path, headers=shown).document)

    def report_root(self, report: bytes) -> bytes:
        """Have the broker keep a volume's root. Denied: it is not the newest; NotAttested: it is forged."""
        message = {"report": base64.b64encode(report).decode()}
        answer = self.broker.call("POST", f"/cloister/v1/roots/{quote(self.session)}", message, keep=True)
        try:
            mac = base64.b64decode(str(answer.document.get("acknowledged")), validate=True)
        except (binascii.Error, ValueError):
            mac = b""
        if len(mac) != KEY:
            raise Undecided("the broker's answer acknowledges nothing")
        return mac

    def _attest(self, challenge: Challenge, statement: Statement, evidence: bytes) -> str:
        primary = {"evidence": base64.b64encode(evidence).decode()}
        message = {
            "runtime-data": {"nonce": challenge.nonce, "tee-pubkey": statement.jwk},
            "tee-evidence": {"primary_evidence": primary, "additional_evidence": ""},
        }
        answer = self.judge.call("POST", "/kbs/v0/attest", message, {"cookie": challenge.cookie})
        token = answer.document.get("token")
        if not isinstance(token, str) or not TOKEN.fullmatch(token):
            raise Undecided(f"the {self.judge.role}'s answer has no token")
        return token


def sealed_of(document: Mapping[str, object]) -> bytes:
    """What the runtime opens: the broker's key, the encapsulated key, the ciphertext. Undecided for anything else."""
    if document.keys() != MEMBERS or document["protected"] != _abi.PROTECTED_HEADER:
        raise Undecided("the broker's answer is not encrypted by HPKE-4 to the key that was attested")
    broker, key, ciphertext = (_octets(document[name]) for name in ("broker_key", "encrypted_key", "ciphertext"))
    size = len(broker) + len(key) + len(ciphertext)
    if {len(broker), len(key)} != {KEY} or size > _abi.FRAME_MAX_BYTES:
        raise Undecided("the broker's answer has no keys of 32 bytes, or is too large")
    return broker + key + ciphertext


def _octets(text: object) -> bytes:
    """base64url without padding, in its one spelling (RFC 7515, section 2)."""
    try:
        data = base64.b64decode(f"{text}{'=' * (-len(str(text)) % 4)}", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != text:
        raise Undecided("the broker's answer is not base64url")
    return data
