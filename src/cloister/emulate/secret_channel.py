"""How an owner's secret gets into a TEE that was attested: sealed for a key that the evidence speaks of.

    receiver = SecretReceiver()                      # inside the TEE; its key never leaves
    packet = seal_for(receiver.public, secret)       # the owner, once the evidence holds
    receiver.open(packet)                            # the host only carries it

X25519 (RFC 7748) with a fresh key of the owner's for each packet, HKDF-SHA-256 (RFC 5869), AES-256-GCM. Both public
keys go into the derivation, so a packet opens for the key that it was made for and for no other.
"""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cloister.errors import SignatureInvalid

__all__ = ["SecretReceiver", "open_data", "seal_data", "seal_for"]

PUBLIC: Final = 32
INFO: Final = b"cloister launch: a secret for an attested program"
NONCE: Final = bytes(12)
"""Fixed: each key encrypts one packet."""


class SecretReceiver:
    """The program's side of one handover. `public` is 32 bytes, and what the evidence has to speak of."""

    def __init__(self) -> None:
        self._key = X25519PrivateKey.generate()
        self.public = self._key.public_key().public_bytes_raw()

    def open(self, packet: bytes) -> bytes:
        """The secret. SignatureInvalid if the packet was changed, or was sealed for another key."""
        sender, sealed = packet[:PUBLIC], packet[PUBLIC:]
        try:
            shared = self._key.exchange(X25519PublicKey.from_public_bytes(sender))
            return AESGCM(_derived(shared, sender, self.public)).decrypt(NONCE, sealed, None)
        except (InvalidTag, ValueError) as error:
            raise SignatureInvalid("the packet was changed on its way, or was sealed for another key") from error


def seal_for(public: bytes, secret: bytes) -> bytes:
    """A packet that the holder of this public key alone can open. ValueError if it is no X25519 key of 32 bytes."""
    own = X25519PrivateKey.generate()
    sender = own.public_key().public_bytes_raw()
    shared = own.exchange(X25519PublicKey.from_public_bytes(public))
    return sender + AESGCM(_derived(shared, sender, public)).encrypt(NONCE, secret, None)


def seal_data(data: bytes) -> tuple[bytes, bytes]:
    """Data that anybody may store, and the fresh key of 32 bytes that opens it."""
    key = AESGCM.generate_key(256)
    return key, AESGCM(key).encrypt(NONCE, data, None)


def open_data(key: bytes, sealed: bytes) -> bytes:
    """The data. SignatureInvalid if they were changed, or are under another key."""
    try:
        return AESGCM(key).decrypt(NONCE, sealed, None)
    except (InvalidTag, ValueError) as error:
        raise SignatureInvalid("the owner's data were changed on their way, or are under another key") from error


def _derived(shared: bytes, sender: bytes, receiver: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=INFO + sender + receiver).derive(shared)
