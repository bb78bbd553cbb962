"""Certificates as EGo's library makes them, byte for byte but for key, serial number and report.

EGo, internal/attestation/attestation.go, CreateAttestationServerTLSConfig: what Go's x509.CreateCertificate makes of a
template with a serial number, the name EGo, an end in a year and no beginning, and one extension. A time that nobody
set is the first second of the year 1.
"""

import hashlib
import os
from datetime import datetime, timedelta

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from tests.forge import ratls
from tests.forge.x509 import spki

from cloister._x509 import Certificate

__all__ = ["certificate", "fresh_key"]

ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
COMMON_NAME = bytes.fromhex("0603550403")
REPORT = bytes.fromhex("06092b0601040182376901")
"""1.3.6.1.4.1.311.105.1."""
NO_TIME = b"00010101000000Z"


def element(tag: int, *content: bytes) -> bytes:
    """Tag, length and content (X.690, section 8.1)."""
    body = b"".join(content)
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(size)]) + size + body


def certificate(key: ec.EllipticCurvePrivateKey, quote: ratls.Quote, at: datetime) -> Certificate:
    """The certificate of a key, with a report of Open Enclave whose data are the hash of the key."""
    report = ratls.oe_report(quote(hashlib.sha256(spki(key)).digest().ljust(64, b"\0")))
    name = element(0x30, element(0x31, element(0x30, COMMON_NAME, element(0x13, b"EGo"))))
    end = (at + timedelta(days=365)).strftime("%y%m%d%H%M%SZ").encode()
    extension = element(0x30, REPORT, element(0x04, report))
    tbs = element(
        0x30, element(0xA0, element(0x02, b"\2")), element(0x02, b"\1" + os.urandom(15)), ECDSA_SHA256, name,
        element(0x30, element(0x18, NO_TIME), element(0x17, end)), name, spki(key),
        element(0xA3, element(0x30, extension)),
    )  # fmt: skip
    signature = key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    return Certificate.parse(element(0x30, tbs, ECDSA_SHA256, element(0x03, b"\0" + signature)))


def fresh_key() -> ec.EllipticCurvePrivateKey:
    """EGo's keys are of P-256."""
    return ec.generate_private_key(ec.SECP256R1())
