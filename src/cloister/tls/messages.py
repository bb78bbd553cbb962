"""The TLS 1.3 Certificate message (RFC 8446, section 4.4.2), as OpenSSL hands it over: whole and decrypted.

A context in front of a list of entries, each a certificate and its extensions; every part has its length before it.
"""

from typing import Final

from cloister._wire import Reader
from cloister.errors import ParseError

__all__ = ["CERTIFICATE", "certificates_in"]

CERTIFICATE: Final = 11
"""HandshakeType of the message."""

MOST: Final = 10
"""Certificates in a message. The longest chain of a TEE's endorsements has four."""

LARGEST: Final = 102_400
"""Bytes. OpenSSL refuses longer lists too."""

RECORD: Final = "TLS Certificate message"


def certificates_in(message: bytes, *, tls12: bool = False) -> tuple[bytes, ...]:
    """The certificates (DER) in a Certificate message with its header, the peer's own first; none if it is empty.

    With `tls12` the message is of TLS 1.2 (RFC 5246, section 7.4.2): it has neither context nor extensions.
    """
    if len(message) > LARGEST:
        raise ParseError(RECORD, "length", 0, f"{len(message)} bytes; at most {LARGEST}")
    outer = Reader(message, RECORD, order="big")
    if outer.u8("msg_type") != CERTIFICATE:
        raise outer.error("msg_type", f"is not {CERTIFICATE}")
    inside = _sized(outer, 3, "body")
    outer.finish()
    if not tls12:
        inside.take(inside.u8("context length"), "certificate_request_context")
    entries = _sized(inside, 3, "certificate_list")
    found: list[bytes] = []
    inside.finish()
    while entries.left:
        if len(found) == MOST:
            raise entries.error("certificate_list", f"more than {MOST} certificates")
        found.append(_sized(entries, 3, "cert_data").rest())
        if not tls12:
            _sized(entries, 2, "extensions")
    return tuple(found)


def _sized(reader: Reader, width: int, field: str) -> Reader:
    """What stands behind a length of `width` bytes."""
    base = reader.base + reader.offset + width
    return Reader(reader.take(reader.integer(width, f"{field} length"), field), RECORD, order="big", base=base)
