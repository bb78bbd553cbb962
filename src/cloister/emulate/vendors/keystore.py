"""Where an emulated manufacturer's keys live between runs: a directory that nobody but its owner may look into.

    keystore = Keystore()                                     # $XDG_DATA_HOME/cloister/emulated
    key = keystore.key("intel-root", make_key)                # made on first use, the same ever after
    keystore.publish("intel-root.pem", root_in_pem)           # for `cloister verify --unsafe-trust-root`

Files appear whole or not at all. Of two processes that make the same key at once, one wins and both go on with its key.
A file that others may read or write is refused: a key that others know is nobody's key.
"""

import contextlib
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar, cast

from cryptography import x509
from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from cloister._x509 import Certificate, pem_blocks
from cloister.emulate.vendors.x509 import (
    ECDSA_SHA256,
    Authority,
    Issuer,
    Signing,
    SigningKey,
    armoured,
    issue,
    key_extensions,
    spki,
)
from cloister.errors import ParseError, UsageError

__all__ = ["WARNING", "Keystore", "PrivateKey", "default_directory"]

WARNING: Final = (
    "Emulated roots prove nothing: whoever can read this directory can make evidence that verifies under them."
)
"""What is said wherever emulated roots are made, shown or believed."""

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
K = TypeVar("K", bound=PrivateKey)

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,120}")
PARTIAL: Final = ".partial-"
LARGEST: Final = 65_536
"""Bytes of one file. An RSA-4096 key in PEM has some 3,300."""


def default_directory() -> Path:
    """Where keys are kept if nothing else is said: $XDG_DATA_HOME/cloister/emulated."""
    home = os.environ.get("XDG_DATA_HOME", "")
    base = Path(home) if Path(home).is_absolute() else Path.home() / ".local" / "share"
    return base / "cloister" / "emulated"


class Keystore:
    """Keys, secrets and certificates by name, each made once. `directory` is made on first use, for its owner only.

    Names are lower-case letters, digits, `.`, `_`, `-`; each kind has files of its own. Every method raises UsageError
    if the directory or a file cannot be used, is damaged, or may be read or written by others.
    """

    def __init__(self, directory: str | Path | None = None) -> None:
        self.directory = Path(directory) if directory is not None else default_directory()

    def key(self, name: str, make: Callable[[], K]) -> K:
        """The private key of that name; `make` makes it if there is none. Kept as PKCS#8 (RFC 5958) in PEM."""
        encoded = self._kept(f"{name}.key", lambda: _encoded(make()))
        try:
            return cast(K, serialization.load_pem_private_key(encoded, password=None))
        except (ValueError, TypeError, UnsupportedAlgorithm, InternalError) as error:  # the last: keys of a wrong size
            raise self._damaged(f"{name}.key", "is no private key in PEM") from error

    def secret(self, name: str, size: int = 32) -> bytes:
        """Random bytes of that name, as a processor has them in its fuses. Kept in hexadecimal."""
        digits = self._kept(f"{name}.secret", lambda: secrets.token_bytes(size).hex().encode("ascii"))
        try:
            value = bytes.fromhex(digits.decode("ascii"))
        except ValueError as error:
            raise self._damaged(f"{name}.secret", "is not hexadecimal") from error
        if len(value) != size:
            raise self._damaged(f"{name}.secret", f"has {len(value)} bytes; {size} are expected")
        return value

    def certificate(self, name: str, make: Callable[[], Certificate]) -> Certificate:
        """The certificate of that name; `make` makes it if there is none. Kept in PEM."""
        text = self._kept(f"{name}.crt", lambda: armoured(make().encoded))
        try:
            (encoded,) = pem_blocks(text, "CERTIFICATE")
            return Certificate.parse(encoded)
        except (ValueError, ParseError) as error:
            raise self._damaged(f"{name}.crt", "is not one certificate in PEM") from error

    def authority(
        self,
        name: str,
        subject: x509.Name,
        *,
        make: Callable[[], SigningKey],
        issuer: Issuer | None = None,
        signing: Signing = ECDSA_SHA256,
        path_length: int | None = None,
    ) -> Authority:
        """A certificate authority: key and certificate of that name. Without `issuer` it is a root.

        UsageError if the certificate is not about the key: one of them was put there by somebody.
        """
        key = self.key(name, make)
        signer = issuer or Issuer(name=subject, key=key, signing=signing)

        def certify() -> Certificate:
            extensions = key_extensions(key.public_key(), signer, ca=True)
            return issue(subject, key.public_key(), signer, ca=True, path_length=path_length, extensions=extensions)

        certificate = self.certificate(name, certify)
        if certificate.spki != spki(key):
            raise self._damaged(f"{name}.crt", f"is not about the key in {name}.key")
        return Authority(name=subject, key=key, signing=signing, certificate=certificate)

    def publish(self, name: str, content: bytes) -> Path:
        """Write what others are to have (roots, collateral) beside the keys, in place of what was there; its path."""
        path = self._path(name)
        try:
            with self._partial(content) as partial:
                partial.replace(path)
        except OSError as error:
            raise self._unusable(error) from error
        return path

    def _kept(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The file of that name, made if there is none."""
        path = self._path(name)
        try:
            with contextlib.suppress(FileNotFoundError):
                return self._read(path)
            with self._partial(make()) as partial, contextlib.suppress(FileExistsError):
                path.hardlink_to(partial)  # or somebody was quicker: theirs is the one to use
            return self._read(path)
        except OSError as error:
            raise self._unusable(error) from error

    def _path(self, name: str) -> Path:
        """The path of a file in the directory, which is there and its owner's alone."""
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a file in a keystore")
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = self.directory.stat()
        except OSError as error:
            raise self._unusable(error) from error
        self._refuse_shared(self.directory, status)
        return self.directory / name

    def _read(self, path: Path) -> bytes:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise self._damaged(path.name, "is not a regular file")
            self._refuse_shared(path, status)
            return file.read(LARGEST)

    @contextlib.contextmanager
    def _partial(self, content: bytes) -> Iterator[Path]:
        """A file with this content under a name that is nobody's yet. mkstemp makes it for its owner only."""
        descriptor, name = tempfile.mkstemp(prefix=PARTIAL, dir=self.directory)
        partial = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            yield partial
        finally:
            partial.unlink(missing_ok=True)

    def _refuse_shared(self, path: Path, status: os.stat_result) -> None:
        if status.st_uid != os.geteuid():
            raise UsageError(f"{path} belongs to user {status.st_uid}, not to you; choose another directory for keys")
        if status.st_mode & 0o077:
            raise UsageError(
                f"{path} may be read or written by others (mode {stat.S_IMODE(status.st_mode):04o}), so its keys may be"
                f" known; remove {self.directory} and let new keys be made, or `chmod go= {path}` if you know better"
            )

    def _damaged(self, name: str, reason: str) -> UsageError:
        return UsageError(f"{self.directory / name} {reason}; remove {self.directory} and let new keys be made")

    def _unusable(self, error: OSError) -> UsageError:
        return UsageError(
            f"cannot keep emulated keys in {self.directory}: {error.strerror}; choose another directory for them"
        )


def _encoded(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
