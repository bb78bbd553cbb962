"""Connecting to a server once, to say what its evidence is worth: what `cloister tls probe` does."""

import contextlib
import socket
import ssl
from dataclasses import dataclass, replace
from typing import Final

from cloister.appraise.vector import Tier
from cloister.errors import EndorsementUnavailable, UsageError
from cloister.tls.connection import peer_of
from cloister.tls.context import client_context
from cloister.tls.course import Peer
from cloister.tls.demands import Demands
from cloister.tls.refusal import PeerRefused

__all__ = ["Address", "probe"]

HIGHEST: Final = 65_535


@dataclass(frozen=True, slots=True)
class Address:
    """Host and TCP port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """`host:port`, `127.0.0.1:port`, `[::1]:port`. UsageError otherwise."""
        host, colon, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        known = colon and host.strip("[]") and port.isascii() and port.isdecimal() and 0 < int(port) <= HIGHEST
        if not known or (":" in host and not bracketed):
            raise UsageError(f"{text!r} is no HOST:PORT; an IPv6 address is written [::1]:443")
        return cls(host.strip("[]"), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def probe(address: Address, demands: Demands, *, timeout: float) -> Peer:
    """The server at an address, whatever its status is; `timeout` in seconds, for connecting and each step after it.

    PeerRefused if it is not attested. EndorsementUnavailable if there is no TLS 1.3 connection: nothing is known then.
    """
    context = client_context(replace(demands, accept=frozenset(Tier)))
    try:
        with socket.create_connection((address.host, address.port), timeout) as plain:
            return _shaken(context, plain, address)
    except PeerRefused:
        raise
    except (OSError, UnicodeError) as error:
        raise EndorsementUnavailable(f"no TLS 1.3 connection with {address}: {_reason(error)}") from error


def _shaken(context: ssl.SSLContext, plain: socket.socket, address: Address) -> Peer:
    with context.wrap_socket(plain, server_hostname=address.host) as tls:
        peer = peer_of(tls)
        with contextlib.suppress(OSError):  # the answer is there; a server that is rude at the end changes nothing
            tls.unwrap()
    if peer is None:
        raise PeerRefused("the connection ended without an appraisal")
    return peer


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"{getattr(error, 'reason', None) or error}"
    return f"{getattr(error, 'strerror', None) or error}"
