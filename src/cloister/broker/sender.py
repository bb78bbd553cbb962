"""Who seals start blocks for software enclaves, outside of a broker with sessions: a person at a console."""

import os
import re
from pathlib import Path
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from cloister._private_file import read_private
from cloister.broker.recipient import Recipient
from cloister.errors import UsageError
from cloister.result import _base64url

__all__ = ["Sender"]

PARTS: Final = ("broker_key", "encrypted_key", "ciphertext")
DIGITS: Final = re.compile(rb"[0-9a-f]{64}\n?")
LARGEST: Final = 100


class Sender:
    """An X25519 key by which the enclave knows who sealed a block (HPKE's mode_auth)."""

    def __init__(self, key: X25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def fresh(cls) -> Self:
        """Somebody whom no manifest names."""
        return cls(X25519PrivateKey.generate())

    @classmethod
    def of_file(cls, path: Path) -> Self:
        """The key in a file of hexadecimal digits that only its owner may use. UsageError."""
        held = bytearray(LARGEST)
        harm = "whoever reads it can be taken for you by your programs"
        size = read_private(path, held, what="your key", harm=harm)
        if not DIGITS.fullmatch(held[:size]):
            raise UsageError(f"{path} is no key of `cloister attach --make-key`: 64 hexadecimal digits")
        return cls(X25519PrivateKey.from_private_bytes(bytes.fromhex(held[:size].decode())))

    @classmethod
    def make_file(cls, path: Path) -> Path:
        """A new key in a file, and its public half beside it, which is returned. UsageError."""
        key, public = X25519PrivateKey.generate(), path.with_name(f"{path.name}.pub")
        for where, raw, mode in (
            (path, key.private_bytes_raw(), 0o600),
            (public, key.public_key().public_bytes_raw(), 0o644),
        ):
            try:
                descriptor = os.open(where, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            except OSError as error:
                raise UsageError(f"cannot make {where}: {error.strerror}; name another file") from error
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(f"{raw.hex()}\n")
        return public

    def seal(self, jwk: dict[str, str], block: bytes) -> bytes:
        """What the runtime opens: this key's public half, the encapsulated key, the ciphertext. ParseError."""
        sealed = Recipient.of_jwk(jwk).encrypt_from(self._key, block)
        return b"".join(_base64url.decode(sealed[name]) for name in PARTS)
