"""Keys for a shield policy from files of this machine, whose administrator reads them too."""

from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from cloister._private_file import read_private
from cloister._x509 import Certificate, pem_blocks
from cloister.errors import ParseError, PolicyError, UsageError
from cloister.seal.wiping import wiped
from cloister.shield.volume.keys import VolumeKey
from cloister.shield_policy.policy import IdentityAt, KeyAt, Root
from cloister.shield_policy.resolve import Identity

__all__ = ["LocalKeys"]

LONGEST: Final = 1 << 20
RSA_BITS: Final = {2048, 3072, 4096}
NO_SESSION: Final = (
    "is a secret of a session, and there is none here: run with --broker and --session, whose service has this policy, "
    "or write unsafe_{what}, which this machine's administrator reads too"
)


def _is_known(key: object) -> bool:
    """Whether the runtime reads it (runtime/tls/keys.h)."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.curve.name in {"secp256r1", "secp384r1"}
    if isinstance(key, rsa.RSAPrivateKey):
        return key.key_size in RSA_BITS
    return isinstance(key, ed25519.Ed25519PrivateKey)


def _is_of(key: PrivateKeyTypes, certificate: bytes) -> bool:
    spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    try:
        return Certificate.parse(certificate).spki == spki
    except ParseError:
        return False


class LocalKeys:
    """Files only: what is a session's is refused, with what to do instead."""

    def key(self, at: KeyAt, place: str) -> bytes:
        """Of a volume's key file (`cloister volume create`)."""
        if at.secret:
            raise PolicyError(f"{place}: the key {at.secret} {NO_SESSION.format(what='key_file')}")
        with VolumeKey.read(Path(at.unsafe_file)) as key:
            return key.reveal()

    def identity(self, at: IdentityAt, place: str) -> Identity:
        """PEM of certificates, the own first; PEM of the private key, for its owner only, without password."""
        if at.secret:
            raise PolicyError(f"{place}: the certificate {at.secret} {NO_SESSION.format(what='certificate_file')}")
        certificates = tuple(self._certificates(at.unsafe_certificate_file))
        content = bytearray(LONGEST)
        with wiped(content):
            path = Path(at.unsafe_key_file)
            size = read_private(path, content, what="the private key", harm="with it others speak for this server")
            try:
                key = serialization.load_pem_private_key(bytes(content[:size]), None)
            except (ValueError, TypeError, UnsupportedAlgorithm):
                raise UsageError(f"{path}: no private key in PEM, or one that needs a password") from None
        if not _is_known(key):
            raise UsageError(
                f"{path}: the runtime signs with P-256, P-384, Ed25519, and RSA of 2048, 3072 or 4096 bits"
            )
        if not _is_of(key, certificates[0]):
            raise UsageError(f"{path}: the first certificate in {at.unsafe_certificate_file} is of another private key")
        return Identity(certificates, key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ))  # fmt: skip

    def certificate(self, path: str, place: str) -> bytes:
        """The first one in a file."""
        del place
        return self._certificates(path)[0]

    def root(self, name: str, place: str) -> Root | None:
        """Nobody keeps roots here."""
        raise PolicyError(
            f'{place}: root = "broker" of {name}: there is no broker here; run with --broker and --session, or write '
            "root as `cloister volume` prints it"
        )

    def _certificates(self, path: str) -> list[bytes]:
        try:
            with Path(path).open("rb") as file:
                found = pem_blocks(file.read(LONGEST), "CERTIFICATE")
        except OSError as error:
            raise UsageError(f"cannot read the certificate {path}: {error.strerror}") from error
        except ParseError as error:
            raise UsageError(f"{path}: {error}") from error
        if not found:
            raise UsageError(f"{path}: no certificate in PEM")
        return found
