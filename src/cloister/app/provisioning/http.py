"""One request of HTTP/1.1 on an attested connection: the secret itself comes back, as the channel ends in the enclave.

client   GET /kbs/v0/resource/REPOSITORY/TYPE/TAG HTTP/1.1
server   200, application/octet-stream, the secret; or problem details (RFC 9457): 400, 401, 403, 404, 503

Then the connection is closed: the next one is attested anew. EGo's programs come with the certificate of
enclave.CreateAttestationServerTLSConfig (internal/attestation/attestation.go), whose extension has the report of a
key of this handshake.
"""

import json
import re
import ssl
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Protocol

from cloister.app.provisioning.port import PATIENCE, Ask
from cloister.broker.secrets_vault import check_name
from cloister.errors import CloisterError, ParseError
from cloister.seal.wiping import wiped
from cloister.serve.problems import problem_of

__all__ = ["LONGEST", "Http", "read_request"]

LONGEST: Final = 16 << 10
"""Bytes of a request, whose headers mean nothing here."""
END: Final = b"\r\n\r\n"
LINE: Final = re.compile(rb"GET /kbs/v0/resource/([!-~]+) HTTP/1\.[01]\r\n")


class Connection(Protocol):
    """What is asked of a TLS connection."""

    def recv(self, size: int, /) -> bytes:
        """Some of what has come; nothing at the end."""


@dataclass(frozen=True, slots=True)
class Http:
    """Clients name the secret that they want; each secret's rule says who gets it."""

    asked: str = "-"
    event = "attested-tls"

    def answer(self, tls: ssl.SSLSocket, ask: Ask) -> None:
        """The request, and the secret or the reason why not."""
        try:
            handed = ask(read_request(tls))
        except CloisterError as error:
            status, body = problem_of(error)
            text = json.dumps(body).encode()
            tls.sendall(_head(status, "application/problem+json", len(text)) + text)
            raise
        with wiped(handed.secret):
            tls.sendall(_head(HTTPStatus.OK, "application/octet-stream", len(handed.secret)))
            tls.sendall(handed.secret)


def read_request(connection: Connection | ssl.SSLSocket) -> str:
    """The name of the secret that is asked for. ParseError for what is no such request."""
    got, until = b"", time.monotonic() + PATIENCE
    while END not in got:
        if time.monotonic() > until:
            raise ParseError("HTTP request", "end", len(got), f"does not come in {PATIENCE:.0f} s")
        piece = connection.recv(LONGEST - len(got))
        if not piece:
            raise ParseError("HTTP request", "end", len(got), "does not come" if len(got) < LONGEST else "is too far")
        got += piece
    line = LINE.match(got)
    if line is None:
        raise ParseError("HTTP request", "line", 0, "is not GET /kbs/v0/resource/REPOSITORY/TYPE/TAG")
    if got.index(END) + len(END) != len(got):
        raise ParseError("HTTP request", "end", got.index(END), "something follows it, and one request is answered")
    name = line[1].decode("ascii")
    check_name(name)
    return name


def _head(status: int, kind: str, size: int) -> bytes:
    lines = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"content-type: {kind}", f"content-length: {size}",
        "cache-control: no-store", "connection: close",
    )  # fmt: skip
    return "\r\n".join([*lines, "", ""]).encode()
