"""Signing keys. The second caller of the crypto library: `cloister._crypto` only verifies and holds no private key.

A private key is never shown: not by repr, not in an error, not by pickling. `SigningKey.to_pem` is the one way out.
"""

from collections.abc import Mapping
from typing import Final, NoReturn

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from cloister import _crypto
from cloister.errors import UsageError
from cloister.result.algorithms import CURVES, Algorithm, algorithm_of

__all__ = ["SigningKey"]

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
GENERATED_RSA: Final = 3072
"""Bits of a new RSA key: as strong as P-256 (NIST SP 800-57 part 1, table 2)."""
PSS: Final = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)


class SigningKey:
    """A private key that signs attestation results, with its only algorithm and its public part, `spki` (DER)."""

    __slots__ = ("_key", "algorithm", "spki")

    def __init__(self, key: PrivateKey) -> None:
        self._key, self.spki = key, _crypto.spki_of(key.public_key())
        self.algorithm = algorithm_of(self.spki)

    @classmethod
    def generate(cls, algorithm: Algorithm = Algorithm.ES256) -> "SigningKey":
        """A new key."""
        if algorithm is Algorithm.EDDSA:
            return cls(ed25519.Ed25519PrivateKey.generate())
        if algorithm is Algorithm.PS256:
            return cls(rsa.generate_private_key(65537, GENERATED_RSA))
        return cls(ec.generate_private_key(_crypto.CURVES[CURVES[algorithm][0]]))

    @classmethod
    def from_pem(cls, pem: bytes, password: bytes | None = None) -> "SigningKey":
        """The key in a PEM file (PKCS #8, SEC 1 or PKCS #1); UsageError if there is none, or not for this password."""
        try:
            key = serialization.load_pem_private_key(pem, password)
        except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):  # the last: keys of a wrong size
            # Without the library's words: they may quote what they could not read, which is the key.
            raise UsageError("no private key in PEM, or the password is wrong or missing") from None
        if not isinstance(key, PrivateKey):
            raise UsageError("this private key cannot sign attestation results; use P-256, P-384, Ed25519 or RSA")
        return cls(key)

    @classmethod
    def from_numbers(cls, algorithm: Algorithm, numbers: Mapping[str, bytes]) -> "SigningKey":
        """The key of these JWK members, decoded (RFC 7518, section 6). UsageError if they do not make a key."""
        try:
            return cls(_private_key(algorithm, numbers))
        except (ValueError, KeyError):
            raise UsageError(f"the private JWK does not hold a key for {algorithm}") from None

    def sign(self, message: bytes) -> bytes:
        """A signature in the form that JOSE and COSE share: ECDSA's r and s one after the other."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(message)
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(message, PSS, hashes.SHA256())
        _, size, digest = CURVES[self.algorithm]
        r, s = decode_dss_signature(self._key.sign(message, _crypto.ECDSA[digest]))
        return r.to_bytes(size) + s.to_bytes(size)

    def to_pem(self) -> bytes:
        """The private key itself, unencrypted PKCS #8 PEM: for a file that only its owner can read."""
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def __repr__(self) -> str:
        return f"SigningKey({self.algorithm})"

    def __reduce__(self) -> NoReturn:
        """Refuse: pickles and copies travel."""
        raise TypeError("a signing key is not pickled or copied")


def _private_key(algorithm: Algorithm, numbers: Mapping[str, bytes]) -> PrivateKey:
    if algorithm is Algorithm.EDDSA:
        return ed25519.Ed25519PrivateKey.from_private_bytes(numbers["d"])
    whole = {name: int.from_bytes(value) for name, value in numbers.items()}
    if algorithm is Algorithm.PS256:
        public = rsa.RSAPublicNumbers(whole["e"], whole["n"])
        primes = {"p": whole["p"], "q": whole["q"], "dmp1": whole["dp"], "dmq1": whole["dq"], "iqmp": whole["qi"]}
        return rsa.RSAPrivateNumbers(**primes, d=whole["d"], public_numbers=public).private_key()
    return ec.derive_private_key(whole["d"], _crypto.CURVES[CURVES[algorithm][0]])
