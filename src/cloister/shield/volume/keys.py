"""The key of a volume in a file, and what encrypts and authenticates its blocks."""

import hmac
import os
import secrets
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cloister._private_file import read_private
from cloister._wire import Record, raw, reserved, u32
from cloister.errors import ParseError, UsageError, VerificationError
from cloister.seal.fresh_file import is_there, make_once
from cloister.seal.wiping import wipe, wiped
from cloister.shield.volume.layout import BLOCK, Mode, Place, Pointer

__all__ = ["BlockCipher", "VolumeBroken", "VolumeKey", "superblock_tag"]

KEY_SIZE: Final = 32
KEY_MAGIC: Final = b"CLOIVKEY"
PREFIX_SIZE: Final = 8
BLOCKS_PER_PREFIX: Final = 1 << 32


class VolumeBroken(VerificationError):
    """A volume, or a part of it, is not what its key's holder wrote: changed, cut off, moved or older."""


class KeyFileStart(Record, size=16):
    """What a key file begins with; 32 bytes of key follow."""

    magic: bytes = raw(8, equals=KEY_MAGIC)
    version: int = u32(equals=1)
    reserved_12: bytes = reserved(4)


FILE_SIZE: Final = KeyFileStart.SIZE + KEY_SIZE


class VolumeKey:
    """The key of one volume: 32 bytes. A context manager that wipes them from memory at the end."""

    def __init__(self, secret: bytes | bytearray) -> None:
        """UsageError unless it has 32 bytes that are not all zero."""
        if len(secret) != KEY_SIZE or not any(secret):
            raise UsageError(f"a volume's key has {KEY_SIZE} bytes, not all zero")
        self._secret = bytearray(secret)

    @classmethod
    def read(cls, path: Path) -> Self:
        """From its file. UsageError."""
        if not is_there(path):
            raise UsageError(
                f"the volume's key {path} is not there; `cloister volume create --key {path} VOLUME` makes it"
            )
        content = bytearray(FILE_SIZE + 1)
        with wiped(content):
            size = read_private(path, content, what="the volume's key", harm="with it others read the volume")
            try:
                KeyFileStart.parse(bytes(content[: KeyFileStart.SIZE]))
            except ParseError as error:
                raise UsageError(f"{path} is no volume key: {error}") from error
            if size != FILE_SIZE:
                raise UsageError(f"{path} is no volume key: {size} bytes; {FILE_SIZE} are expected")
            return cls(content[KeyFileStart.SIZE : FILE_SIZE])

    @classmethod
    def make(cls, path: Path) -> Self:
        """A new random key in a new file, for its owner only. UsageError if there is something already."""
        if is_there(path):
            raise UsageError(f"{path} exists already: a key is not overwritten")
        content = bytearray(KeyFileStart(magic=KEY_MAGIC, version=1).serialize() + secrets.token_bytes(KEY_SIZE))
        with wiped(content):
            make_once(path, content)
        return cls.read(path)

    def reveal(self) -> bytes:
        """The key itself, for the runtime that shall open the volume."""
        return bytes(self._secret)

    def derive(self, identifier: bytes, purpose: str) -> bytes:
        """HKDF-SHA-256 to 32 bytes; the volume's identifier is the salt."""
        info = b"cloister volume 1 " + purpose.encode()
        return HKDF(hashes.SHA256(), KEY_SIZE, identifier, info).derive(bytes(self._secret))

    def close(self) -> None:
        """Wipe the key. May be repeated."""
        wipe(self._secret)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __reduce__(self) -> "tuple[object, ...]":
        """Refuse: pickles and copies travel."""
        raise TypeError("a volume's key is not pickled or copied")


def superblock_tag(key: VolumeKey, identifier: bytes, content: bytes) -> bytes:
    """The HMAC-SHA-256 of a superblock without its tag."""
    return hmac.digest(key.derive(identifier, "superblock"), content, "sha256")


class BlockCipher:
    """Seals and opens the blocks of one volume. Blocks have 4,096 bytes."""

    def __init__(self, key: VolumeKey, identifier: bytes, mode: int) -> None:
        self._cipher = AESGCM(key.derive(identifier, "blocks"))
        self._mode = mode
        self._prefix, self._count = os.urandom(PREFIX_SIZE), 0

    def seal(self, block: bytes, place: Place, physical: int) -> tuple[Pointer, bytes]:
        """The pointer to it, and the bytes to store."""
        nonce = self._nonce()
        if self._mode == Mode.AUTHENTICATED:
            tag, stored = self._cipher.encrypt(nonce, b"", place.serialize() + block), block
        else:
            sealed = self._cipher.encrypt(nonce, block, place.serialize())
            stored, tag = sealed[:BLOCK], sealed[BLOCK:]
        return Pointer(physical=physical, nonce=nonce, tag=tag), stored

    def open(self, pointer: Pointer, stored: bytes, place: Place) -> bytes:
        """The block that `pointer` demands at `place`. VolumeBroken if it is not the one stored."""
        try:
            if self._mode == Mode.AUTHENTICATED:
                self._cipher.decrypt(pointer.nonce, pointer.tag, place.serialize() + stored)
                return stored
            return self._cipher.decrypt(pointer.nonce, stored + pointer.tag, place.serialize())
        except InvalidTag:
            raise VolumeBroken(
                f"block {pointer.physical} is not what was written: it was changed, or is of another place or time"
            ) from None

    def _nonce(self) -> bytes:
        if self._count == BLOCKS_PER_PREFIX:
            self._prefix, self._count = os.urandom(PREFIX_SIZE), 0
        self._count += 1
        return self._prefix + (self._count - 1).to_bytes(4, "little")
