"""Gramine's secret provisioning over RA-TLS (tools/sgx/ra-tls/secret_prov.h and secret_prov_verify.c, Gramine 1.9).

client   "SECRET_PROVISION_RA_TLS_REQUEST_V1" and a zero byte
server   "SECRET_PROVISION_RA_TLS_RESPONSE_V1:" and a zero byte, the secret's size (u32, big-endian), the secret

Then the server closes the connection. What the secret is, is between its owner and the program; the library that runs
before a program's main takes a string with a zero byte at its end.
"""

import ssl
from dataclasses import dataclass
from typing import Final, Protocol

from cloister.app.provisioning.port import Ask
from cloister.errors import ParseError
from cloister.seal.wiping import wiped

__all__ = ["LARGEST", "REQUEST", "RESPONSE", "Gramine", "answer", "read_request"]

REQUEST: Final = b"SECRET_PROVISION_RA_TLS_REQUEST_V1\0"
RESPONSE: Final = b"SECRET_PROVISION_RA_TLS_RESPONSE_V1:\0"
LARGEST: Final = (1 << 31) - 1
"""Bytes of a secret: clients refuse more."""


class Connection(Protocol):
    """What is asked of a TLS connection."""

    def recv(self, size: int, /) -> bytes:
        """Some of what has come; nothing at the end."""

    def sendall(self, data: bytes | bytearray, /) -> None:
        """All of it."""


@dataclass(frozen=True, slots=True)
class Gramine:
    """All clients get the newest version of one secret, if its rule allows it.

    `as_string` puts a zero byte behind it, as the library wants that runs before a program's main.
    """

    asked: str
    as_string: bool
    event = "gramine"

    def answer(self, tls: ssl.SSLSocket, ask: Ask) -> None:
        """The request, and the secret."""
        read_request(tls)
        handed = ask(self.asked)
        with wiped(handed.secret):
            answer(tls, handed.secret, as_string=self.as_string)


def read_request(connection: Connection | ssl.SSLSocket) -> None:
    """Take the request; ParseError for anything else."""
    got = b""
    while len(got) < len(REQUEST):
        piece = connection.recv(len(REQUEST) - len(got))
        if not piece:
            raise ParseError("secret provisioning", "request", len(got), "the connection ends in the request")
        got += piece
        if not REQUEST.startswith(got):
            raise ParseError("secret provisioning", "request", 0, "is not Gramine's request, version 1")


def answer(connection: Connection | ssl.SSLSocket, secret: bytearray, *, as_string: bool) -> None:
    """Send the secret; `as_string` puts a zero byte behind it. ParseError if it is larger than clients take."""
    size = len(secret) + as_string
    if size > LARGEST:
        raise ParseError("secret provisioning", "secret", 0, f"{size} bytes; clients take {LARGEST}")
    connection.sendall(RESPONSE + size.to_bytes(4, "big"))
    connection.sendall(secret)
    if as_string:
        connection.sendall(b"\0")
