"""The TLS 1.3 Certificate message (RFC 8446, section 4.4.2), as OpenSSL hands it to a message callback: whole, decrypted.

    struct {
        opaque certificate_request_context<0..2^8-1>;
        CertificateEntry certificate_list<0..2^24-1>;      opaque cert_data<1..2^24-1>; Extension extensions<0..2^16-1>;
    } Certificate;
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
