"""The prover's connection to a port that speaks TLS: whose key the server has is what is believed, and nothing else."""

import contextlib
import hashlib
import socket
import ssl

from cloister import _x509
from cloister.errors import ParseError
from cloister.observe.prove.plan import Tls

__all__ = ["WrongKey", "leave", "over_tls"]

PATIENCE = 0.1


class WrongKey(OSError):
    """The server is not the one that is meant."""


def over_tls(connection: socket.socket, tls: Tls) -> ssl.SSLSocket:
    """The connection with TLS upon it. OSError; WrongKey for a server with another one, which is sent nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the key is pinned
    if not tls.natively:
        context.minimum_version = ssl.TLSVersion.TLSv1_3  # as the shield has it
    if tls.client is not None:
        context.load_cert_chain(*tls.client)
    sealed = context.wrap_socket(connection, suppress_ragged_eofs=False)
    found = key_of(sealed.getpeercert(binary_form=True) or b"")
    if found not in tls.pins:
        sealed.close()
        raise WrongKey(f"the server has another key than the pinned one: sha256:{found.hex()}")
    return sealed


def leave(sealed: ssl.SSLSocket) -> None:
    """Say that nothing more comes, and close."""
    sealed.settimeout(PATIENCE)
    with sealed, contextlib.suppress(OSError):
        sealed.unwrap()  # the server may not care to say it too


def key_of(certificate: bytes) -> bytes:
    """The SHA-256 of its SubjectPublicKeyInfo. OSError if it is none."""
    try:
        return hashlib.sha256(_x509.Certificate.parse(certificate).spki).digest()
    except ParseError as error:
        raise OSError(f"the server's certificate cannot be read: {error}") from None
