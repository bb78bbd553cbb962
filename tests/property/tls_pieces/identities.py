"""Certificates for tests of the TLS engine, and OpenSSL at the other end."""

import functools
import hashlib
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID
from tests.property.tls_pieces.engine import Answer, Engine, Identity
from tests.property.tls_pieces.peer import SigningKey

__all__ = ["KINDS", "Known", "OpenSsl", "known"]

KINDS: Final = ("p256", "ed25519", "p384", "rsa")


@dataclass(frozen=True)
class Known:
    """A key, its certificate in all forms, and its pin."""

    key: "SigningKey | rsa.RSAPrivateKey"
    certificate: bytes
    identity: Identity
    pin: bytes
    pem: str
    key_pem: str

    def file(self, folder: Path) -> Path:
        """Key and certificate, as OpenSSL's programs want them."""
        path = folder / f"{self.pin.hex()[:16]}.pem"
        path.write_text(self.key_pem + self.pem)
        return path


def make(kind: str) -> "SigningKey | rsa.RSAPrivateKey":
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1() if kind == "p256" else ec.SECP384R1())


def known(kind: str, label: str = "localhost") -> Known:
    """The same for the whole session; another for each label."""
    return remembered(kind, label)


@functools.cache
def remembered(kind: str, label: str) -> Known:
    key = make(kind)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, label)])
    hash_ = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2120, 1, 1, tzinfo=UTC))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hash_)
    )
    der = made.public_bytes(Encoding.DER)
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    forms = [key.private_bytes(form, PrivateFormat.PKCS8, NoEncryption()) for form in (Encoding.DER, Encoding.PEM)]
    pem = made.public_bytes(Encoding.PEM).decode()
    return Known(key, der, Identity((der,), forms[0]), hashlib.sha256(spki).digest(), pem, forms[1].decode())


class OpenSsl:
    """OpenSSL at the other end of an engine's connection, in memory."""

    def __init__(self, context: ssl.SSLContext, *, server: bool, name: str | None = None) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_side=server, server_hostname=name)

    def give(self, data: bytes) -> None:
        self._in.write(data)

    def taken(self) -> bytes:
        return self._out.read()

    def read_all(self) -> bytes:
        """What can be decrypted now."""
        found = b""
        try:
            while piece := self.tls.read(1 << 20):
                found += piece
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass
        return found

    def shake(self, engine: Engine, first: bytes = b"", cut: int = 1 << 20) -> Answer:
        """The handshake, in pieces of at most `cut` bytes to the engine."""
        self.give(first)
        for _ in range(10):
            try:
                self.tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                done = False
            data = self.taken()
            answer = engine.feed(b"")
            for at in range(0, len(data), cut):
                answer = engine.feed(data[at : at + cut])
                self.give(answer.sent)
            if answer.broken or (done and answer.connected):
                return answer
        raise AssertionError("the handshake does not end")
