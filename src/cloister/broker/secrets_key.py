"""The key that encrypts keys: whoever has the database alone has no secret.

Every version of a secret has a key of its own; what is stored is the secret under that key, and that key under the
key-encryption key. `FileKey` keeps the latter in a file; a TPM or an external key service is another `KeyEncryption`.

    wrapped    12 random bytes | AES-256-GCM(key, data) with the context as additional data

The context names what the data is. It is authenticated, so nothing in the database can be put in another's place, and
a release rule cannot be changed beside its secret.
"""

import contextlib
import hashlib
import os
import stat
from pathlib import Path
from typing import Final, NoReturn, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cloister.broker.audit.active import sync_directory
from cloister.errors import Undecided, UsageError
from cloister.result.key_file import write_key_file

__all__ = ["FileKey", "KeyEncryption", "SecretUnreadable", "sealed", "unsealed"]

KEY_BYTES: Final = 32
NONCE: Final = 12
OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class SecretUnreadable(Undecided):
    """What the database holds is not what was put there, or the key-encryption key is another one."""


class KeyEncryption(Protocol):
    """Something that wraps keys. Both methods may be called from any thread."""

    @property
    def identifier(self) -> str:
        """Tells this key from others, for people and for the database, without saying anything about it."""

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """The key, for storage."""

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """The key again; SecretUnreadable if this is not what `wrap` made for this context."""


class FileKey:
    """A key-encryption key in a file of 64 hexadecimal digits that only its owner may read."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        digest = hashlib.sha256(b"cloister key-encryption key\n" + key).hexdigest()
        self.identifier = f"file {digest[:16]}"

    @classmethod
    def open(cls, path: Path) -> "FileKey":
        """The key in the file, which is made if it is not there. UsageError if others may read it."""
        try:
            if not path.exists():
                with contextlib.suppress(FileExistsError):  # another process was faster: then it is that one
                    write_key_file(path, os.urandom(KEY_BYTES).hex().encode() + b"\n")
                sync_directory(path)  # without this key, whatever is stored from now on is lost
            with path.open() as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                text = file.read(2 * KEY_BYTES + 2).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read or make {path}: {type(error).__name__}") from None
        if mode & OTHERS:
            raise UsageError(f"{path}: others can read this key (mode {mode:04o}); run `chmod 600 {path}`")
        try:
            key = bytes.fromhex(text)
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise UsageError(f"{path}: is not {2 * KEY_BYTES} hexadecimal digits")
        return cls(key)

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """Under AES-256-GCM."""
        return sealed(self._key, key, b"key\n" + context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """The key."""
        return unsealed(self._key, wrapped, b"key\n" + context)

    def __repr__(self) -> str:
        return f"FileKey({self.identifier})"

    def __reduce__(self) -> NoReturn:
        """Refuse: pickles and copies travel."""
        raise TypeError("a key-encryption key is not pickled or copied")


def sealed(key: bytes, data: bytes, context: bytes) -> bytes:
    """Data under a key that is used for this context only."""
    nonce = os.urandom(NONCE)
    return nonce + AESGCM(key).encrypt(nonce, data, context)


def unsealed(key: bytes, data: bytes, context: bytes) -> bytes:
    """The data again, or SecretUnreadable."""
    try:
        return AESGCM(key).decrypt(data[:NONCE], data[NONCE:], context)
    except (InvalidTag, ValueError):
        raise SecretUnreadable(
            "what the database holds does not open: it was changed, or it was written under another key-encryption key"
        ) from None
