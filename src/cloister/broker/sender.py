"""Who seals start blocks for software enclaves, outside of a broker with sessions: a person at a console."""

from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from cloister.broker.recipient import Recipient
from cloister.result import _base64url

__all__ = ["Sender"]

PARTS: Final = ("broker_key", "encrypted_key", "ciphertext")


class Sender:
    """An X25519 key by which the enclave knows who sealed a block (HPKE's mode_auth)."""

    def __init__(self, key: X25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def fresh(cls) -> Self:
        """Somebody whom no manifest names."""
        return cls(X25519PrivateKey.generate())

    def seal(self, jwk: dict[str, str], block: bytes) -> bytes:
        """What the runtime opens: this key's public half, the encapsulated key, the ciphertext. ParseError."""
        sealed = Recipient.of_jwk(jwk).encrypt_from(self._key, block)
        return b"".join(_base64url.decode(sealed[name]) for name in PARTS)
