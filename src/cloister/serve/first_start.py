"""The first start: keys, a certificate, an administrator's token. Every later start finds them.

    STATE/kek            the key-encryption key, if it is a file: copy it to every replica, keep a copy elsewhere
    STATE/tls.pem, tls-key.pem    a self-signed certificate, if none is given
    STATE/audit.pem, audit.log    this replica's audit log and the key that signs it
    STATE/worker-N/audit.pem, audit.log    the same for further workers, whose logs are theirs alone
    STATE/broker.db      the database, if none is given

What replicas share stands in the database, under the database's key: the key that signs results, the key of
challenges, and the key by which enclaves know the broker; the public half of that one is in STATE/broker-key. The
administrator's token is shown once; its SHA-256 is what is kept.
"""

import datetime as dt
import hashlib
import ipaddress
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloister.broker.secrets_key import KeyEncryption
from cloister.broker.store import Store
from cloister.errors import UsageError
from cloister.result.algorithms import Algorithm
from cloister.result.keys import read_signing_key, write_signing_key
from cloister.result.signing import SigningKey

__all__ = ["SHARED", "Shared", "State", "self_signed", "setting_context", "sha256_of", "shared"]

DAYS: Final = 825
SIGNING, CHALLENGES, SEALING = "verifier-key", "challenge-key", "sealing-key"
SHARED: Final = (SIGNING, CHALLENGES, SEALING)
"""The settings that are wrapped."""
ADMINISTRATOR: Final = "administrator-token-sha256"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all replicas on one database have in common. `new_token` is the administrator's, if it was made now."""

    signing: SigningKey
    challenges: bytes
    sealing: X25519PrivateKey
    administrator: bytes
    new_token: str


class State:
    """The directory in which one replica keeps what is its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if directory.stat().st_mode & 0o077:
                raise UsageError(f"{directory}: others may look into it; run `chmod 700 {directory}`")
        except OSError as error:
            raise UsageError(f"cannot make {directory}: {error.strerror}") from error

    def audit_log(self, worker: int) -> Path:
        """A worker's audit log: a log has one writer, so each worker but the first has a directory for its own."""
        directory = self.directory / f"worker-{worker}" if worker else self.directory
        directory.mkdir(mode=0o700, exist_ok=True)
        return directory / "audit.log"

    def audit_key(self, worker: int = 0) -> SigningKey:
        """The key that signs this worker's audit log; its public part stands beside it, for `cloister log verify`."""
        path = self.audit_log(worker).with_name("audit.pem")
        if not path.exists():
            write_signing_key(path, SigningKey.generate(Algorithm.EDDSA))
        key = read_signing_key(path)
        public = path.with_name("audit-public.pem")
        if not public.exists() or not public.stat().st_size:  # empty: the first start was stopped just here
            public.write_bytes(public_pem(key.spki))
        return key

    def show_broker_key(self, key: X25519PrivateKey) -> None:
        """Write the public half, in hexadecimal, for `cloister measure --broker-key`. UsageError."""
        path, text = self.directory / "broker-key", f"{key.public_key().public_bytes_raw().hex()}\n"
        try:
            if not path.exists() or path.read_text() != text:
                path.write_text(text)
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot write {path}: {error}") from error

    def certificate(self, host: str) -> tuple[Path, Path]:
        """A self-signed certificate for this host, and its key."""
        certificate, key = self.directory / "tls.pem", self.directory / "tls-key.pem"
        if not (certificate.exists() and key.exists()):
            made, private = self_signed(host, dt.datetime.now(dt.UTC))
            private_file(key, private)
            certificate.write_bytes(made)
        return certificate, key


def shared(store: Store, key: KeyEncryption) -> Shared:
    """What replicas share; made by whoever comes first. SecretUnreadable if the key-encryption key is another."""
    signing = _wrapped(store, key, SIGNING, lambda: SigningKey.generate(Algorithm.ES256).to_pem())
    challenges = _wrapped(store, key, CHALLENGES, lambda: secrets.token_bytes(32))
    sealing = _wrapped(store, key, SEALING, lambda: secrets.token_bytes(32))
    token = secrets.token_urlsafe(32)
    mine = hashlib.sha256(token.encode()).digest()
    known = store.set_once(ADMINISTRATOR, mine)
    return Shared(
        signing=SigningKey.from_pem(signing), challenges=challenges, administrator=known,
        sealing=X25519PrivateKey.from_private_bytes(sealing), new_token=token if known == mine else "",
    )  # fmt: skip


def _wrapped(store: Store, key: KeyEncryption, name: str, make: Callable[[], bytes]) -> bytes:
    context = setting_context(name)
    known = store.setting(name) or store.set_once(name, key.wrap(make(), context))
    return key.unwrap(known, context)


def setting_context(name: str) -> bytes:
    """What a wrapped setting is bound to."""
    return f"setting {name}".encode()


def private_file(path: Path, data: bytes) -> None:
    """Write a new file that only its owner may read. UsageError if there is one already."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def public_pem(spki: bytes) -> bytes:
    """A public key in PEM."""
    return serialization.load_der_public_key(spki).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def self_signed(host: str, now: dt.datetime) -> tuple[bytes, bytes]:
    """A certificate for this host and for localhost, and its P-256 key, both in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cloister serve")])
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    try:
        names.append(x509.IPAddress(ipaddress.ip_address(host)))
    except ValueError:
        names.append(x509.DNSName(host))
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName(dict.fromkeys(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), private


def sha256_of(certificate: Path) -> bytes:
    """SHA-256 of the first certificate in a file of PEM: the server's own."""
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError, x509.InvalidVersion) as error:
        raise UsageError(f"{certificate}: there is no certificate in PEM") from error
    return found.fingerprint(hashes.SHA256())
