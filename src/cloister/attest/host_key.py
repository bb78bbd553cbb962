"""The host's attestation key: it vouches for software enclaves, so it is as valuable as the host itself.

    key = FileHostKey(default_path())                 # an Ed25519 key, made on first use
    key.public_pem()                                  # for `cloister serve --trust-host-key`

The key protects as far as its file's access rights go. `HostKey` is the port for a better place: a TPM signs by ES256
and never gives its key away, and whatever implements these three members can stand here.
"""

import contextlib
import os
import secrets
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from cloister._private_file import read_private
from cloister.errors import UsageError
from cloister.evidence.software import SigningAlgorithm

__all__ = ["FileHostKey", "HostKey", "default_path"]

LARGEST: Final = 4096


class HostKey(Protocol):
    """What signs evidence. `spki` is the public key as DER; a signature has 64 bytes, as COSE has it."""

    @property
    def algorithm(self) -> SigningAlgorithm:
        """By which it signs."""

    @property
    def spki(self) -> bytes:
        """The public key."""

    def sign(self, message: bytes) -> bytes:
        """A signature over the message."""


def default_path() -> Path:
    """Where the key is if nothing else is said: $XDG_STATE_HOME/cloister/host-key.pem."""
    home = os.environ.get("XDG_STATE_HOME", "")
    base = Path(home) if Path(home).is_absolute() else Path.home() / ".local" / "state"
    return base / "cloister" / "host-key.pem"


class FileHostKey:
    """An Ed25519 key in a PEM file that only its owner may read."""

    algorithm: Final = SigningAlgorithm.EDDSA

    def __init__(self, path: Path, *, make: bool = True) -> None:
        """Read the key, or make it if there is no file and `make` says so. UsageError."""
        if make and not os.path.lexists(path):
            _make(path)
        self.path, self._key = path, _read(path)

    @property
    def spki(self) -> bytes:
        """The public key as DER."""
        encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_key().public_bytes(encoding, form)

    def public_pem(self) -> bytes:
        """The public key for whoever shall believe this host."""
        encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_key().public_bytes(encoding, form)

    def sign(self, message: bytes) -> bytes:
        """Ed25519 (RFC 8032)."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"FileHostKey({self.path})"

    def __reduce__(self) -> "tuple[object, ...]":
        """Refuse: pickles and copies travel."""
        raise TypeError("a host key is not pickled or copied")


def _make(path: Path) -> None:
    """Written under another name, then linked: of two that make it at once one wins, and both have its key."""
    pem = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(pem)
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(fresh, path)
        finally:
            fresh.unlink()
    except OSError as error:
        raise UsageError(f"cannot make the host's key {path}: {error.strerror}") from error


def _read(path: Path) -> ed25519.Ed25519PrivateKey:
    pem = bytearray(LARGEST)
    size = read_private(path, pem, what="the host's key", harm="whoever reads this key vouches for anything")
    try:
        key = serialization.load_pem_private_key(bytes(pem[:size]), None)
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):  # the last: keys of a wrong size
        key = None  # without the library's words: they may quote the key
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise UsageError(f"{path} is no Ed25519 private key in PEM without a password")
    return key
