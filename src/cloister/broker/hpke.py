"""HPKE, single shot, sending side (RFC 9180), with the suite that JOSE calls HPKE-4: in base or auth mode.

DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305. The crypto library has HPKE too, but its public interface
takes no additional data, and a JWE's header is exactly that. Primitives are the library's.
"""

import hmac
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

__all__ = ["is_low_order", "seal"]

KEM: Final = b"KEM" + (0x0020).to_bytes(2)
SUITE: Final = b"HPKE" + (0x0020).to_bytes(2) + (0x0001).to_bytes(2) + (0x0003).to_bytes(2)
"""Section 4.1 and 5.1; the numbers are those of section 7."""
VERSION: Final = b"HPKE-v1"
BASE, AUTH = b"\0", b"\2"
"""Section 5: modes."""
SECRET, KEY, NONCE = 32, 32, 12
"""Bytes. None is longer than one block of HMAC-SHA256, so expanding takes one round."""


def seal(
    public: X25519PublicKey, text: bytes, *, additional: bytes, sender: X25519PrivateKey | None = None
) -> tuple[bytes, bytes]:
    """Encapsulated key, and ciphertext with its tag. `info` is empty, as JOSE has it for integrated encryption.

    With a sender the recipient learns that nobody but who has that key can have written it (auth mode).
    ValueError for a public key of low order: everybody knows what would be agreed on with it.
    """
    return _sealed_with(X25519PrivateKey.generate(), public, text, additional=additional, info=b"", sender=sender)


def is_low_order(public: X25519PublicKey) -> bool:
    """Whether a public key agrees on zeros with everybody (RFC 7748, section 6.1; RFC 9180, section 7.1.4)."""
    try:
        X25519PrivateKey.generate().exchange(public)
    except ValueError:
        return True
    return False


def _sealed_with(
    fresh: X25519PrivateKey, public: X25519PublicKey, text: bytes, *, additional: bytes, info: bytes,
    sender: X25519PrivateKey | None = None,
) -> tuple[bytes, bytes]:  # fmt: skip
    """`seal` with a given key: the same key twice would give two texts one key and nonce."""
    encapsulated = fresh.public_key().public_bytes_raw()
    agreed, parties = fresh.exchange(public), encapsulated + public.public_bytes_raw()
    if sender is not None:  # section 4.1, AuthEncap
        agreed, parties = agreed + sender.exchange(public), parties + sender.public_key().public_bytes_raw()
    shared = _shared(agreed, parties)
    context = (
        (BASE if sender is None else AUTH)
        + _extract(SUITE, b"", b"psk_id_hash", b"")
        + _extract(SUITE, b"", b"info_hash", info)
    )
    secret = _extract(SUITE, shared, b"secret", b"")
    key, nonce = _expand(SUITE, secret, b"key", context, KEY), _expand(SUITE, secret, b"base_nonce", context, NONCE)
    return encapsulated, ChaCha20Poly1305(key).encrypt(nonce, text, additional)


def _shared(agreed: bytes, context: bytes) -> bytes:
    """What encapsulating agrees on (section 4.1, ExtractAndExpand)."""
    return _expand(KEM, _extract(KEM, b"", b"eae_prk", agreed), b"shared_secret", context, SECRET)


def _extract(suite: bytes, salt: bytes, label: bytes, text: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), VERSION + suite + label + text, "sha256")


def _expand(suite: bytes, key: bytes, label: bytes, info: bytes, size: int) -> bytes:
    return hmac.digest(key, size.to_bytes(2) + VERSION + suite + label + info + b"\1", "sha256")[:size]
